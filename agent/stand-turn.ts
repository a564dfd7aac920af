import type { Random } from '../base/ports.ts';
import type { NodeAddress } from '../base/topology.ts';

/** Candidates stand in the order in which they are configured, each so much after the one before. */
export const STAND_TURN_MS = 50;
/** At random on top of it, lest two that see different masters meet again and again. */
const STAND_JITTER_MS = 10;

/** How long a candidate leaves it to others to stand first; `master`: of the epoch that is over. */
export function standDelayMs(
  nodes: readonly Pick<NodeAddress, 'id'>[],
  self: number,
  master: number,
  random: Random,
): number {
  const turn = nodes.filter(({ id }) => id !== master).findIndex(({ id }) => id === self);
  return Math.max(0, turn) * STAND_TURN_MS + random.below(STAND_JITTER_MS);
}
