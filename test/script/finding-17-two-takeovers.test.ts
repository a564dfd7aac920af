import { expect, test } from 'vitest';
import { DEFAULT_LEASE } from '../../base/topology.ts';
import { fate, mastered, takeOver, without } from './steps.ts';

/*
 * 17a: the last renewal is accepted by both others, its "chosen" is never heard.
 *
 *    ms    node 1 (master)                nodes 2 and 3
 *     0    elected
 *   500    renew 1 ─────────────────────► accepted, seen at 500
 *          power off
 *  3900                                   takeover due: phase 1 finds renew 1, 3400 old: fenced
 *          (not: wait until 3400 from the election, find renew 1, wait 3400 again)
 */
async function failoverMs(): Promise<number> {
  const world = await mastered();
  await world.run(500);
  world.network.hold({ from: 1, kind: 'commit' });
  void world
    .lease(1)
    .renew(1, 300)
    .catch(() => null);
  await world.run(20);
  world.kill(1);
  return takeOver(world, 2, 1);
}

test('17a: a power-off costs one takeover', async () => {
  expect(await failoverMs()).toBeLessThan(DEFAULT_LEASE.takeoverMs + 300);
});

test('17a: without takeover-from-accepting it costs nearly two', async () => {
  without('takeover-from-accepting');
  expect(await failoverMs()).toBeGreaterThan(1.8 * DEFAULT_LEASE.takeoverMs);
});

/*
 * 17b: a node that was away hears of the lease when it is nearly over.
 *
 *    ms    node 1 (master)     node 2                  node 3
 *     0    elected             knows                   knows
 *          dies                                        dies
 *  3000                                                starts: has never seen this lease
 *                              "renewal 0, 3000 old" ► waits 400 more, not 3400
 */
async function newcomerWaitsMs(): Promise<number> {
  const world = await mastered();
  world.kill(1);
  world.kill(3);
  await world.run(3000);
  await world.boot(3);
  await world.run(100);
  return takeOver(world, 3, 1);
}

test('17b: a lease that is told with its age is not waited for again', async () => {
  expect(await newcomerWaitsMs()).toBeLessThan(700);
});

test('17b: without lease-age-is-told it is', async () => {
  without('lease-age-is-told');
  expect(await newcomerWaitsMs()).toBeGreaterThan(2500);
});

/*
 * 17c: the last value of an idle pipeline is told at once.
 *
 *    ms    node 1                         node 2
 *     0    Release: chosen by {1,3} ────► hears that it is chosen in this very round, not with the next message
 */
async function heardAfterMs(): Promise<number> {
  const world = await mastered();
  await world.run(60);
  const began = world.clock.now();
  void fate(world, world.lease(1).fence(1, true, 1000));
  await world.until('2 hears', () => !world.at(2).state.open);
  return world.clock.now() - began;
}

test('17c: a release is heard at once', async () => {
  expect(await heardAfterMs()).toBeLessThanOrEqual(10);
});

test('17c: without announced-at-once it waits for the next message', async () => {
  without('announced-at-once');
  expect(await heardAfterMs()).toBeGreaterThan(10);
});
