import { expect, test } from 'vitest';
import { holders, mastered, takeOver, without } from './steps.ts';

/*
 * A third cannot hear the master, everybody hears the third.
 *
 *  ms      node 1 (master)        node 2                         node 3
 *          elected: epoch 1       (hears 1)                      (hears neither 1 nor what 2 has learned)
 *   1000   renew 1 ─────────────► accepted, applied       x
 *   2500   renew 2 ─────────────► accepted, applied       x
 *   3500                          prepare ◄───────────────────── "the lease is over"
 *                                 refused: by 2's clock it runs
 *   3700   append ──────────────► accepted: nobody noticed anything
 */
async function deafThird() {
  const world = await mastered();
  for (const from of [1, 2]) {
    world.network.hold({ from, to: 3, kind: 'accept' });
    world.network.hold({ from, to: 3, kind: 'learned' });
    world.network.hold({ from, to: 3, kind: 'commit' });
  }
  for (let i = 0; i < 2; i += 1) {
    await world.run(1250);
    expect((await world.done(world.lease(1).renew(1, 1000))).accepted).toBe(true);
  }
  let deposed = false;
  world.at(1).events.onChange(() => {
    deposed ||= !world.at(1).leading;
  });
  await world.until('3 believes it may', () => world.at(3).takeoverInMs === 0);
  await world.done(
    world
      .lease(3)
      .fence(1, false, 800)
      .catch(() => null),
  );
  return { deposed, open: world.at(1).state.open, holders: holders(world) };
}

test('a node that does not hear the master does not depose it', async () => {
  expect(await deafThird()).toEqual({ deposed: false, open: true, holders: [1] });
});

test('without lease-forbids-strangers it does', async () => {
  without('lease-forbids-strangers');
  expect(await deafThird()).toMatchObject({ deposed: true });
});

/*
 * The master reaches its followers, they do not reach it.
 *
 *  ms      node 1 (master)                       nodes 2 and 3
 *          elected: epoch 1
 *    500   renew 1 ────────────────────────────► accepted, first seen ── accepted ──x
 *   1700   again (no answer) ──────────────────► seen again: nobody waits anew
 *   ...    again and again
 *   3000   states no lease any more
 *   4000                                         the takeover is due, 3400 after the first sighting: one of them is elected
 */
async function muteFollowers() {
  const world = await mastered();
  for (const from of [2, 3]) world.network.hold({ from, to: 1 });
  await world.run(500);
  const began = world.clock.now();
  const renewing = async (): Promise<void> => {
    for (;;)
      await world
        .lease(1)
        .renew(1, 400)
        .catch(() => null);
  };
  void renewing();
  await world.until('1 states no lease', () => world.at(1).leaseRemainingMs === 0);
  const due = (): boolean => world.at(2).takeoverInMs === 0;
  await world.until('the takeover is due', due, 6000).catch(() => {});
  const dueAfterMs = due() ? world.clock.now() - began : null;
  if (dueAfterMs !== null) {
    await takeOver(world, 2, 1);
    await world.elect(2);
  }
  return { dueInTime: dueAfterMs !== null && dueAfterMs < 3600, holders: holders(world) };
}

test('a master that is not answered is taken over, however often it repeats itself', async () => {
  expect(await muteFollowers()).toEqual({ dueInTime: true, holders: [2] });
});

test('without first-sighting-counts it blocks everybody', async () => {
  without('first-sighting-counts');
  expect(await muteFollowers()).toMatchObject({ dueInTime: false, holders: [] });
});
