import { describe, expect, test } from 'vitest';
import { PaxosWorld, type WorldBug } from './paxos-world.ts';

const full = process.env.PHXSQL_TIER === 'full';
/** PHXSQL_SEED=n replays one seed. */
const onlySeed = process.env.PHXSQL_SEED;
const SEEDS = full ? 5000 : 300;
/** Per node. */
const STEPS = 3500;

describe('random schedules', () => {
  for (const nodes of [1, 2, 3, 5]) {
    const seeds = nodes < 3 ? 20 : SEEDS;
    test(`${nodes} nodes, ${seeds} seeds: one value per instance, progress after healing`, () => {
      let emitted = 0;
      const from = onlySeed === undefined ? 1 : Number(onlySeed);
      const to = onlySeed === undefined ? seeds : from;
      for (let seed = from; seed <= to; seed += 1) {
        const world = new PaxosWorld({ seed, nodes, steps: nodes * STEPS });
        world.run();
        emitted += world.emittedUnderFaults;
      }
      // The faults must leave room for work, or nothing was tested.
      expect(emitted).toBeGreaterThan((to - from + 1) * 10);
    });
  }
});

describe('the checker notices a broken rule', () => {
  const bugs: readonly WorldBug[] = ['accept-below-promise', 'half-is-majority', 'ack-before-persist'];
  for (const bug of bugs) {
    test(bug, () => {
      expect(() => {
        for (let seed = 1; seed <= 1000; seed += 1) {
          new PaxosWorld({ seed, nodes: 3, steps: 3 * STEPS, bugs: new Set([bug]) }).run();
        }
      }).toThrow(/seed \d+/);
    });
  }
});
