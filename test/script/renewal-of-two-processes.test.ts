import { expect, test } from 'vitest';
import { holders, mastered, without } from './steps.ts';

/*
 * The same renewal proposed by two processes of one node is two leases.
 *
 *  ms      node 1 (master)                     node 2                      node 3
 *     0    elected: epoch 1
 *   500    renew 1 ── accept ────── (slow) ─── ...
 *          binlogsvr dies before its own fsync, starts again
 *          leads again: {1,2,3} know no renew 1
 *   ~800                                       ◄ the old accept arrives: refused (lower ballot), but seen
 *  2500    renew 1, as another process ──────► accepted ─────────────────► accepted
 *          holds the lease until 5500
 *          cut off from 2 and 3
 *  4300                                        takeover due if the renewal counts from the first copy (800 + 3400);
 *                                              it is due at 5900
 */
async function schedule() {
  const world = await mastered();
  await world.run(500);
  const slow = world.network.hold({ from: 1, kind: 'accept', carrying: 'renew' });
  world.stallDisk(1);
  world
    .lease(1)
    .renew(1, 1000)
    .catch(() => {}); // its process dies
  await world.run(10);
  world.kill(1);
  await world.boot(1);
  await world.until('leads again', () => world.at(1).leading);
  slow.release();
  await world.run(2000);
  expect((await world.done(world.lease(1).renew(1, 1000))).accepted).toBe(true);
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  world.network.cut(1, 2);
  world.network.cut(1, 3);
  await world.run(1800);
  const fenced = await world.done(world.lease(2).fence(1, false, 500));
  if (fenced.accepted) await world.elect(2);
  return { fenced: fenced.code, holders: holders(world) };
}

test('a takeover waits for the lease of the second process', async () => {
  expect(await schedule()).toEqual({ fenced: 'LEASE_RUNS', holders: [1] });
});

test('without lease-names-proposer there are two holders', async () => {
  without('lease-names-proposer');
  expect(await schedule()).toEqual({ fenced: '', holders: [1, 2] });
});
