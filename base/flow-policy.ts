/** How a cluster keeps the time bounded in which another node can become master. */
export type FlowPolicy = Readonly<{
  /** Behind more than this, the least-lagged node that may be elected has acknowledgements delayed. */
  maxCandidateLagMs: number;
  /** Longest delay between two acknowledgements; 0: there is no flow control. */
  maxDelayMs: number;
  /** A session that keeps a candidate's applier waiting for so long is killed; 0: none is. */
  killBlockersAfterMs: number;
}>;

/**
 * How far a slave is comes with its agent's report, every 200 ms, of a probe that may be as old again: a bound below that would
 * delay the acknowledgements of a slave that keeps up.
 */
export const CANDIDATE_LAG_MS_MIN = 500;
/**
 * The master's agent gives a lease up when commits wait for 3 s without progress (agent/lease-keeper.ts): well below, so that a
 * delay, the append after it and a late look of the agent together are never taken for a stuck master.
 */
export const DELAY_MS_MAX = 1_000;

export const DEFAULT_FLOW: FlowPolicy = { maxCandidateLagMs: 1_000, maxDelayMs: 500, killBlockersAfterMs: 1_000 };
