import type { Rule } from '../../base/rules.ts';
import { drawMembers } from './members-plan.ts';
import { runInPool } from './pool.ts';
import { runSeed, type SeedJob, type WorldName } from './seed.ts';
import { drawUpkeep } from './upkeep-plan.ts';

/**
 * A rule of base/rules.ts and how many seeds, from 1 on, the simulator may need to notice that it is switched off. Caught means:
 * a seed fails that passes with all rules held.
 */
export type Canary = Readonly<{
  rule: Rule;
  world: WorldName;
  seeds: number;
  /** Seeds without what it takes are passed over, and not counted. */
  among?: (seed: number) => boolean;
}>;

const purges = (seed: number): boolean => drawUpkeep(seed, true).purge !== null;
const goesBack = (seed: number): boolean => drawUpkeep(seed, true).everyMs.has('older disk restored');
const changes = (seed: number): boolean => drawMembers(seed).operator !== null;

export const CANARIES: readonly Canary[] = [
  { rule: 'majority', world: 'log', seeds: 20 },
  { rule: 'accept-needs-promise', world: 'log', seeds: 1500 },
  { rule: 'ack-after-fsync', world: 'log', seeds: 1000 },
  { rule: 'apply-in-order', world: 'log', seeds: 20 },
  { rule: 'append-needs-epoch', world: 'log', seeds: 100 },
  { rule: 'stand-needs-all-executed', world: 'log', seeds: 200 },
  { rule: 'lease-from-proposal', world: 'log', seeds: 1500 },
  { rule: 'forgetful-store-does-not-vote', world: 'log', seeds: 1000 },
  { rule: 'change-counts-once-applied', world: 'log', seeds: 50, among: changes },
  { rule: 'purge-keeps-what-is-needed', world: 'log', seeds: 300, among: purges },
  { rule: 'store-that-went-back-is-refused', world: 'log', seeds: 1000, among: goesBack },
  { rule: 'cut-no-less', world: 'full', seeds: 100 },
  { rule: 'cut-no-more', world: 'full', seeds: 100 },
];

/** The first seed to come that fails with the rule off and passes with it on; null: not within the canary's seeds. */
export async function hunt(
  { world, rule, seeds, among = () => true }: Canary,
  processes: number,
  wanted: (done: number) => boolean = () => true,
): Promise<Readonly<{ seed: number; failure: string }> | null> {
  const make = (seed: number): SeedJob => ({ seed, world, rulesOff: [rule] });
  let done = 0;
  const jobs = function* (): Generator<SeedJob> {
    let made = 0;
    for (let seed = 1; made < seeds && wanted(done); seed += 1) {
      if (!among(seed)) continue;
      made += 1;
      yield make(seed);
    }
  };
  for await (const { seed, failure } of runInPool(jobs(), processes)) {
    done += 1;
    if (failure === null) continue;
    const sound = await runSeed({ seed, world });
    if (sound.failure === null) return { seed, failure };
  }
  return null;
}
