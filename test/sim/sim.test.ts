import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { FULL } from '../support/tier.ts';
import { CANARIES, hunt } from './canaries.ts';
import { runInPool } from './pool.ts';
import { runSeed, type SeedJob, WORLD_NAMES } from './seed.ts';
import { shrink } from './shrink.ts';
import { Tally } from './tally.ts';

/** More of them are the evidence tier's. */
const SEEDS = 2_000;
const ONCE_MORE = 6;
/** What many of those worlds must have seen, or nothing is known of it. */
const HAPPENS = [
  'member change: add',
  'member change: remove',
  'member change: replace',
  'member change: setElection',
  'master removed',
  'mastership handed over',
  'snapshot installed',
  'cloned',
  'instances purged',
  'store wiped',
  'older disk restored',
];
/** Where the daily seeds begin: `npm run sim` begins at 1. */
const FIRST = 100_000;

function* jobs(seeds: number): Generator<SeedJob> {
  for (let seed = FIRST; seed < FIRST + seeds; seed += 1) yield { seed };
}

it(`${SEEDS} seeds: nothing acknowledged is lost, no stale read, well again after healing`, async () => {
  const failed: string[] = [];
  const counts = new Tally();
  let passed = 0;
  for await (const { seed, failure, result } of runInPool(jobs(SEEDS), availableParallelism())) {
    if (failure !== null) failed.push(`npm run sim -- --seed ${seed} --trace: ${failure}`);
    if (result === null) continue;
    passed += 1;
    counts.merge(result.counts);
  }
  expect(failed).toEqual([]);
  expect(passed).toBe(SEEDS);
  // An idle world would pass too.
  expect(counts.of('write acknowledged')).toBeGreaterThan(SEEDS * 10);
  for (const what of HAPPENS) expect(counts.of(what), what).toBeGreaterThan(SEEDS / 400);
  for (const way of ['ballot', 'chosen', 'majority'])
    expect(counts.of(`bad value repaired by ${way}`), way).toBeGreaterThan(0);
}, 1_800_000);

it.each(WORLD_NAMES)(
  'world %s: the same seed is the same run, here and in another process, traced or not',
  async (world) => {
    const job = (seed: number): SeedJob => ({ seed, world });
    const seeds = Array.from({ length: ONCE_MORE }, (_, i) => FIRST + i);
    const here = new Map<number, string>();
    for (const seed of seeds) {
      const traced = await runSeed({ ...job(seed), trace: true });
      here.set(seed, traced.result?.digest ?? traced.failure ?? '');
      const again = await runSeed({ ...job(seed), trace: true });
      expect(again.trace).toEqual(traced.trace);
    }
    for await (const { seed, result, failure } of runInPool(seeds.map(job), 2)) {
      expect(result?.digest ?? failure).toBe(here.get(seed));
    }
  },
);

/** `npm run sim -- --canary` hunts them all. */
it.each(CANARIES.filter(({ seeds }) => FULL || seeds < 1000))(
  'the simulator notices that $rule is switched off, within $seeds seeds',
  async (canary) => {
    expect(await hunt(canary, availableParallelism())).not.toBeNull();
  },
  600_000,
);

it('of a failing seed is left out what it fails without', async () => {
  const rule = 'majority';
  let seed = FIRST;
  for (; ; seed += 1) {
    const { failure, faults } = await runSeed({ seed, world: 'log', rulesOff: [rule] });
    if (failure !== null && faults.length > 2) break;
  }
  const found = await shrink({ seed, world: 'log', rulesOff: [rule] });
  expect(found?.outcome.failure).toEqual(expect.any(String));
  expect(found?.kept.length).toBeLessThan(found?.outcome.faults.length ?? 0);
  expect(await shrink({ seed, world: 'log' })).toBeNull();
}, 300_000);
