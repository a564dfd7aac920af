import { expect, test } from 'vitest';
import { recover } from '../../agent/recovery.ts';
import { agentOf } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { fate, mastered, without } from './steps.ts';

/*
 * 12: the agent was killed, its mysqld hangs on a stalled disk: killed, but it may still write.
 *
 *      agent (a new one)                    mysqld (orphan, pid 77)
 *      recover: SIGKILL ──────────────────► waits for the disk; not found among the running, holds the lock on ibdata1
 *      waits for the lock
 *      gives up for now: no cut             the disk comes back: writes T3, dies
 *      recover again: cuts T3
 */
async function orphanOnStalledDisk() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const value = { kind: 'append', epoch, follows: 0, items: [T(1)].map(logged) } as const;
  await world.done(world.at(1).propose(value, 'data', 1000));
  const { context, mysqld } = agentOf(world, 1);
  for (const n of [1, 2]) mysqld.write(T(n));
  mysqld.orphans = [77];
  mysqld.unkillable.add(77);
  const first = await fate(
    world,
    recover(context, 'the agent began', false).then(() => ({ accepted: true })),
  );
  const openWhileItRan = world.at(1).state.open;
  mysqld.unkillable.clear();
  mysqld.orphans = [];
  await world.done(recover(context, 'once more', false));
  return { first, openWhileItRan, inUse: mysqld.journal.includes('CUT A BINLOG IN USE'), left: mysqld.written.length };
}

test('12: nothing is cut, nothing released while somebody holds the data directory', async () => {
  expect(await orphanOnStalledDisk()).toEqual({ first: 'TIMEOUT', openWhileItRan: true, inUse: false, left: 1 });
});

test('12: without cut-waits-for-the-lock a binlog in use is cut', async () => {
  without('cut-waits-for-the-lock');
  expect(await orphanOnStalledDisk()).toMatchObject({ inUse: true });
});

/*
 * 7d: the same orphan still answers clients when the epoch is given back.
 *
 *      agent                        mysqld (orphan)                       node 2
 *      Release before the kill ────────────────────────────────────────► elected at once, acknowledges a write
 *                                   answers an old session: stale
 */
async function releaseOfAnOrphan() {
  const world = await mastered();
  const { context, mysqld } = agentOf(world, 1);
  context.views.accept(await world.done(context.options.client.barrier(1000)), world.clock.now());
  mysqld.orphans = [77];
  mysqld.unkillable.add(77);
  let aliveAtRelease = false;
  world.at(1).onApplied(({ value, accepted }) => {
    if (value.kind === 'fence' && accepted) aliveAtRelease = mysqld.orphans.length > 0;
  });
  await world.run(20);
  const end = recover(context, 'the agent began', false).then(() => ({ accepted: true }));
  await world.run(500);
  mysqld.unkillable.clear();
  mysqld.orphans = [];
  await fate(world, end);
  return { aliveAtRelease, open: world.at(1).state.open };
}

test('7d: a lease is given back only once no mysqld of the data directory runs', async () => {
  expect(await releaseOfAnOrphan()).toEqual({ aliveAtRelease: false, open: false });
});

test('7d: without release-after-reap an orphan answers for a lease that is over', async () => {
  without('release-after-reap');
  expect(await releaseOfAnOrphan()).toEqual({ aliveAtRelease: true, open: false });
});
