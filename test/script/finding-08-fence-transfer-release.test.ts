import { expect, test } from 'vitest';
import { epochOf, nodeId } from '../../base/brands.ts';
import { UUID } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, masters, propose, without } from './steps.ts';

/*
 * 8a: an append slips in before a transfer.
 *
 *      node 1 (master)                                  node 2
 *      "node 2 has executed up to 3"
 *      Append T at 4 ─────────────────────────────────► chosen, not executed by its MySQL yet
 *      Transfer{to 2, executed up to 3} at 5 ─────────► refused: T is beyond 3
 */
async function transferBehindAppend() {
  const world = await mastered();
  const executedUpTo = world.at(1).state.appliedIndex;
  const append = propose(world, 1, world.appendValue(1));
  const transfer = propose(world, 1, { kind: 'transfer', epoch: epochOf(1), to: nodeId(2), executedUpTo });
  return { fates: [await fate(world, append), await fate(world, transfer)], master: world.at(1).state.master };
}

test('8a: a transfer does not make a master of a node that lacks binlog', async () => {
  expect(await transferBehindAppend()).toEqual({ fates: ['accepted', 'NOT_EXECUTED'], master: 1 });
});

test('8a: without successor-executed-all it does', async () => {
  without('successor-executed-all');
  expect(await transferBehindAppend()).toEqual({ fates: ['accepted', 'accepted'], master: 2 });
});

/*
 * 8b: a fence is said twice, the second copy is chosen late.
 *
 *      node 1                       node 2
 *      Fence{1} ──────────────────► epoch 1 is closed
 *                                   Elect: epoch 2, open
 *      Fence{1}, again ───────────► refused: it is not the current epoch
 */
async function fenceTwice() {
  const world = await mastered();
  const fence = { kind: 'fence', epoch: epochOf(1), basedOnRenewal: 0, by: nodeId(1), release: false } as const;
  const first = await fate(world, propose(world, 1, fence));
  await world.until('2 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  await world.elect(2);
  const second = await fate(world, propose(world, 2, fence));
  return { fates: [first, second], open: world.at(2).state.open, holds: world.at(2).leaseRemainingMs > 0 };
}

test('8b: the second copy of a fence does not depose the next master', async () => {
  expect(await fenceTwice()).toEqual({ fates: ['accepted', 'WRONG_EPOCH'], open: true, holds: true });
});

test('8b: without fence-names-epoch it does', async () => {
  without('fence-names-epoch');
  expect(await fenceTwice()).toEqual({ fates: ['accepted', 'accepted'], open: false, holds: false });
});

/*
 * 8c: an append and a renewal are under way behind a release.
 *
 *      node 1 (master)                              node 2
 *      Release{1} at 4 ───────────────────────────► epoch 1 is closed: it has executed all up to 4
 *      Append{1} at 5, Renew{1} at 6 ─────────────► refused, both
 *                                                   Elect{2, executed up to 4} at 7: accepted
 */
async function behindRelease() {
  const world = await mastered();
  const release = { kind: 'fence', epoch: epochOf(1), basedOnRenewal: 0, by: nodeId(1), release: true } as const;
  const fates = await Promise.all(
    [
      propose(world, 1, release),
      propose(world, 1, world.appendValue(1)),
      propose(world, 1, { kind: 'renew', epoch: epochOf(1), renewal: 1, incarnation: world.at(1).incarnation }),
    ].map((each) => fate(world, each)),
  );
  const executedUpTo = (world.at(1).state.appliedIndex - 2) as never;
  const elect = { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(1), executedUpTo } as const;
  return {
    fates,
    elect: await fate(world, propose(world, 1, elect)),
    lost: world.at(1).state.gtidSet.contains(`${UUID}:1`),
  };
}

test('8c: a release closes the epoch for what is under way behind it', async () => {
  expect(await behindRelease()).toEqual({
    fates: ['accepted', 'WRONG_EPOCH', 'WRONG_EPOCH'],
    elect: 'accepted',
    lost: false,
  });
});

test('8c: without closed-epoch-takes-nothing the append counts and nobody can be elected', async () => {
  without('closed-epoch-takes-nothing');
  expect(await behindRelease()).toMatchObject({ fates: ['accepted', 'accepted', 'accepted'], elect: 'NOT_EXECUTED' });
});

test('8: every node comes to the same end', async () => {
  const world = await mastered();
  await fate(
    world,
    propose(world, 1, {
      kind: 'transfer',
      epoch: epochOf(1),
      to: nodeId(2),
      executedUpTo: world.at(1).state.appliedIndex,
    }),
  );
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  expect(masters(world)).toEqual({ 1: '2: node 2', 2: '2: node 2', 3: '2: node 2' });
});
