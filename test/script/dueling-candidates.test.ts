import { expect, test } from 'vitest';
import { epochOf } from '../../base/brands.ts';
import { fate, holders, mastered, masters, takeOver, without } from './steps.ts';

/*
 * Two nodes stand for the same epoch; both believe that it is closed and that they have executed everything.
 *
 *          node 1                 node 2                              node 3
 *          dies                   fences epoch 1 ──────────────────►  knows it
 *                                 leads; Elect{2, based on 1} ─────►
 *                                 Elect{3, based on 1} (proposed for node 3 by whoever leads, after a lost answer)
 *                                 the first is chosen first: node 2; the other is refused by every replica alike
 */
async function twoElections() {
  const world = await mastered();
  world.kill(1);
  await takeOver(world, 2, 1);
  const executedUpTo = world.at(2).state.appliedIndex;
  const elect = (node: 2 | 3) =>
    world.at(2).propose({ kind: 'elect', node: node as never, basedOnEpoch: epochOf(1), executedUpTo }, 'lease', 1000);
  const fates = await Promise.all([fate(world, elect(2)), fate(world, elect(3))]);
  await world.until('both know', () => world.allApplied(world.at(2).state.appliedIndex));
  return { fates, masters: masters(world) };
}

test('of two elections for one epoch the first in the log wins', async () => {
  const winner = '2: node 2';
  expect(await twoElections()).toEqual({ fates: ['accepted', 'WRONG_EPOCH'], masters: { 2: winner, 3: winner } });
});

test('without elect-needs-closed-epoch the second deposes the first at once', async () => {
  without('elect-needs-closed-epoch');
  const winner = '3: node 3';
  expect(await twoElections()).toEqual({ fates: ['accepted', 'accepted'], masters: { 2: winner, 3: winner } });
});

/*
 * Both campaign at the same time, again and again, and step on each other's ballots: one gets through.
 *
 *          node 2                                        node 3
 *          prepare 1.2 ────────────────────────────────► promised
 *          refused ◄──────────────────────────────────── prepare 1.3
 *          prepare 2.2 ...                               ... until the random pauses let one finish
 */
async function duel(seed: number) {
  const world = await mastered();
  world.kill(1);
  await world.until('both due', () => [2, 3].every((node) => world.at(node).takeoverInMs === 0));
  await world.run(seed * 5);
  const stand = async (node: number): Promise<string> => {
    const fenced = await world.lease(node).fence(1, false, 2000);
    if (!fenced.accepted && fenced.code !== 'WRONG_EPOCH') return fenced.code;
    const { gtidSet } = world.at(node).state;
    const stood = await world.lease(node).stand(gtidSet.toString(), 1, 2000);
    return stood.accepted ? 'elected' : stood.code;
  };
  const ends = await Promise.all([fateOf(stand(2)), fateOf(stand(3))].map((each) => world.done(each)));
  await world.until('both know', () =>
    world.allApplied(Math.max(...[2, 3].map((n) => world.at(n).state.appliedIndex))),
  );
  return { elected: ends.filter((end) => end === 'elected').length, holders: holders(world), masters: masters(world) };
}

const fateOf = (work: Promise<string>): Promise<string> => work.catch((error: unknown) => String(error));

test.each([1, 2, 3, 4, 5])('dueling candidates: exactly one is elected (pause %i)', async (seed) => {
  const { elected, holders: holding, masters: seen } = await duel(seed);
  expect(elected).toBe(1);
  expect(holding).toHaveLength(1);
  expect(seen[2]).toBe(`2: node ${holding[0]}`);
  expect(seen[3]).toBe(seen[2]);
});

/*
 * The old proposer's value and the new one's meet at one instance.
 *
 *          node 1 (leads at 1.1)             node 2                            node 3
 *          Elect{1} at n ── (slow)           promised 2.3 ◄─────────────────── prepare 2.3
 *                                                                   (slow) ─── Elect{3} at n
 *          Elect{1} ───────────────────────► refused: 2.3 was promised
 *                                            accepted ◄─────────────────────── Elect{3}: chosen
 */
async function lateAccept() {
  const world = await mastered();
  expect((await world.done(world.lease(1).fence(1, true, 1000))).accepted).toBe(true);
  await world.until('3 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  const slow = world.network.hold({ from: 1, to: 2, kind: 'accept' });
  const apart = [
    world.network.hold({ from: 3, to: 1 }),
    world.network.hold({ from: 1, to: 3 }),
    world.network.hold({ from: 2, to: 3, kind: 'commit' }),
    world.network.hold({ from: 1, to: 2, kind: 'commit' }),
    world.network.hold({ from: 2, to: 3, kind: 'learned' }),
  ];
  const first = fate(world, world.lease(1).stand('', 1, 4000));
  await world.run(20);
  const later = world.network.hold({ from: 3, kind: 'accept', carrying: 'elect' });
  const second = fate(world, world.lease(3).stand('', 1, 4000));
  await world.until('3 leads', () => world.at(3).leading);
  slow.release();
  await world.run(50);
  later.release();
  await world.run(50);
  const seen = masters(world);
  for (const held of apart) held.drop();
  void first;
  void second;
  return seen;
}

test('an accept of an older ballot is refused once a newer one was promised', async () => {
  expect(await lateAccept()).toEqual({ 1: '1: node 1', 2: '2: node 3', 3: '2: node 3' });
});

test('without accept-needs-promise two nodes are master of one epoch', async () => {
  without('accept-needs-promise');
  expect(await lateAccept()).toMatchObject({ 1: '2: node 1', 3: '2: node 3' });
});

test('without majority one node elects itself', async () => {
  without('majority');
  expect(await lateAccept()).toMatchObject({ 1: '2: node 1', 3: '2: node 3' });
});
