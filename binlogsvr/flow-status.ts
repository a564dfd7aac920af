import type { FlowStatus } from '../proto/binlogsvr-types.ts';
import type { Candidate } from './candidates.ts';

/**
 * From the end of the takeover, with everything executed, until clients write again: fence, election, sync attached, mysqld opened.
 * docs/ARCHITECTURE.md has what was measured; a busy machine takes longer than an idle one.
 */
export const PROMOTION_MS = 1_500;

/** The worst case is predicted: a whole node dies, so that its lease has to run out first. Executing the rest goes on meanwhile. */
export function flowStatus(candidate: Candidate | null, delayMs: number, takeoverMs: number): FlowStatus {
  if (candidate === null) return { delayMs, candidate: 0, candidateLagMs: -1, predictedFailoverMs: -1 };
  const { node, lagMs, catchUpMs } = candidate;
  return {
    delayMs,
    candidate: node,
    candidateLagMs: lagMs,
    predictedFailoverMs: catchUpMs === null ? -1 : takeoverMs + PROMOTION_MS + Math.max(lagMs, catchUpMs),
  };
}
