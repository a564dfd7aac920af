import type { InstanceId } from '../../base/brands.ts';
import { ACCEPT_MESSAGE_BYTES_MAX } from './bounds.ts';
import type { Effects, Entry, Envelope, Message } from './types.ts';

export function noEffects(): Effects {
  return {
    sendNow: [],
    persist: [],
    sendAfterPersist: [],
    chosen: [],
    serveLearn: [],
    leadership: null,
    proposed: null,
  };
}

/**
 * Adds the effects of a later step to those of earlier ones, so that many inputs share one write and few messages.
 * `into` is changed and returned. `leadership` and `proposed` answer one input each: read them before merging (the
 * later non-null one survives).
 */
export function mergeEffects(into: Effects, later: Effects): Effects {
  for (const envelope of later.sendNow) append(into.sendNow, envelope);
  for (const record of later.persist) into.persist.push(record);
  for (const envelope of later.sendAfterPersist) append(into.sendAfterPersist, envelope);
  for (const chosen of later.chosen) into.chosen.push(chosen);
  for (const asked of later.serveLearn) into.serveLearn.push(asked);
  into.leadership = later.leadership ?? into.leadership;
  into.proposed = later.proposed ?? into.proposed;
  return into;
}

/** Coalesces with the last message to the same peer, if there is one and the two can be said as one. */
function append(queue: Envelope[], envelope: Envelope): void {
  for (let i = queue.length - 1; i >= 0; i -= 1) {
    const before = queue[i] as Envelope;
    if (before.to !== envelope.to) continue;
    const merged = mergeMessages(before.message, envelope.message);
    if (merged !== null) {
      queue[i] = { to: envelope.to, message: merged };
      return;
    }
    break;
  }
  queue.push(envelope);
}

/** One message that says what `a` and then `b` say, or null. */
function mergeMessages(a: Message, b: Message): Message | null {
  if (a.kind === 'accept' && b.kind === 'accept' && a.ballot === b.ballot) {
    if (bytesOf(a.entries) + bytesOf(b.entries) > ACCEPT_MESSAGE_BYTES_MAX) return null;
    return { ...a, entries: [...a.entries, ...b.entries], chosenUpTo: later(a.chosenUpTo, b.chosenUpTo) };
  }
  if (a.kind === 'accept' && b.kind === 'commit' && a.ballot === b.ballot) {
    return { ...a, chosenUpTo: later(a.chosenUpTo, b.chosenUpTo) };
  }
  if (a.kind === 'commit' && (b.kind === 'commit' || b.kind === 'accept') && a.ballot === b.ballot) {
    return { ...b, chosenUpTo: later(a.chosenUpTo, b.chosenUpTo) };
  }
  if (a.kind === 'accepted' && b.kind === 'accepted' && a.ballot === b.ballot) {
    return { ...a, instances: [...a.instances, ...b.instances] };
  }
  return null;
}

const later = (a: InstanceId, b: InstanceId): InstanceId => (a > b ? a : b);

export function bytesOf(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.value.length;
  return bytes;
}
