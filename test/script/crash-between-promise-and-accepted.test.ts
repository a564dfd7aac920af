import { expect, test } from 'vitest';
import { fate, mastered, masters, without } from './steps.ts';

/*
 * An acceptor crashes between its promise and what it accepts: the promise was on disk, or it was never given.
 *
 *          node 1 (leads)                    node 2                            node 3
 *          Elect{1} at n ── (slow)           promise 2.3: fsync ...  ◄──────── prepare 2.3
 *                                            crash: not on disk, so not said
 *                                            starts again, knows no 2.3
 *          Elect{1} ───────────────────────► accepted: chosen
 *                                            promises, tells of Elect{1} ◄──── prepare again: finds Elect{1}
 */
async function schedule(crashAt: 'before the fsync' | 'after the fsync') {
  const world = await mastered();
  expect((await world.done(world.lease(1).fence(1, true, 1000))).accepted).toBe(true);
  await world.until('3 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  const slow = world.network.hold({ from: 1, to: 2, kind: 'accept' });
  for (const [from, to] of [
    [1, 3],
    [3, 1],
  ] as const) {
    world.network.hold({ from, to });
  }
  for (const kind of ['commit', 'learned'] as const) world.network.hold({ from: 2, to: 3, kind });
  world.network.hold({ from: 1, to: 2, kind: 'commit' });
  const first = fate(world, world.lease(1).stand('', 1, 4000));
  await world.run(20);
  if (crashAt === 'before the fsync') world.stallDisk(2);
  const second = fate(world, world.lease(3).stand('', 1, 4000));
  await world.run(20);
  const later = world.network.hold({ from: 3, to: 2 });
  await world.run(30);
  world.kill(2);
  await world.boot(2);
  await world.run(50);
  slow.release();
  await world.run(50);
  later.release();
  await world.run(100);
  void first;
  void second;
  return masters(world);
}

test('a promise that was not on disk was never given: the older value is chosen, the candidate finds it', async () => {
  expect(await schedule('before the fsync')).toMatchObject({ 1: '2: node 1', 3: '2: node 1' });
});

test('a promise that was on disk still holds after the crash: the older value is refused', async () => {
  expect(await schedule('after the fsync')).toMatchObject({ 2: '2: node 3', 3: '2: node 3' });
});

test('without ack-after-fsync the forgotten promise makes two masters of one epoch', async () => {
  without('ack-after-fsync');
  expect(await schedule('before the fsync')).toMatchObject({ 1: '2: node 1', 3: '2: node 3' });
});
