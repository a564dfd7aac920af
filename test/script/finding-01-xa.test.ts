import { expect, test } from 'vitest';
import { decide } from '../../agent/decide.ts';
import { promote } from '../../agent/promotion.ts';
import { recover, settle } from '../../agent/recovery.ts';
import { attachStatements } from '../../agent/replica-channel.ts';
import { XA_DOUBT_MS } from '../../agent/xa.ts';
import type { AppendItem } from '../../binlogsvr/values.ts';
import type { World } from '../unit/binlogsvr/replica-world.ts';
import { agentOf, type ScriptedAgent } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { mastered, without } from './steps.ts';

const X = "X'78',X'',1";
const BEGIN: AppendItem = { kind: 'file', name: 'binlog.000001', formatDescription: new Uint8Array(1), tellsXa: true };

/** The log holds T1, and T2: XA PREPARE of X. Node 2's MySQL, a replica, has executed both. */
async function prepared(): Promise<Readonly<{ world: World; agent: ScriptedAgent }>> {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const items = [BEGIN, logged(T(1)), { ...logged(T(2)), xa: { kind: 'prepare', xid: X } } as AppendItem];
  const value = { kind: 'append', epoch, follows: 0, items } as const;
  expect((await world.done(world.at(1).propose(value, 'data', 1000))).accepted).toBe(true);
  await world.until('2 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  const agent = agentOf(world, 2);
  const { context, mysqld } = agent;
  mysqld.commit(T(1));
  mysqld.prepare(X, T(2));
  mysqld.child = { pid: 9, startedAt: 0 };
  context.watch.begin(9, 0);
  context.become('recovering', 'begins');
  context.become('replica', 'runs');
  await look(world, agent);
  return { world, agent };
}

async function look(world: World, { context }: ScriptedAgent): Promise<void> {
  await world.done(context.watch.probeNow());
  await world.done(context.views.refresh());
}

/** What the agent of node 2 does until it is master or does not know how; its MySQL executes what the log sends it meanwhile. */
async function takesOver(world: World, agent: ScriptedAgent): Promise<readonly string[]> {
  const { context, mysqld, observe } = agent;
  const did: string[] = [];
  let stoodUpon = -1;
  while (did.length < 8 && did.at(-1) !== 'promote') {
    const action = decide(observe({ stoodUpon }));
    did.push(action.do === 'recover' && action.logsReplicated ? 'recover, to log what it replicates' : action.do);
    if (action.do === 'recover') {
      await world.done(recover(context, action.reason, action.suspects, action.logsReplicated));
    } else if (action.do === 'settle') {
      await world.done(settle(context, action.reason));
      if (!mysqld.committed.has(T(2).gtid)) mysqld.prepare(X, T(2)); // the log sends it again
    } else if (action.do === 'stand') {
      stoodUpon = action.epoch;
      await world.done(world.lease(2).stand(action.gtidExecuted, action.epoch, 3000));
    } else if (action.do === 'promote') {
      const { signal } = new AbortController();
      const promoted = promote(context, action.epoch, action.gtidSet, signal);
      const end = await world.done(
        promoted.then(
          () => 'open for writes',
          (e: Error) => e.name,
        ),
      );
      did.push(end);
      if (end === 'open for writes') mysqld.commitXa(X);
      return [...did, ...mysqld.journal.filter((line) => line.includes('XA') || line.includes('WORD'))];
    } else return [...did, 'reason' in action ? action.reason : ''];
    await look(world, agent);
  }
  return did;
}

/*
 * 1a: XA PREPARE, failover, XA COMMIT.
 *
 *      node 1 (master)             node 2 (replica: does not log what it replicates)      log
 *      T1, T2 = XA PREPARE X       executes both                                          T1 T2, X prepared
 *      Release{1}
 *                                  restarts, logging: X and T2 are forgotten, come again
 *                                  stands, is elected, opens
 *      client: XA COMMIT X ──────► logged: appended, acknowledged
 */
async function failover(): Promise<readonly string[]> {
  const { world, agent } = await prepared();
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('2 knows', () => !world.at(2).state.open);
  await look(world, agent);
  return takesOver(world, agent);
}

test('1a: a candidate restarts once, and an XA COMMIT after the failover is logged', async () => {
  expect(await failover()).toEqual([
    'recover, to log what it replicates',
    'settle',
    'stand',
    'promote',
    'open for writes',
    `logs XA COMMIT ${X}`,
  ]);
});

test('1a: were it elected as it runs, it would give the epoch back', async () => {
  without('stand-logs-xa');
  expect(await failover()).toEqual(['stand', 'promote', 'GivenUp']);
});

test('1a: without stand-logs-xa and promote-logs-xa an acknowledged XA COMMIT is in no log', async () => {
  without('stand-logs-xa', 'promote-logs-xa');
  expect(await failover()).toEqual(['stand', 'promote', 'open for writes', `commits ${X} WITHOUT A WORD TO THE LOG`]);
});

/*
 * 1b: a client resolves it on a replica's read-only port; no GTID shows that.
 *
 *      node 1 (master)             node 2 (replica)                                       log
 *      T1, T2 = XA PREPARE X       executes both                                          T1 T2, X prepared
 *                                  client: XA COMMIT X ─► OK: rows nobody else has
 *                                  XA RECOVER is not what the log holds: out of service, new data
 */
async function resolvedOnReplica() {
  const { world, agent } = await prepared();
  agent.mysqld.commitXa(X);
  await look(world, agent);
  const atOnce = decide(agent.observe({})).do;
  await world.run(XA_DOUBT_MS + 100);
  await look(world, agent);
  const later = decide(agent.observe({}));
  return { atOnce, later: later.do, cure: later.do === 'fail' ? later.cure : '' };
}

test('1b: a replica on which an XA transaction was resolved gets new data, once that has been seen for a while', async () => {
  expect(await resolvedOnReplica()).toEqual({ atOnce: 'openForReads', later: 'fail', cure: 'reprovision' });
});

test('1b: without xa-prepared-as-logged it goes on serving rows nobody else has', async () => {
  without('xa-prepared-as-logged');
  expect(await resolvedOnReplica()).toEqual({ atOnce: 'openForReads', later: 'openForReads', cure: '' });
});

/*
 * 1c: the machine of a replica that logs what it replicates loses power. Its binlog, synced, says that it has executed T1; the
 * change itself must not be younger on disk than that.
 */
async function flushOfLogging(): Promise<string> {
  const { agent } = await prepared();
  const { self, security } = agent.context.options;
  const found = attachStatements(self, security, true).find((each) => each.includes('flush_log_at_trx_commit'));
  return found?.slice(-1) ?? '';
}

test('1c: a replica that logs what it replicates flushes each commit', async () => {
  expect(await flushOfLogging()).toBe('1');
});

test('1c: without logged-is-flushed its binlog holds what its tables may lose', async () => {
  without('logged-is-flushed');
  expect(await flushOfLogging()).toBe('2');
});
