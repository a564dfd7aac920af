/**
 * Whether a process still turns its event loop: its supervisor asks, it answers. Questions are counted, not seconds, so that
 * time in which the asker itself stood still (a suspended machine, a busy one) is held against nobody.
 *
 *   starting ──answer──► answering ◄──answer── waiting ──too many in a row──► frozen: SIGKILL, then started again
 *      └──────────────too many─────────────────────────────────────────────────▲
 */
export const ASK_EVERY_MS = 1_000;

/** Questions without an answer after which a process counts as frozen. */
export type Patience = Readonly<{
  /** Since the last answer. */
  unansweredMax: number;
  /** Before the first one: a process that starts loads and opens things first. */
  startMax: number;
}>;

/** Clients hang in a proxy that is frozen, and losing it costs only connections that hang. */
export const PROXY_PATIENCE: Patience = { unansweredMax: 5, startMax: 60 };
/** Longer than any lease takes to run out: the cluster has moved on by then, this only brings the node back. */
export const COMPONENT_PATIENCE: Patience = { unansweredMax: 10, startMax: 120 };
/** Of binlogsvr with its supervisor, in questions that do not come. More than the supervisor has with any child. */
export const SUPERVISOR_PATIENCE: Patience = { unansweredMax: 20, startMax: Number.POSITIVE_INFINITY };

export type Liveness = Readonly<{ answered: boolean; unanswered: number }>;

export const NOT_ASKED: Liveness = { answered: false, unanswered: 0 };
export const HEARD: Liveness = { answered: true, unanswered: 0 };

/** One question more has been put. */
export const asked = ({ answered, unanswered }: Liveness): Liveness => ({ answered, unanswered: unanswered + 1 });

export function isFrozen({ answered, unanswered }: Liveness, { unansweredMax, startMax }: Patience): boolean {
  return unanswered > (answered ? unansweredMax : startMax);
}
