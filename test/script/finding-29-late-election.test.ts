import { expect, test } from 'vitest';
import { decide } from '../../agent/decide.ts';
import { promote } from '../../agent/promotion.ts';
import { agentOf } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { fate, holders, mastered, takeOver, without } from './steps.ts';

/*
 * 29a: an election is chosen late, its winner's MySQL has crashed since (and went back: flush=2).
 *
 *      node 1                    node 2                             node 3
 *      Release{1}
 *                                Elect{2}: T1 T2 executed
 *                                  ── (slow) ──────────────────────►
 *                                mysqld crashes: T1 executed
 *                                Elect{2} is chosen: epoch 2
 *                                did not stand with this mysqld: gives it back
 *                                                                   stands, wins
 */
async function lateElection() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  await world.done(
    world.at(1).propose({ kind: 'append', epoch, follows: 0, items: [T(1), T(2)].map(logged) }, 'data', 1000),
  );
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('2 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  await world.elect(2);
  const { context, mysqld, observe } = agentOf(world, 2);
  mysqld.commit(T(1));
  mysqld.child = { pid: 9, startedAt: 0 };
  context.watch.begin(9, 0);
  context.become('replica', 'runs');
  await world.done(context.views.refresh());
  await world.done(context.watch.probeNow());
  const action = decide(observe({ stoodUpon: -1 }));
  let promoted = '';
  if (action.do === 'promote') {
    const { signal } = new AbortController();
    promoted = await world.done(
      promote(context, 2, world.at(2).state.gtidSet.toString(), signal).then(
        () => 'opened',
        (e: Error) => e.name,
      ),
    );
  }
  return { action: action.do, promoted, opensLacking: mysqld.writable && mysqld.committed.size < 2 };
}

test('29a: an election that this mysqld did not stand for is given back', async () => {
  expect(await lateElection()).toEqual({ action: 'release', promoted: '', opensLacking: false });
});

test('29a: were it promoted, what it has executed is compared with the log once more', async () => {
  without('only-who-stood-promotes');
  expect(await lateElection()).toEqual({ action: 'promote', promoted: 'GivenUp', opensLacking: false });
});

test('29a: without only-who-stood-promotes and promote-needs-all-executed a master lacks acknowledged commits', async () => {
  without('only-who-stood-promotes', 'promote-needs-all-executed');
  expect(await lateElection()).toEqual({ action: 'promote', promoted: 'opened', opensLacking: true });
});

/*
 * 29b: the lease of a late election is over before its winner hears of it.
 *
 *    ms    node 1 (released)          node 2                                node 3
 *     0                               Elect{2} ───────────────────────────► accepted, first seen
 *          accepted, first seen ◄────
 *          (the answers are slow)
 *  3500                               hears that it is chosen: its lease ran until 3000
 *                                     cut off
 *  3600                                                                     fences, stands: holds the lease
 */
async function heardLate() {
  const world = await mastered();
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  await world.done(world.at(2).lead(1000));
  const slow = (['accepted', 'commit', 'learned'] as const).map((kind) => world.network.hold({ to: 2, kind }));
  const stood = fate(world, world.lease(2).stand('', 1, 8000));
  await world.run(3450);
  for (const held of slow) held.release();
  await stood;
  for (const other of [1, 3]) world.network.cut(2, other);
  await takeOver(world, 3, 2);
  await world.elect(3);
  return holders(world);
}

test('29b: a lease counts from its proposal', async () => {
  expect(await heardLate()).toEqual([3]);
});

test('29b: without lease-from-proposal there are two holders', async () => {
  without('lease-from-proposal');
  expect(await heardLate()).toEqual([2, 3]);
});

/*
 * 29c: a node stands with less executed than the log holds.
 *
 *      node 1 (master)              node 2: store T1 T2, MySQL has executed T1
 *      T1 T2; Release{1}            stands: refused
 */
async function standsBehind() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  await world.done(
    world.at(1).propose({ kind: 'append', epoch, follows: 0, items: [T(1), T(2)].map(logged) }, 'data', 1000),
  );
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('2 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  return fate(world, world.lease(2).stand(T(1).gtid, 1, 2000));
}

test('29c: only a node that has executed everything stands', async () => {
  expect(await standsBehind()).toBe('NOT_EXECUTED');
});

test('29c: without stand-needs-all-executed it is elected lacking acknowledged commits', async () => {
  without('stand-needs-all-executed');
  expect(await standsBehind()).toBe('accepted');
});
