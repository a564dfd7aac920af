import { describe, expect, it } from 'vitest';
import { type NodeId, nodeId } from '../../../base/brands.ts';
import type { NodeAddress } from '../../../base/topology.ts';
import { planCluster } from '../../../cli/cluster-dir.ts';
import { NO_PIDS } from '../../../cli/pids-file.ts';
import { mergeStatus, type Reply } from '../../../cli/status.ts';
import { isReady, statusLine, statusText } from '../../../cli/status-text.ts';
import type {
  AgentReport,
  MemberKind,
  MemberStatus,
  NodeStatus,
  PurgeStatus,
  View,
} from '../../../proto/binlogsvr-types.ts';
import { nodesOf } from '../../../proto/member-nodes.ts';
import { replicaReport } from '../../support/agent-report.ts';

const nodes: readonly NodeAddress[] = planCluster(3, 0).nodes;
const DOWN: Reply = { error: 'no answer' };

const agentOf = (more: Partial<AgentReport>): AgentReport =>
  replicaReport({ gtidExecuted: 'u:1-9', epoch: 4, ...more });

function up(
  node: number,
  view: Partial<View> = {},
  agent: Partial<AgentReport> | null = {},
  more: Partial<NodeStatus> = {},
): Reply {
  const full = {
    node,
    epoch: 4,
    master: 1,
    open: true,
    renewal: 7,
    appliedIndex: 100,
    chosenIndex: 100,
    appendSeq: 9,
    gtidSet: 'u:1-9',
    baseline: true,
    voting: true,
    votingReason: '',
    takeoverDue: false,
    takeoverInMs: 3000,
    leaseRemainingMs: 0,
    leader: false,
    agent: agent === null ? null : agentOf(agent),
    agentAlive: agent !== null,
    sync: null,
    quorum: true,
    executedIndex: 100,
    lagMs: 0,
    needsClone: '',
    ...view,
  } satisfies View & { executedIndex: number; lagMs: number };
  return {
    status: {
      view: full,
      executedIndex: 98,
      lagMs: 3.7,
      peers: [],
      pid: 1,
      pidsJson: '',
      version: '0',
      purge: null,
      uptimeMs: 1,
      ...more,
    },
  };
}

/** What it keeps of the log. */
const keeping = (more: Partial<PurgeStatus>): Partial<NodeStatus> => ({
  purge: {
    ...{ firstRetained: 1, bytes: 5 * 1024 ** 3, keepMs: 1, keepBytes: 4 * 1024 ** 3, capBytes: 16 * 1024 ** 3 },
    ...{ needs: [], heldBy: '', leftBehind: [], ...more },
  },
});

const MASTER: Partial<AgentReport> = { role: 'master', servingReads: false, servingWrites: true };
const master = (view: Partial<View> = {}, agent: Partial<AgentReport> = {}): Reply =>
  up(1, { leaseRemainingMs: 2500.9, leader: true, ...view }, { ...MASTER, ...agent });

function merge(...replies: readonly Reply[]) {
  const map = new Map(replies.map((reply, i): [NodeId, Reply] => [nodeId(i + 1), reply]));
  return mergeStatus({ cluster: 'c', nodes }, map, new Map());
}

const summary = (...replies: readonly Reply[]) => {
  const status = merge(...replies);
  return { master: status.master, holder: status.lease.holder, states: status.nodes.map((node) => node.state) };
};

