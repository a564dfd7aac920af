import { expect, test } from 'vitest';
import { carries } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, without } from './steps.ts';

/*
 * 28: bulk fills the leader's window while the others are slow; a renewal must not wait behind it.
 *
 *      node 1 (master)                            nodes 2 and 3
 *      64 appends under way ──── (slow disks) ──► nothing is accepted yet
 *      the 65th append waits for a slot
 *      renew 1 ─────────────────────────────────► is under way at once, in its own window
 */
async function underWay() {
  const world = await mastered();
  const slow = [2, 3].map((to) => world.network.hold({ from: 1, to, kind: 'accept' }));
  const { epoch } = world.at(1).state;
  const appends = Array.from({ length: 100 }, (_, i) => world.at(1).propose(world.appendOf(epoch, i), 'data', 10_000));
  for (const append of appends) append.catch(() => {}); // the test may end before
  const renewed = world.lease(1).renew(1, 5000);
  await world.run(10);
  const carrying = (kind: 'renew' | 'append'): number =>
    slow[0]?.packets.filter(({ message }) => carries(message, kind)).length ?? 0;
  const sent = { renewals: carrying('renew') > 0, appends: carrying('append') > 0 };
  for (const held of slow) held.release();
  return { ...sent, renewed: await fate(world, renewed) };
}

test('28: a renewal is under way at once whatever bulk is before it', async () => {
  expect(await underWay()).toEqual({ renewals: true, appends: true, renewed: 'accepted' });
});

test('28: without renewal-never-waits it waits for a slot behind the bulk', async () => {
  without('renewal-never-waits');
  expect(await underWay()).toMatchObject({ renewals: false, appends: true });
});

/*
 * 28, on disks that sync 4 MB a second: the renewal has a window, but the disk works through what was written before it.
 *
 *      node 1 (master)                            nodes 2 and 3
 *      as many appends of 64 KiB as may be under way, always ──► their disks, the same
 *      renew 1 ───── behind what the disks have not synced ────► accepted: how much later?
 */
async function behindSlowDisks() {
  const world = await mastered();
  world.diskBytesPerMs = 4000;
  let follows = world.at(1).state.appendSeq;
  const { epoch } = world.at(1).state;
  const lost: unknown[] = [];
  const append = (): void => {
    const value = world.appendOf(epoch, follows, 64 * 1024);
    follows += 1;
    world
      .at(1)
      .propose(value, 'data', 60_000)
      .then(append, (error: unknown) => lost.push(error));
  };
  for (let i = 0; i < 100; i += 1) append();
  await world.run(3000);
  const waits: number[] = [];
  for (let renewal = 1; renewal <= 3; renewal += 1) {
    const began = world.clock.now();
    expect(await fate(world, world.lease(1).renew(1, 5000))).toBe('accepted');
    waits.push(world.clock.now() - began);
    await world.run(130);
  }
  expect(lost).toEqual([]);
  return Math.max(...waits);
}

test('28: on a slow disk a renewal is accepted within a few tenths of a second', async () => {
  expect(await behindSlowDisks()).toBeLessThan(300);
});

test('28: without bulk-leaves-the-disk-free it waits for all that may be under way', async () => {
  without('bulk-leaves-the-disk-free');
  expect(await behindSlowDisks()).toBeGreaterThan(700);
});
