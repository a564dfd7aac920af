import { describe, expect, test } from 'vitest';
import { type Action, decide, type MysqldFacts, type Observation } from '../../../agent/decide.ts';
import type { Channel, Probe } from '../../../agent/mysqld-admin.ts';
import { monoMs } from '../../../base/brands.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import type { MembershipView, SyncStatus, View } from '../../../proto/binlogsvr-types.ts';

/** A healthy node of a healthy cluster, seen in parts; cases change what they are about. */
export const SET = '11111111-1111-1111-1111-111111111111:1-9';
export const ME = 1;

export const attached: SyncStatus = {
  state: 'attached',
  epoch: 5,
  reason: '',
  ackedTransactions: 0,
  appends: 0,
  pid: 1,
  spareReady: true,
  repeatedAcks: 0,
};

export const view = (change: Partial<View> = {}): View => ({
  node: ME,
  epoch: 5,
  master: 2,
  open: true,
  renewal: 7,
  appliedIndex: 100,
  chosenIndex: 100,
  appendSeq: 50,
  gtidSet: SET,
  baseline: true,
  voting: true,
  votingReason: '',
  takeoverDue: false,
  takeoverInMs: 1000,
  leaseRemainingMs: 0,
  leader: false,
  agent: null,
  agentAlive: true,
  sync: attached,
  quorum: true,
  lagMs: 0,
  needsClone: '',
  ...change,
});

export const probe = (change: Partial<Probe> = {}): Probe => ({
  askedAt: monoMs(0),
  answeredAt: monoMs(1),
  gtidExecuted: SET,
  superReadOnly: true,
  offlineMode: false,
  semiSync: { on: true, clients: 0, waiting: 0, acked: 0 },
  pinned: '',
  ...change,
});

export const channel = (change: Partial<Channel> = {}): Channel => ({
  receiver: 'ON',
  applier: true,
  error: '',
  ...change,
});

export type Running = Extract<MysqldFacts, { state: 'running' }>;
export const running = (change: Partial<Running> = {}): MysqldFacts => ({
  state: 'running',
  pid: 42,
  condemned: false,
  probe: probe(),
  channel: channel(),
  silentMs: 10,
  relation: 'equal',
  extra: '',
  judged: true,
  waitingMs: 0,
  loginBlockedMs: 0,
  openedFor: 0,
  ...change,
});

export const observe = (change: Partial<Observation> = {}): Observation => ({
  self: ME,
  role: 'replica',
  view: view(),
  mysqld: running(),
  stoodUpon: -1,
  masterEpoch: 0,
  handOverDone: 0,
  unhealthy: null,
  suspended: false,
  failure: '',
  trustedMs: 0,
  attachedMs: 60_000,
  emptyLogMs: 0,
  foundingSet: '',
  index: 0,
  lease: DEFAULT_LEASE,
  ...change,
});

export const none: MysqldFacts = { state: 'none' };
export const mine = (change: Partial<View> = {}): View => view({ master: ME, ...change });
export const closed = (change: Partial<View> = {}): View => view({ open: false, ...change });
export const asMaster = (change: Partial<Observation> = {}): Observation =>
  observe({
    role: 'master',
    masterEpoch: 5,
    view: mine(),
    mysqld: writable(),
    ...change,
  });
export const writable = (change: Partial<Running> = {}): MysqldFacts =>
  running({ probe: probe({ superReadOnly: false }), channel: null, openedFor: 5, ...change });

export const seat = (change: Partial<MembershipView>): Partial<View> => ({
  membership: { kind: 'voter', election: 'neutral', standRefusal: '', standInMs: 0, handOverTo: 0, ...change },
});

export type Row = readonly [situation: string, observation: Observation, does: Action['do'], reason: RegExp | null];

export const table = (name: string, rows: readonly Row[]): void => {
  describe(name, () => {
    test.each(rows)('%s', (_situation, observation, does, reason) => {
      const action = decide(observation);
      expect(action.do).toBe(does);
      if (reason !== null) expect('reason' in action ? action.reason : '').toMatch(reason);
      if (action.do === 'wait') expect(action.reason.length, 'a wait says why').toBeGreaterThan(5);
    });
  });
};