describe('status', () => {
  it('has exactly the agreed names', () => {
    const status = merge(master(), up(2), DOWN);
    expect(Object.keys(status)).toEqual([
      'cluster',
      'epoch',
      'master',
      'lease',
      'gtid',
      'chosenIndex',
      'flow',
      'warnings',
      'nodes',
    ]);
    expect(Object.keys(status.lease)).toEqual(['holder', 'remainingMs']);
    const agreed = 'id state reason reachable rw ro dump rpc mysql gtidExecuted executedIndex chosenIndex lagMs pids';
    const names = [...agreed.split(' '), 'log'];
    for (const node of status.nodes) {
      expect(Object.keys(node).sort()).toEqual([...names].sort());
      expect(Object.keys(node.pids).sort()).toEqual(['agent', 'binlogsvr', 'mysqld', 'proxy', 'supervisor', 'sync']);
    }
    expect(status).toMatchObject({ cluster: 'c', epoch: 4, gtid: 'u:1-9', chosenIndex: 100 });
    expect(status.nodes[1]).toMatchObject({
      id: 2,
      rw: { host: '127.0.0.1', port: 54331 },
      mysql: { host: '127.0.0.1', port: 11121 },
      gtidExecuted: 'u:1-9',
      executedIndex: 98,
      lagMs: 4,
    });
  });

  it('says which values have gone bad, whatever else there is to say', () => {
    const bad = 'the stored value of instance 7 is bad and waits for a peer';
    const status = merge(
      master(),
      up(2, {}, {}, { badValues: bad }),
      up(3, {}, { servingReads: false }, { badValues: bad }),
    );
    expect(status.nodes.map(({ state, reason }) => [state, reason])).toEqual([
      ['master', ''],
      ['slave', bad],
      ['slave', `not serving reads yet; ${bad}`],
    ]);
  });

  it('takes process ids from the node, else those alive from its directory', () => {
    const live = { ...NO_PIDS, mysqld: 7 };
    const map = new Map([
      [nodeId(1), up(1, {}, {}, { pidsJson: JSON.stringify({ ...NO_PIDS, supervisor: 5, proxy: [6] }) })],
      [nodeId(2), DOWN],
      [nodeId(3), up(3, {}, {}, { pidsJson: 'garbage' })],
    ]);
    const pids = new Map([1, 2, 3].map((id) => [nodeId(id), live] as const));
    const status = mergeStatus({ cluster: 'c', nodes }, map, pids);
    expect(status.nodes.map((node) => node.pids)).toEqual([{ ...NO_PIDS, supervisor: 5, proxy: [6] }, live, live]);
  });

  const table: readonly (readonly [string, readonly Reply[], number | null, number | null, readonly string[]])[] = [
    ['all up', [master(), up(2), up(3)], 1, 1, ['master', 'slave', 'slave']],
    ['a slave down', [master(), up(2), DOWN], 1, 1, ['master', 'slave', 'down']],
    ['two slaves down: no majority', [master(), DOWN, DOWN], null, 1, ['recovering', 'down', 'down']],
    [
      'the master says it has no quorum',
      [master({ quorum: false }), up(2), up(3)],
      null,
      1,
      ['recovering', 'slave', 'slave'],
    ],
    ['the master down', [DOWN, up(2), up(3)], null, null, ['down', 'slave', 'slave']],
    ['all down', [DOWN, DOWN, DOWN], null, null, ['down', 'down', 'down']],
    ['its lease over', [master({ leaseRemainingMs: 0 }), up(2), up(3)], null, null, ['recovering', 'slave', 'slave']],
    ['fenced', [master(), up(2, { open: false, appliedIndex: 101 }), up(3)], null, 1, ['recovering', 'slave', 'slave']],
    [
      'a stale master, nobody serves',
      [master({ epoch: 3 }), up(2, { master: 2 }), up(3, { master: 2 })],
      null,
      null,
      ['recovering', 'slave', 'slave'],
    ],
    [
      'a stale master beside the new one',
      [master({ epoch: 3 }), up(2, { master: 2, leaseRemainingMs: 9 }, MASTER), up(3, { master: 2 })],
      2,
      2,
      ['recovering', 'master', 'slave'],
    ],
    [
      'promoting',
      [master({}, { role: 'promoting', servingWrites: false }), up(2), up(3)],
      null,
      1,
      ['recovering', 'slave', 'slave'],
    ],
    ['serving an older epoch', [master({}, { epoch: 3 }), up(2), up(3)], null, 1, ['recovering', 'slave', 'slave']],
    ['no agent yet', [up(1, {}, null), up(2), up(3)], null, null, ['recovering', 'slave', 'slave']],
    [
      'an agent that went silent',
      [master({ agentAlive: false }), up(2), up(3)],
      null,
      1,
      ['recovering', 'slave', 'slave'],
    ],
    [
      'no election yet',
      [up(1, { epoch: 0, master: 0 }), up(2, { epoch: 0, master: 0 }), DOWN],
      null,
      null,
      ['slave', 'slave', 'down'],
    ],
    [
      'demoting, stopped, failed',
      [up(1, {}, { role: 'demoting' }), up(2, {}, { role: 'stopped' }), up(3, {}, { role: 'failed' })],
      null,
      null,
      ['recovering', 'recovering', 'failed'],
    ],
  ];
  it.each(table)('%s', (_, replies, expectedMaster, holder, states) => {
    expect(summary(...replies)).toEqual({ master: expectedMaster, holder, states });
  });

  const seat = (kind: 'voter' | 'learner' | 'witness' | 'none' | 'removed'): Partial<View> => ({
    membership: { kind, election: 'neutral', standRefusal: '', standInMs: 0, handOverTo: 0 },
  });
  const member = (node: number, kind: MemberKind = 'voter', port = 0): MemberStatus => ({
    ...{ node, storeId: `s${node}`, kind, election: 'neutral', host: '127.0.0.1', rpc: 17000 + 10 * (node - 1) },
    ...{ rw: port, ro: port, dump: port, mysql: port, http: port },
  });

  it('counts the voters of the newest configuration, not learners', () => {
    const members = [member(1), member(2), member(3, 'learner')];
    const last = master({}, {});
    const withMembers = (reply: Reply, configVersion: number, list: readonly MemberStatus[]): Reply =>
      'status' in reply ? { status: { ...reply.status, configVersion, members: list } } : reply;
    // Two of three answer, but two voters are needed and the learner is none.
    expect(merge(withMembers(last, 4, members), DOWN, withMembers(up(3), 3, [member(1), member(3)])).master).toBeNull();
    expect(merge(withMembers(last, 4, members), up(2), DOWN).master).toBe(1);
  });

  it('a witness and a removed node have states of their own', () => {
    const status = merge(master(), up(2, seat('witness'), null), up(3, seat('removed'), { role: 'stopped' }));
    expect(status.nodes.map(({ state, reason }) => [state, reason])).toEqual([
      ['master', ''],
      ['witness', ''],
      ['removed', 'removed from the cluster'],
    ]);
    expect(isReady(merge(master(), up(2, seat('witness'), null), up(3)))).toBe(true);
  });

  it('takes the addresses of members from the log, and what that lacks from the configuration', () => {
    const [one] = nodes;
    const moved = { ...member(2, 'voter', 5), host: '127.0.0.9' };
    expect(nodesOf([member(1), moved, { ...member(9), host: '' }], nodes)).toEqual([
      one,
      { id: 2, host: '127.0.0.9', rpc: 17010, rw: 5, ro: 5, dump: 5, mysql: 5, http: 5 },
      { id: 9, host: '', rpc: 0, rw: 0, ro: 0, dump: 0, mysql: 0, http: 0 },
    ]);
  });

  it('says why', () => {
    expect(merge(DOWN).nodes.map((node) => node.reason)).toEqual(['no answer', 'not asked', 'not asked']);
    expect(merge(master(), DOWN, DOWN).nodes[0]?.reason).toBe('master that does not serve: no majority of nodes is up');
    const stalled = 'master of epoch 4; does not renew: the datadir has not taken a write for 2000 ms';
    expect(merge(master({ leaseRemainingMs: 0 }, { reason: stalled }), up(2), up(3)).nodes[0]?.reason).toBe(
      `master that does not serve: its lease is over; ${stalled}`,
    );
    expect(merge(master({ epoch: 3 }), up(2, { master: 2 }), DOWN).nodes[0]?.reason).toBe(
      'was master of epoch 3, has not heard of epoch 4',
    );
    expect(merge(master({}, { pinned: 'sync_binlog was 0' }), up(2), DOWN).nodes[0]?.reason).toBe('sync_binlog was 0');
    expect(merge(master(), up(2, { voting: false, votingReason: 'new store' }), DOWN).nodes[1]?.reason).toBe(
      'does not vote: new store',
    );
    expect(merge(up(1, {}, { servingReads: false, reason: 'lag 9 s' }), DOWN, DOWN).nodes[0]?.reason).toBe('lag 9 s');
  });

  it('asks no guess of an unreachable node', () => {
    expect(merge(master(), up(2), DOWN).nodes[2]).toMatchObject({
      reachable: false,
      gtidExecuted: null,
      executedIndex: null,
      chosenIndex: null,
      lagMs: null,
    });
  });
});

