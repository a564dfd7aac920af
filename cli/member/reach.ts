import { delay } from '../../base/async.ts';
import type { NodeId } from '../../base/brands.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import type { MemberChange, MemberOutcome } from '../../proto/binlogsvr-types.ts';
import { type Seen, whomToAsk } from './seen.ts';

/** Looking at the members again. */
const LOOK_MS = 300;
const WONDER_MS = 1_000;
/** One call of a change; the server gives up a little earlier, and what it has done so far is not lost. */
const CALL_MS_MAX = 20_000;
/** A refusal may be of a moment (a peer is connecting, a configuration was read late): it counts when it stands this long. */
const REFUSED_MS = 10_000;
/** No member answers for this long: nobody is there. */
const SILENT_MS_MAX = 15_000;

/** The members as far as they can be asked. */
export interface MemberAccess {
  look(): Promise<Seen>;
  change(node: NodeId, change: MemberChange, timeoutMs: number): Promise<MemberOutcome>;
}

/** Something that is to be true of the members, and the change that makes it so (null: the cluster does it by itself). */
export type Goal = Readonly<{
  what: string;
  /** '' when reached; else what is missing, for people. Throws PhxError when it never will be. */
  missing: (seen: Seen) => string;
  change: MemberChange | null;
  /** What to do when time is over. */
  hint: string;
}>;

export type ReachOptions = Readonly<{
  access: MemberAccess;
  clock: Clock;
  deadline: number;
  say: (line: string) => void;
}>;

/**
 * Asks the master's node for the change, again where the answer may be another one next time, until the log shows that it
 * was made. A change names the configuration it changes, so asking twice does no harm; what became of a call whose answer
 * was lost is seen in the log.
 *
 *   look ──reached──► done
 *    ▲ └─not yet──► ask ──accepted, unknown, busy, ask another──┐
 *    └──────────────────────────────────────────────────────────┘   refused for 5 s, nobody there, time over: error
 */
export async function reach(goal: Goal, { access, clock, deadline, say }: ReachOptions): Promise<Seen> {
  const { what, change } = goal;
  let why = '';
  let said = '';
  let refusedSince: number | null = null;
  let heardAt = clock.now();
  let ask: NodeId | null = null;
  for (;;) {
    const seen = await access.look();
    const missing = goal.missing(seen);
    if (missing === '') return seen;
    if (seen.members.length > 0) heardAt = clock.now();
    if (missing !== said) say(`${what}: ${missing}`);
    said = missing;
    if (clock.now() - heardAt > SILENT_MS_MAX) throw nobody(what, seen);
    if (clock.now() >= deadline) {
      const last = why === '' || missing.includes(why) ? missing : `${missing} (last answer: ${why})`;
      throw new PhxError('TIMEOUT', `${what}: not in time: ${last}`, { hint: goal.hint });
    }
    const target = ask ?? whomToAsk(seen);
    ask = null;
    if (change === null || target === null) {
      await delay(clock, LOOK_MS);
      continue;
    }
    const call = asked(access, target, change, Math.min(CALL_MS_MAX, deadline - clock.now()));
    let outcome = await firstOf(clock, call);
    while (outcome === null) {
      // A newcomer that catches up may take its time: show how far it is.
      const left = goal.missing(await access.look());
      if (left !== said && left !== '') say(`${what}: ${left}`);
      said = left;
      outcome = await firstOf(clock, call);
    }
    why = outcome.reason;
    if (outcome.accepted) continue;
    if (outcome.code === 'MEMBER_REFUSED') {
      refusedSince ??= clock.now();
      if (clock.now() - refusedSince > REFUSED_MS) throw new PhxError('MEMBER_REFUSED', `${what}: ${outcome.reason}`);
    } else {
      refusedSince = null;
      if (outcome.ask > 0) ask = outcome.ask as NodeId;
    }
    await delay(clock, LOOK_MS);
  }
}

/** The call's outcome, or null when it takes longer than it takes people to wonder. */
function firstOf<T>(clock: Clock, call: Promise<T>): Promise<T | null> {
  return Promise.race([call, delay(clock, WONDER_MS).then(() => null)]);
}

/** A call that fails has changed something or nothing: the next look tells. */
async function asked(
  access: MemberAccess,
  target: NodeId,
  change: MemberChange,
  timeoutMs: number,
): Promise<Pick<MemberOutcome, 'accepted' | 'code' | 'reason' | 'ask'>> {
  try {
    return await access.change(target, change, Math.max(500, timeoutMs));
  } catch (error) {
    if (error instanceof PhxError && error.retryable) {
      return { accepted: false, code: error.code, reason: reasonOf(error), ask: 0 };
    }
    throw error;
  }
}

function nobody(what: string, seen: Seen): PhxError {
  const asked = seen.nodes.map(({ id, host, rpc }) => {
    const reply = seen.replies.get(id);
    const why = reply !== undefined && 'error' in reply ? reply.error : 'knows of no members';
    return `node ${id} at ${host}:${rpc} ${why}`;
  });
  return new PhxError('UNAVAILABLE', `${what}: no member of the cluster answers: ${asked.join('; ')}`, {
    hint: 'is the cluster running, are the addresses in [[nodes]] and the secret file those of the cluster?',
  });
}
