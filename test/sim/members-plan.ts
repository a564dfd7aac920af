import { Prng } from '../../base/prng.ts';

/** What a spare node is good for: a witness has no MySQL. */
export type SpareKind = 'voter' | 'witness';

export type OperatorPlan = Readonly<{
  /** Mean ms between two things an operator does. */
  everyMs: number;
  /** How long what was removed goes on running, by chance of n in 10 that it is powered off at once. */
  offIn10: number;
}>;

/** Nodes the cluster was not founded with, and somebody who changes who belongs to it; null: nobody does. */
export type MembersPlan = Readonly<{
  spares: readonly SpareKind[];
  operator: OperatorPlan | null;
  /** Few founders, as spares cost as much as they do. */
  few: boolean;
}>;

const NOBODY: MembersPlan = { spares: [], operator: null, few: false };

/** A stream of chance of its own: worlds in which nobody changes anything stay what they are. */
export function drawMembers(seed: number): MembersPlan {
  const random = new Prng(seed ^ 0x6d_65_6d_62);
  if (!random.chance(1, 3)) return NOBODY;
  const kind = (): SpareKind => (random.chance(1, 4) ? 'witness' : 'voter');
  return {
    spares: random.chance(1, 2) ? [kind()] : [kind(), kind()],
    operator: { everyMs: random.pick([150, 400, 1000]), offIn10: random.pick([0, 3, 8]) },
    few: random.chance(5, 6),
  };
}
