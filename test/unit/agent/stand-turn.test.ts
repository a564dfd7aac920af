import { expect, test } from 'vitest';
import { STAND_TURN_MS, standDelayMs } from '../../../agent/stand-turn.ts';
import { nodeId } from '../../../base/brands.ts';
import { Prng } from '../../../base/prng.ts';

test('candidates stand one after the other, the former master is left out', () => {
  const random = new Prng(1);
  const nodes = [1, 2, 3].map((id) => ({ id: nodeId(id) }));
  const turnOf = (self: number, master: number) =>
    Math.floor(standDelayMs({ nodes, self: { id: nodeId(self) }, random }, { master }) / STAND_TURN_MS);
  expect([turnOf(2, 1), turnOf(3, 1)]).toEqual([0, 1]);
  expect([turnOf(1, 2), turnOf(3, 2)]).toEqual([0, 1]);
  expect([turnOf(1, 0), turnOf(2, 0), turnOf(3, 0)]).toEqual([0, 1, 2]);
  expect(turnOf(9, 1)).toBe(0); // not configured here: it joined
});
