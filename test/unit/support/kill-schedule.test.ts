import { expect, test } from 'vitest';
import { Prng } from '../../../base/prng.ts';
import type { Status } from '../../support/cluster.ts';
import { KILL_KINDS, pickVictim } from '../../support/kill-schedule.ts';

const nodeWith = (id: number, running: boolean) => ({
  id,
  pids: {
    supervisor: running ? id * 10 : null,
    mysqld: running ? id * 10 + 1 : null,
    binlogsvr: running ? id * 10 + 2 : null,
    sync: running ? id * 10 + 2 : null,
    agent: running ? id * 10 + 3 : null,
    proxy: running ? [id * 10 + 4, id * 10 + 5] : [],
  },
});
const statusOf = (...running: boolean[]): Status =>
  ({ nodes: running.map((each, i) => nodeWith(i + 1, each)) }) as unknown as Status;

test('every process of every node has its turn, and a seed is a schedule', () => {
  const draw = (seed: number): string[] => {
    const random = new Prng(seed);
    return Array.from({ length: 300 }, () => {
      const victim = pickVictim(statusOf(true, true, true), random);
      return `${victim?.kind} ${victim?.node} ${victim?.pids.join(' ')}`;
    });
  };
  const drawn = new Set(draw(1));
  // Two proxy workers on each of three nodes.
  expect(drawn.size).toBe((KILL_KINDS.length + 1) * 3);
  expect(drawn).toContain('node 2 20 21 22 23 24 25');
  expect(draw(1)).toEqual(draw(1));
  expect(draw(1)).not.toEqual(draw(2));
});

test('who is dead already is passed over', () => {
  const random = new Prng(1);
  for (let i = 0; i < 50; i += 1) expect(pickVictim(statusOf(false, true, false), random)?.node).toBe(2);
  expect(pickVictim(statusOf(false, false, false), random)).toBeNull();
});