describe('status for people', () => {
  it('is a table with reasons', () => {
    const lines = statusText(merge(master(), up(2), DOWN)).split('\n');
    expect(lines[0]).toBe('cluster c: master 1, epoch 4, lease 2500 ms, log 100');
    expect(lines.some((line) => /^ {2}2 +slave +127\.0\.0\.1:54331 /.test(line))).toBe(true);
    expect(lines.at(-1)).toBe('node 3: no answer');
  });

  it('says for whom the log is kept, and who is not waited for', () => {
    const log = keeping({ heldBy: 'node 3 at 12', leftBehind: [2] });
    const status = merge(master(), up(2, {}, {}, log), up(3, {}, {}, keeping({})));
    expect(statusText(status).split('\n').slice(-1)).toEqual([
      'node 2: keeps old log for node 3 at 12 (5 GiB of log on disk, 4 GiB meant, at most 16 GiB for a member); ' +
        'the log no longer waits for node 2: to be cloned',
    ]);
    expect(status.nodes.map(({ log: kept }) => kept?.heldBy)).toEqual([undefined, 'node 3 at 12', '']);
  });

  it('says how soon another node could be master, and what endangers that', () => {
    const flow = { delayMs: 120.4, candidate: 2, candidateLagMs: 1800.2, predictedFailoverMs: 6700 };
    const warned = up(
      1,
      { leaseRemainingMs: 2500, leader: true },
      { role: 'master', servingWrites: true, warnings: ['d.t is slow'] },
      { flow },
    );
    const status = merge(warned, up(2), up(3));
    expect(status.flow).toEqual({ delayMs: 120, candidate: 2, candidateLagMs: 1800, predictedFailoverMs: 6700 });
    expect(status.warnings).toEqual(['node 1: d.t is slow']);
    expect(statusText(status)).toContain(
      'if the master dies: 6.7 s until node 2 takes writes (1800 ms behind); commits are delayed by up to 120 ms\nwarning: node 1: d.t is slow',
    );
    const none = { delayMs: 0, candidate: 0, candidateLagMs: -1, predictedFailoverMs: -1 };
    const alone = merge(up(1, { leaseRemainingMs: 2500 }, { role: 'master' }, { flow: none }), DOWN, DOWN);
    expect(alone.flow).toEqual({ delayMs: 0, candidate: null, candidateLagMs: null, predictedFailoverMs: null });
    expect(statusText(alone)).toContain('no other node could become master now');
    expect(merge(DOWN, up(2), up(3))).toMatchObject({ flow: null, warnings: [] });
  });

  it('changes its one line only when something happened', () => {
    const line = (ms: number) =>
      statusLine(merge(up(1, {}, { role: 'recovering', reason: `waits ${ms} ms for peers` }), DOWN, DOWN));
    expect(line(5)).toBe(line(123));
    expect(line(5)).toContain('1 recovering (waits');
  });

  it('knows when the cluster is ready', () => {
    expect(isReady(merge(master(), up(2), up(3)))).toBe(true);
    expect(isReady(merge(master(), up(2), DOWN))).toBe(false);
    expect(isReady(merge(up(1), up(2), up(3)))).toBe(false);
  });
});
