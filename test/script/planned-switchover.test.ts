import { expect, test } from 'vitest';
import type { AgentContext } from '../../agent/context.ts';
import { decide } from '../../agent/decide.ts';
import { handOver } from '../../agent/hand-over.ts';
import { epochOf, nodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import { DEFAULT_LEASE } from '../../base/topology.ts';
import type { Outcome } from '../../proto/binlogsvr-types.ts';
import { agentOf } from './scripted-agent.ts';
import { fate, holders, mastered, masters, propose, takeOver, without } from './steps.ts';

const ORDER = { id: 1, epoch: 1, to: 2 };

/** Node 1 is master, open for clients; what `transfer` does to the call of its agent. */
async function openMaster(transfer: (call: () => Promise<Outcome>) => Promise<Outcome> = (call) => call()) {
  const world = await mastered();
  const { context: plain, mysqld, observe } = agentOf(world, 1);
  const { client } = plain.options;
  const wrapped = {
    ...client,
    transfer: (e: number, to: number, ms: number) => transfer(() => client.transfer(e, to, ms)),
  };
  const context: AgentContext = { ...plain, options: { ...plain.options, client: wrapped } };
  mysqld.child = { pid: 9, startedAt: 0 };
  mysqld.sessions = true;
  mysqld.writable = true;
  context.watch.begin(9, 1);
  context.become('master', 'master of epoch 1');
  await world.done(context.views.refresh());
  return { world, context, mysqld, observe };
}

/*
 * The planned switchover, and what its order is for (finding 7a).
 *
 *    ms    proxy C               node 1 (master)                              node 2
 *     0    bound until 3000
 *   200                          closes every session, lets none in
 *                                Transfer ──────────────────────────────────► master of epoch 2, acknowledges a write
 *   600    asks old session ──►  gone: C hears a lost connection, no stale row
 */
async function planned() {
  const { world, context, mysqld } = await openMaster();
  let sessionsAtTransfer: boolean | null = null;
  world.at(1).onApplied(({ value, accepted }) => {
    if (value.kind === 'transfer' && accepted) sessionsAtTransfer = mysqld.sessions;
  });
  const undone = await world.done(handOver(context, ORDER));
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  return { undone, sessionsAtTransfer, role: context.role(), masters: masters(world), killed: mysqld.journal };
}

test('an epoch is handed over with every session closed; mysqld stays up as a replica', async () => {
  expect(await planned()).toEqual({
    undone: '',
    sessionsAtTransfer: false,
    role: 'replica',
    masters: { 1: '2: node 2', 2: '2: node 2', 3: '2: node 2' },
    killed: [],
  });
});

test('without transfer-after-closing an old session still answers when there is another master', async () => {
  without('transfer-after-closing');
  expect(await planned()).toMatchObject({ undone: '', sessionsAtTransfer: true });
});

/*
 * The answer to the transfer is lost, and with it whether there was one.
 *
 *    ms    proxy C (cut off)     node 1 (master)                              node 2
 *     0    bound until 3000
 *   200                          closed; Transfer ──────────────────────────► master of epoch 2
 *                                (no answer)
 *                                stays closed, releases epoch 1: refused, it is over; follows
 *   600    opens a session ────► refused
 */
async function lostAnswer() {
  const { world, context, mysqld } = await openMaster(async (call) => {
    await call();
    throw new PhxError('UNAVAILABLE', 'the connection broke');
  });
  const undone = await world.done(handOver(context, ORDER));
  return { undone, open: mysqld.sessions && mysqld.writable, role: context.role(), epoch: world.at(1).state.epoch };
}

test('a master that cannot tell whether it handed over does not open again', async () => {
  expect(await lostAnswer()).toEqual({ undone: '', open: false, role: 'replica', epoch: 2 });
});

test('without no-way-back-from-a-transfer two mysqlds are open', async () => {
  without('no-way-back-from-a-transfer');
  // Its view was asked for before the transfer, as that of an agent whose binlogsvr does not answer is.
  expect(await lostAnswer()).toMatchObject({ open: true });
});

test('if there was none, the epoch is given back: nobody waits for its lease', async () => {
  const { world, context, mysqld } = await openMaster(() =>
    Promise.reject(new PhxError('UNAVAILABLE', 'the connection broke')),
  );
  expect(await world.done(handOver(context, ORDER))).toBe('');
  expect({ role: context.role(), open: mysqld.sessions }).toEqual({ role: 'replica', open: false });
  expect(world.at(1).state).toMatchObject({ epoch: 1, open: false });
});

test('refused before anything was proposed, it is undone, and the lease was never given up', async () => {
  const { world, context, mysqld } = await openMaster();
  const undone = await world.done(handOver(context, { ...ORDER, to: 9 }));
  expect(undone).toMatch(/node 9 cannot take over/);
  expect({ role: context.role(), open: mysqld.sessions && mysqld.writable }).toEqual({ role: 'master', open: true });
  expect(holders(world)).toEqual([1]);
});

test('what still waits for its ack undoes it', async () => {
  const { world, context, mysqld } = await openMaster();
  // Executed, and in no log: sync is away.
  const { T } = await import('./scripted-mysqld.ts');
  mysqld.commit(T(1));
  expect(await world.done(handOver(context, ORDER))).toMatch(/the log holds/);
  expect({ role: context.role(), open: mysqld.sessions && mysqld.writable }).toEqual({ role: 'master', open: true });
  expect(holders(world)).toEqual([1]);
});

/*
 * An append is under way behind a transfer.
 *
 *      node 1 (master)                              node 2
 *      Transfer{1, to 2} at 4 ────────────────────► master of epoch 2
 *      Append{1} at 5 ────────────────────────────► refused: it would be missing in the MySQL of the master
 */
async function appendBehind() {
  const world = await mastered();
  const executedUpTo = world.at(1).state.appliedIndex;
  const transfer = propose(world, 1, { kind: 'transfer', epoch: epochOf(1), to: nodeId(2), executedUpTo });
  const append = propose(world, 1, world.appendValue(1));
  return [await fate(world, transfer), await fate(world, append)];
}

test('an append behind a transfer is refused', async () => {
  expect(await appendBehind()).toEqual(['accepted', 'WRONG_EPOCH']);
});

test('without append-needs-epoch the new master lacks it', async () => {
  without('append-needs-epoch');
  expect(await appendBehind()).toEqual(['accepted', 'accepted']);
});

/*
 * The old master is cut off, or dies, when its transfer is accepted and nobody else knows that it is chosen.
 *
 *    ms    node 1 (master)              node 2                                   node 3
 *     0    Transfer{to 2} ────────────► accepted, first seen ──────────────────► accepted, first seen
 *          (cut off, or dead)
 *  3400                                                                          phase 1: finds it, epoch 2 of node 2
 *                                                                                its time is over, too: fences, stands
 */
async function cutBehindTransfer(how: 'cut off' | 'dead') {
  const world = await mastered();
  const answers = world.network.hold({ to: 1, kind: 'accepted' });
  const executedUpTo = world.at(1).state.appliedIndex;
  const outcome = fate(world, world.lease(1).transfer(1, 2, executedUpTo, 1000));
  await world.run(100);
  if (how === 'dead') world.kill(1);
  else for (const other of [2, 3]) world.network.cut(1, other);
  answers.drop();
  const began = world.clock.now();
  await takeOver(world, 3, 1);
  const found = masters(world)[3];
  await takeOver(world, 3, 2);
  const tookMs = world.clock.now() - began;
  await world.elect(3);
  if (how === 'cut off') await outcome;
  return { found, twice: tookMs > 1.5 * DEFAULT_LEASE.takeoverMs, holders: holders(world) };
}

test.each(['cut off', 'dead'] as const)(
  'the old master is %s behind its transfer: one takeover, one holder',
  async (how) => {
    expect(await cutBehindTransfer(how)).toEqual({ found: '2: node 2', twice: false, holders: [3] });
  },
);

test('without takeover-from-accepting the transfer is waited for once more', async () => {
  without('takeover-from-accepting');
  expect(await cutBehindTransfer('dead')).toMatchObject({ twice: true });
});

/*
 * The successor dies with the epoch in its hands.
 *
 *    ms    node 1 (follows)             node 2                                   node 3
 *     0    Transfer{to 2} ────────────► master of epoch 2, dead                  first seen
 *  3400    may stand again                                                       fences, stands
 */
test('a successor that dies costs one takeover', async () => {
  const world = await mastered();
  const executedUpTo = world.at(1).state.appliedIndex;
  expect((await world.done(world.lease(1).transfer(1, 2, executedUpTo, 1000))).accepted).toBe(true);
  world.kill(2);
  await world.until('3 knows', () => world.at(3).state.epoch === 2);
  expect(await takeOver(world, 3, 2)).toBeLessThan(1.2 * DEFAULT_LEASE.takeoverMs);
  await world.elect(3);
  expect(holders(world)).toEqual([3]);
});

/*
 * The successor's mysqld, or its agent, was restarted between its word and the transfer: the one that runs has agreed to nothing.
 */
test('an epoch that was handed to another mysqld than the one that agreed is given back', async () => {
  const world = await mastered();
  expect((await world.done(world.lease(1).transfer(1, 2, world.at(1).state.appliedIndex, 1000))).accepted).toBe(true);
  await world.until('2 knows', () => world.at(2).state.epoch === 2);
  const { context, mysqld, observe } = agentOf(world, 2);
  mysqld.child = { pid: 9, startedAt: 0 };
  context.watch.begin(9, 0);
  context.become('replica', 'runs');
  await world.done(context.watch.probeNow());
  expect(decide(observe({ stoodUpon: 1 }))).toMatchObject({ do: 'promote', epoch: 2 });
  expect(decide(observe({ stoodUpon: -1 }))).toMatchObject({ do: 'release', epoch: 2 });
});

test('who was handed an epoch states a lease with its first renewal, without having led before', async () => {
  const world = await mastered();
  expect((await world.done(world.lease(1).transfer(1, 2, world.at(1).state.appliedIndex, 1000))).accepted).toBe(true);
  expect(holders(world)).toEqual([]);
  await world.until('2 knows', () => world.at(2).state.epoch === 2);
  expect(world.at(2).leading).toBe(false);
  expect((await world.done(world.lease(2).renew(2, 1000))).accepted).toBe(true);
  expect(holders(world)).toEqual([2]);
});
