import type { Random } from '../base/ports.ts';
import type { NodeAddress } from '../base/topology.ts';
import type { View } from '../proto/binlogsvr-types.ts';

/** Candidates stand in the order in which they are configured, each so much after the one before. */
export const STAND_TURN_MS = 50;
/** At random on top of it, lest two that see different masters meet again and again. */
const STAND_JITTER_MS = 10;

type Candidate = Readonly<{ nodes: readonly Pick<NodeAddress, 'id'>[]; self: Pick<NodeAddress, 'id'>; random: Random }>;

/** How long a candidate leaves it to others to stand first; `view`: shows whose epoch is over. */
export function standDelayMs({ nodes, self, random }: Candidate, view: Pick<View, 'master'> | null): number {
  return standTurn({ nodes, self }, view) * STAND_TURN_MS + random.below(STAND_JITTER_MS);
}

/** How many candidates stand before this one. */
export function standTurn(
  { nodes, self }: Pick<Candidate, 'nodes' | 'self'>,
  view: Pick<View, 'master'> | null,
): number {
  const turn = nodes.filter(({ id }) => id !== view?.master).findIndex(({ id }) => id === self.id);
  return Math.max(0, turn);
}
