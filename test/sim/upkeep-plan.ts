import { Prng } from '../../base/prng.ts';
import type { PurgePolicy } from '../../binlogsvr/purge-policy.ts';
import type { UpkeepPace } from '../../binlogsvr/upkeep-pace.ts';
import { STORE_FAULTS } from './store-faults.ts';

/** What production takes minutes and hours for has to happen within the seconds of a seed. */
const SHORT: UpkeepPace = {
  needsMs: 150,
  purgeMs: 250,
  durableMs: 200,
  sampleInstances: 8,
  purgeMargin: 16,
  floorsMs: 300,
};
const NO_CAP = 1e9;
const HOUR_MS = 3_600_000;
const EVERY_MS = [400, 1000, 2500] as const;

export type UpkeepPlan = Readonly<{
  /** Null: nothing is purged. */
  purge: PurgePolicy | null;
  pace: UpkeepPace | null;
  /** Mean ms between two faults of a kind of store-faults.ts; absent = off. */
  everyMs: ReadonlyMap<string, number>;
}>;

/** A stream of chance of its own. `purges`: the world has a stand-in for whoever clones a MySQL that was left behind. */
export function drawUpkeep(seed: number, purges: boolean): UpkeepPlan {
  const random = new Prng(seed ^ 0x75_70_6b_65);
  const purge = drawPurge(random);
  const everyMs = new Map<string, number>();
  for (const kind of STORE_FAULTS) if (random.chance(1, 6)) everyMs.set(kind, random.pick(EVERY_MS));
  return {
    purge: purges ? purge : null,
    pace: (purges && purge !== null) || everyMs.size > 0 ? SHORT : null,
    everyMs,
  };
}

function drawPurge(random: Prng): PurgePolicy | null {
  if (!random.chance(1, 3)) return null;
  const keepBytes = random.pick([800, 3_000]);
  const capBytes = random.chance(1, 3) ? 3 * keepBytes : NO_CAP;
  return random.chance(1, 4)
    ? { keepMs: 600, keepBytes: NO_CAP, capBytes: NO_CAP }
    : { keepMs: HOUR_MS, keepBytes, capBytes };
}

/** Whether a member that is away may be left behind. */
export function hasCap({ capBytes }: PurgePolicy): boolean {
  return capBytes < NO_CAP;
}
