import { expect, test } from 'vitest';
import { decide } from '../../agent/decide.ts';
import { demote } from '../../agent/demotion.ts';
import { epochOf, monoMs, nodeId } from '../../base/brands.ts';
import { initialKnown, learn, proxyViewOf } from '../../proxy/master-view.ts';
import { agentOf } from './scripted-agent.ts';
import { fate, holders, mastered, propose, takeOver, without } from './steps.ts';

/*
 * 7a: a switchover with a live mysqld; a proxy elsewhere holds a bound for three more seconds.
 *
 *    ms    proxy C               node 1 (master)                              node 2
 *     0    bound until 3000
 *   200                          closes every session, lets none in
 *                                Release ───────────────────────────────────► elected, acknowledges a write
 *   600    asks old session ──►  gone: C hears a lost connection, no stale row
 */
async function switchover() {
  const world = await mastered();
  const { context, mysqld } = agentOf(world, 1);
  mysqld.child = { pid: 9, startedAt: 0 };
  mysqld.sessions = true;
  mysqld.writable = true;
  context.watch.begin(9, 1);
  await world.done(context.views.refresh());
  let sessionsAtRelease: boolean | null = null;
  world.at(1).onApplied(({ value, accepted }) => {
    if (value.kind === 'fence' && accepted) sessionsAtRelease = mysqld.sessions;
  });
  await world.done(demote(context, 1, true, 'switchover').catch(() => {}));
  return { sessionsAtRelease };
}

test('7a: the epoch is given back with every session closed', async () => {
  expect(await switchover()).toEqual({ sessionsAtRelease: false });
});

test('7a: without release-after-closing an old session still answers', async () => {
  without('release-after-closing');
  expect(await switchover()).toEqual({ sessionsAtRelease: true });
});

/*
 * 7a, afterwards: the former master follows and could be read again, at the port where a proxy that is cut off still looks for the
 * master (found by the simulator).
 *
 *    ms    proxy C                        node 1                              node 2
 *     0    bound until 3000               master
 *   200                                   Release; follows, offline           elected, acknowledges a write
 *   600    opens a new session ──► refused: offline until one takeover has passed since it left the role
 *  3600                                   takes readers
 */
async function formerMaster(trustedMs: number) {
  const world = await mastered();
  const { context, mysqld, observe } = agentOf(world, 1);
  mysqld.child = { pid: 9, startedAt: 0 };
  mysqld.sessions = true;
  mysqld.writable = true;
  context.watch.begin(9, 1);
  await world.done(context.views.refresh());
  await world.done(demote(context, 1, true, 'switchover'));
  await world.elect(2);
  await world.until('node 1 hears of it', () => world.at(1).state.epoch === 2);
  return { role: context.role(), sessions: mysqld.sessions, next: decide(observe({ trustedMs })).do };
}

test('7a: a former master takes no readers while a bound of its lease may run', async () => {
  expect(await formerMaster(2400)).toEqual({ role: 'replica', sessions: false, next: 'wait' });
  expect(await formerMaster(0)).toEqual({ role: 'replica', sessions: false, next: 'openForReads' });
});

test('7a: without former-master-stays-offline it is read as if it were the master', async () => {
  without('former-master-stays-offline');
  expect(await formerMaster(2400)).toMatchObject({ role: 'replica', next: 'openForReads' });
});

/*
 * 7b: the transferee did not propose, so it counts nothing.
 *
 *    ms    node 1 (master)                    node 2                        node 3
 *     0    Transfer{to 2} ──────────────────► (paused)                      first seen
 *  3450                                       goes on, applies it           fences, stands: holds the lease
 *                                             states no lease: it has not renewed
 */
async function pausedTransferee() {
  const world = await mastered();
  const slow = (['accept', 'commit', 'learned'] as const).map((kind) => world.network.hold({ to: 2, kind }));
  const executedUpTo = world.at(1).state.appliedIndex;
  const transfer = { kind: 'transfer', epoch: epochOf(1), to: nodeId(2), executedUpTo } as const;
  expect(await fate(world, propose(world, 1, transfer))).toBe('accepted');
  await world.run(3300);
  for (const held of slow) held.release();
  await world.until('2 applies it', () => world.at(2).state.epoch === 2);
  for (const other of [1, 3]) world.network.cut(2, other);
  await takeOver(world, 3, 2);
  await world.elect(3);
  return holders(world);
}

test('7b: a transferee holds no lease before its own first renewal', async () => {
  expect(await pausedTransferee()).toEqual([3]);
});

test('7b: without lease-from-proposal it counts from when it learned', async () => {
  without('lease-from-proposal');
  expect(await pausedTransferee()).toEqual([2, 3]);
});

/*
 * 7c: a binlogsvr that catches up learns an old renewal now; its proxy must not read by that.
 *
 *    ms    node 1 (master)             node 2                      node 3 and its proxy
 *     0    elected                     knows                       down
 *          frozen
 *  2900                                                            starts, learns the election "now"
 *  3450                                fenced, elected             (cut off: still believes in epoch 1)
 *                                                                  proxy: node 3 says nothing of a lease of node 1
 */
async function catchingUp() {
  const world = await mastered();
  world.kill(3);
  world.freeze(1);
  await world.run(2900);
  await world.boot(3);
  await world.until('3 knows', () => world.at(3).state.epoch === 1);
  const now = world.clock.now();
  const address = (id: number) => ({ id: nodeId(id), host: 'h', rw: 1, ro: 2, dump: 3, rpc: 4, mysql: 5, http: 6 });
  const { view } = agentOf(world, 3);
  let known = learn(initialKnown([1, 2, 3].map(address), 3), { kind: 'view', at: now, view: view() });
  const reply = { node: 3, epoch: 1, remainingMs: world.at(3).leaseRemainingMs };
  known = learn(known, { kind: 'lease', askedAt: now, askedWall: 0, reply });
  return { readsForMs: Math.max(0, proxyViewOf(known, monoMs(now), 0).readUntil - now) > 1000 };
}

test('7c: what others learned allows no reads', async () => {
  expect(await catchingUp()).toEqual({ readsForMs: false });
});

test('7c: without only-the-holder-states-its-lease a proxy reads from a frozen, deposed master', async () => {
  without('only-the-holder-states-its-lease', 'lease-age-is-told');
  expect(await catchingUp()).toEqual({ readsForMs: true });
});
