import { describe, expect, onTestFinished, test } from 'vitest';
import { type Rule, switchOff } from '../../../base/rules.ts';
import { PaxosWorld } from './paxos-world.ts';

const full = process.env.PHXSQL_TIER === 'full';
/** PHXSQL_SEED=n replays one seed. */
const onlySeed = process.env.PHXSQL_SEED;
const SEEDS = full ? 5000 : 100;
/** Of each world whose voters change. */
const CHANGE_SEEDS = full ? 5000 : 50;
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

describe('random schedules with voters that come and go', () => {
  for (const [nodes, spare] of [
    [3, 1],
    [3, 2],
    [1, 4],
    [5, 2],
  ] as const) {
    test(`${nodes} voters of ${nodes + spare} nodes at first, ${CHANGE_SEEDS} seeds`, () => {
      let changes = 0;
      const from = onlySeed === undefined ? 1 : Number(onlySeed);
      const to = onlySeed === undefined ? CHANGE_SEEDS : from;
      for (let seed = from; seed <= to; seed += 1) {
        const world = new PaxosWorld({ seed, nodes, spare, steps: (nodes + spare) * STEPS });
        world.run();
        changes += world.changes;
      }
      expect(changes).toBeGreaterThan((to - from + 1) * 2);
    });
  }
});

describe('the checker notices a broken rule', () => {
  const rules: readonly Rule[] = ['accept-needs-promise', 'majority', 'ack-after-fsync', 'apply-in-order'];
  for (const rule of rules) {
    test(rule, () => {
      onTestFinished(switchOff(rule));
      expect(() => {
        for (let seed = 1; seed <= 1000; seed += 1) {
          new PaxosWorld({ seed, nodes: 3, steps: 3 * STEPS }).run();
        }
      }).toThrow(/seed \d+/);
    });
  }
});

describe('the checker notices a broken rule of membership', () => {
  for (const rule of ['phase1-after-membership', 'change-held-by-new-majority'] as const) {
    test(rule, () => {
      onTestFinished(switchOff(rule));
      expect(() => {
        for (let seed = 1; seed <= 3000; seed += 1) {
          new PaxosWorld({ seed, nodes: 3, spare: 2, steps: 5 * STEPS }).run();
        }
      }).toThrow(/seed \d+/);
    });
  }
});
