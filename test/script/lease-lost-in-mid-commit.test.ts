import { expect, test } from 'vitest';
import { UUID } from '../unit/binlogsvr/replica-world.ts';
import { fate, holders, mastered, takeOver, without } from './steps.ts';

/*
 * The master loses its lease while a commit waits for its ack.
 *
 *      node 1 (master of epoch 1)             node 2                        node 3
 *      T ── (cut off) ──x                     takeover due: fences 1
 *      T waits, its lease runs out            Elect: epoch 2, lacks T
 *      back: learns that it is deposed
 *      sync appends T again, through the
 *      node that leads now ─────────────────► refused: epoch 1 is not the current one
 *      the client never hears that T was committed
 */
async function schedule() {
  const world = await mastered();
  const waiting = world.appendValue(1);
  for (const other of [2, 3]) world.network.cut(1, other);
  const first = fate(world, world.at(1).propose(waiting, 'data', 2000));
  expect(await first).toBe('TIMEOUT');
  await world.until('1 states no lease', () => world.at(1).leaseRemainingMs === 0);
  await takeOver(world, 2, 1);
  await world.elect(2);
  const opened = world.at(2).state.gtidSet; // what the MySQL of node 2 has executed when it opens
  world.network.heal();
  await world.until('1 knows', () => world.at(1).state.epoch === 2);
  const again = await fate(world, world.at(2).propose(waiting, 'data', 2000));
  await world.until('all know', () => world.allApplied(world.at(2).state.appliedIndex));
  const unseen = world.at(1).state.gtidSet.contains(`${UUID}:1`) && !opened.contains(`${UUID}:1`);
  return { again, acknowledgedUnseen: unseen, holders: holders(world) };
}

test('a commit that waits when the lease is lost is never acknowledged', async () => {
  expect(await schedule()).toEqual({ again: 'WRONG_EPOCH', acknowledgedUnseen: false, holders: [2] });
});

test('without append-needs-epoch it is acknowledged, and the new master has not executed it', async () => {
  without('append-needs-epoch');
  expect(await schedule()).toMatchObject({ again: 'accepted', acknowledgedUnseen: true });
});
