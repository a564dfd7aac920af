import type { Ballot, InstanceId, NodeId } from '../../base/brands.ts';
import { ruleHolds } from '../../base/rules.ts';
import { type PaxosBounds, RESEND_MS, RESEND_MS_MAX } from './bounds.ts';
import { bytesOf } from './effects.ts';
import type { Effects, Entry, ValueBytes } from './types.ts';

/** 'lease': a few small values that must never wait behind bulk. */
export type Lane = 'lease' | 'data';

export type Proposal = Readonly<{
  instance: InstanceId;
  value: ValueBytes;
  lane: Lane;
  changesVoters: boolean;
  votes: Set<NodeId>;
}> & { sentAt: number; attempts: number };

/**
 * The leader's proposals that are not emitted yet, within the bounds. A value that changes the voters travels alone:
 * nothing may be under way behind or beside it (protocol-findings 5).
 */
export class Pipeline {
  readonly #bounds: PaxosBounds;
  readonly #proposals = new Map<InstanceId, Proposal>();
  /** Of the data lane; as measured, never above the bounds. */
  bytesMax: number;
  #dataCount = 0;
  #dataBytes = 0;
  #changesVoters = false;

  constructor(bounds: PaxosBounds) {
    this.#bounds = bounds;
    this.bytesMax = bounds.inFlightBytes;
  }

  get size(): number {
    return this.#proposals.size;
  }

  get(instance: InstanceId): Proposal | undefined {
    return this.#proposals.get(instance);
  }

  all(): IterableIterator<Proposal> {
    return this.#proposals.values();
  }

  hasRoom(bytes: number, lane: Lane, changesVoters: boolean): boolean {
    if (this.#changesVoters && ruleHolds('change-travels-alone')) return false;
    if (changesVoters) return this.#proposals.size === 0;
    if (lane === 'lease' && ruleHolds('renewal-never-waits'))
      return this.#proposals.size - this.#dataCount < this.#bounds.inFlightLease;
    if (this.#dataCount === 0) return true;
    const { inFlightInstances, inFlightBytes } = this.#bounds;
    const bytesMax = ruleHolds('bulk-leaves-the-disk-free') ? Math.min(this.bytesMax, inFlightBytes) : inFlightBytes;
    return this.#dataCount < inFlightInstances && this.#dataBytes + bytes <= bytesMax;
  }

  add(instance: InstanceId, value: ValueBytes, lane: Lane, changesVoters: boolean, now: number): Proposal {
    const proposal: Proposal = { instance, value, lane, changesVoters, votes: new Set(), sentAt: now, attempts: 0 };
    this.#proposals.set(instance, proposal);
    if (lane === 'data') {
      this.#dataCount += 1;
      this.#dataBytes += value.length;
    }
    this.#changesVoters ||= changesVoters;
    return proposal;
  }

  remove(instance: InstanceId): void {
    const proposal = this.#proposals.get(instance);
    if (proposal === undefined) return;
    this.#proposals.delete(instance);
    if (proposal.lane === 'data') {
      this.#dataCount -= 1;
      this.#dataBytes -= proposal.value.length;
    }
    if (proposal.changesVoters) this.#changesVoters = false;
  }

  clear(): void {
    this.#proposals.clear();
    this.#dataCount = 0;
    this.#dataBytes = 0;
    this.#changesVoters = false;
  }

  /** What has been unanswered for long, ever more rarely: repeating bulk to a slow peer makes it slower. */
  dueForResend(now: number): Proposal[] {
    const due: Proposal[] = [];
    for (const proposal of this.#proposals.values()) {
      if (now - proposal.sentAt < Math.min(RESEND_MS * 2 ** proposal.attempts, RESEND_MS_MAX)) continue;
      proposal.sentAt = now;
      proposal.attempts += 1;
      due.push(proposal);
    }
    return due;
  }

  /** One accept message, or a few if there are many bytes, to each node whose vote is missing. */
  send(
    proposals: readonly Proposal[],
    nodes: readonly NodeId[],
    ballot: Ballot,
    chosenUpTo: InstanceId,
    effects: Effects,
  ): void {
    for (const to of nodes) {
      const missing = proposals.filter((proposal) => !proposal.votes.has(to));
      for (const entries of pieces(missing, ballot, this.#bounds.acceptBytes)) {
        effects.sendNow.push({ to, message: { kind: 'accept', ballot, entries, chosenUpTo } });
      }
    }
  }
}

/** Entries of at most `bytesMax` together; a larger one goes alone. */
function pieces(proposals: readonly Proposal[], ballot: Ballot, bytesMax: number): Entry[][] {
  const out: Entry[][] = [];
  let piece: Entry[] = [];
  for (const { instance, value } of proposals) {
    if (piece.length > 0 && bytesOf(piece) + value.length > bytesMax) {
      out.push(piece);
      piece = [];
    }
    piece.push({ instance, ballot, value });
  }
  if (piece.length > 0) out.push(piece);
  return out;
}
