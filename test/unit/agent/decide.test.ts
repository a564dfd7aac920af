import { describe, expect, test } from 'vitest';
import { BASELINE_STAGGER_MS, type Observation } from '../../../agent/decide.ts';
import { relate } from '../../../agent/mysqld-watch.ts';
import { mayMove, move } from '../../../agent/roles.ts';
import { InvariantError } from '../../../base/invariant.ts';
import type { AgentRole } from '../../../proto/binlogsvr-types.ts';
import {
  asMaster,
  attached,
  channel,
  closed,
  ME,
  mine,
  none,
  observe,
  probe,
  running,
  SET,
  seat,
  table,
  view,
  writable,
} from './decide-cases.ts';

const ROLES: readonly AgentRole[] = ['stopped', 'recovering', 'replica', 'promoting', 'master', 'demoting', 'failed'];

table('removed from the cluster', [
  ['replica', observe({ view: view(seat({ kind: 'removed' })) }), 'retire', /removed from the cluster/],
  ['failed', observe({ role: 'failed', failure: 'x', view: view(seat({ kind: 'removed' })) }), 'retire', null],
  [
    'an adopted mysqld',
    observe({ role: 'stopped', view: view(seat({ kind: 'removed' })) }),
    'retire',
    /removed from the cluster/,
  ],
  [
    'mysqld ended',
    observe({ role: 'stopped', mysqld: none, view: view(seat({ kind: 'removed' })) }),
    'wait',
    /^removed from the cluster$/,
  ],
  ['a master leaves its role first', asMaster({ view: closed(seat({ kind: 'removed' })) }), 'demote', null],
]);

table('replica', [
  ['mysqld ended', observe({ mysqld: none }), 'recover', /ended/],
  ['mysqld is being killed', observe({ mysqld: running({ condemned: true }) }), 'recover', null],
  ['mysqld silent for a moment', observe({ mysqld: running({ silentMs: 3_000 }) }), 'wait', /follows node 2/],
  ['mysqld silent for long', observe({ mysqld: running({ silentMs: 11_000 }) }), 'recover', /11.0 s/],
  ['binlogsvr away', observe({ view: null }), 'wait', /binlogsvr does not answer/],
  ['another master', observe(), 'wait', /follows node 2, master of epoch 5/],
  ['its lease is over', observe({ view: view({ takeoverDue: true }) }), 'fence', /lease of node 2 is over/],
  [
    'over, but this store does not vote',
    observe({ view: view({ takeoverDue: true, voting: false, votingReason: 'new store' }) }),
    'wait',
    /new store/,
  ],
  ['over, but no majority', observe({ view: view({ takeoverDue: true, quorum: false }) }), 'wait', /majority/],
  [
    'over, but mysqld is silent',
    observe({ view: view({ takeoverDue: true }), mysqld: running({ silentMs: 2_000 }) }),
    'wait',
    /2.0 s/,
  ],
  ['no master, all executed', observe({ view: closed() }), 'stand', null],
  [
    'no master, behind (16: catch up, then stand)',
    observe({ view: closed(), mysqld: running({ relation: 'behind' }) }),
    'wait',
    /executes/,
  ],
  ['no master, alone', observe({ view: closed({ quorum: false }) }), 'wait', /majority/],
  ['no master, does not vote', observe({ view: closed({ voting: false, votingReason: '' }) }), 'wait', /does not vote/],
  ['no master, suspended a moment ago', observe({ view: closed(), suspended: true }), 'wait', /suspended/],
  [
    'no master, commits wait here (14)',
    observe({ view: closed(), mysqld: running({ waitingMs: 1 }) }),
    'recover',
    /waits for an ack nobody sends/,
  ],
  ['commits wait here (14)', observe({ mysqld: running({ waitingMs: 250 }) }), 'recover', null],
  [
    'commits wait here, binlogsvr away: readers stay',
    observe({ view: null, mysqld: running({ waitingMs: 250 }) }),
    'wait',
    null,
  ],
  ['no master, and may stand', observe({ view: closed(seat({})) }), 'stand', null],
  [
    'no master, never elected by its rule',
    observe({ view: closed(seat({ standRefusal: 'by its election rule this node is never master' })) }),
    'wait',
    /election rule/,
  ],
  [
    'no master, and another is preferred',
    observe({ view: closed(seat({ standInMs: 700 })) }),
    'wait',
    /preferred node for 0.7 s/,
  ],
  [
    'its lease is over, and another is preferred',
    observe({ view: view({ takeoverDue: true, ...seat({ standInMs: 700 }) }) }),
    'wait',
    /preferred/,
  ],
  ['elected', observe({ view: mine({ epoch: 6 }), stoodUpon: 5 }), 'promote', null],
  [
    'elected, but by a stand of another mysqld (29)',
    observe({ view: mine({ epoch: 6 }), stoodUpon: -1 }),
    'release',
    /did not stand/,
  ],
  ['elected upon an older stand (29)', observe({ view: mine({ epoch: 7 }), stoodUpon: 5 }), 'release', null],
  ['elected and suspended', observe({ view: mine({ epoch: 6 }), stoodUpon: 5, suspended: true }), 'release', null],
  ['own epoch of before a restart (7d: mysqld is read-only)', observe({ view: mine() }), 'release', null],
  ['own epoch, closed by now', observe({ view: closed({ master: ME }) }), 'stand', null],
  [
    'somebody switched super_read_only off',
    observe({ mysqld: running({ probe: probe({ superReadOnly: false }) }) }),
    'recover',
    /super_read_only/,
  ],
  [
    'pinned setting changed',
    observe({ mysqld: running({ probe: probe({ pinned: 'sync_binlog is 0, must be 1' }) }) }),
    'recover',
    /sync_binlog/,
  ],
  [
    'looks ahead of an older view',
    observe({ mysqld: running({ relation: 'extra', extra: 'x:1', judged: false }) }),
    'wait',
    null,
  ],
  ['has what the store has not', observe({ mysqld: running({ relation: 'extra', extra: 'x:1' }) }), 'settle', /x:1/],
  [
    'applier stopped',
    observe({ mysqld: running({ channel: channel({ applier: false, error: 'applier error 1397: XAER_NOTA' }) }) }),
    'settle',
    /1397/,
  ],
  [
    'applier stopped, tried a moment ago',
    observe({ attachedMs: 100, mysqld: running({ channel: channel({ applier: false }) }) }),
    'wait',
    null,
  ],
  [
    'what it lacks was purged',
    observe({ view: view({ needsClone: 'lacks 1-4' }), mysqld: running({ channel: channel({ receiver: 'OFF' }) }) }),
    'wait',
    /lacks 1-4; it has to be cloned/,
  ],
  [
    'offline, and no bound of a lease of its own is left',
    observe({ mysqld: running({ probe: probe({ offlineMode: true }) }) }),
    'openForReads',
    null,
  ],
  [
    'offline, and a proxy may still take it for the master',
    observe({ trustedMs: 1, mysqld: running({ probe: probe({ offlineMode: true }) }) }),
    'wait',
    null,
  ],
  ['receiver connects', observe({ mysqld: running({ channel: channel({ receiver: 'CONNECTING' }) }) }), 'wait', null],
]);

table('empty log', [
  [
    'first in the list',
    observe({ view: closed({ baseline: false, master: 0 }), mysqld: running({ probe: probe({ gtidExecuted: '' }) }) }),
    'baseline',
    null,
  ],
  [
    'store is not founding',
    observe({ view: closed({ baseline: false, voting: false, votingReason: 'node 3 not met' }) }),
    'wait',
    /node 3/,
  ],
  [
    'third in the list',
    observe({
      index: 2,
      emptyLogMs: 2 * BASELINE_STAGGER_MS - 1,
      view: closed({ baseline: false }),
      mysqld: running({ probe: probe({ gtidExecuted: '' }) }),
    }),
    'wait',
    /earlier/,
  ],
  [
    'third in the list, after its turn',
    observe({
      index: 2,
      emptyLogMs: 2 * BASELINE_STAGGER_MS,
      view: closed({ baseline: false }),
      mysqld: running({ probe: probe({ gtidExecuted: '' }) }),
    }),
    'baseline',
    null,
  ],
  [
    'an adopted server with what it was adopted with (11)',
    observe({ foundingSet: SET, view: closed({ baseline: false }), mysqld: running({ relation: 'equal' }) }),
    'baseline',
    null,
  ],
  [
    'an adopted server that has executed something else (11)',
    observe({ foundingSet: `${SET}0`, view: closed({ baseline: false }), mysqld: running({ relation: 'behind' }) }),
    'wait',
    /has executed .*:1-9, not the .*:1-90 it was adopted with/,
  ],
  [
    'mysqld holds data (11)',
    observe({ view: closed({ baseline: false }), mysqld: running({ relation: 'extra', judged: false }) }),
    'wait',
    /only an empty one/,
  ],
]);

table('master', [
  ['all well', asMaster(), 'wait', /master of epoch 5$/],
  ['to hand over', asMaster({ view: mine(seat({ handOverTo: 3, handOverId: 7 })) }), 'handOver', null],
  [
    'to hand over, which was undone',
    asMaster({ view: mine(seat({ handOverTo: 3, handOverId: 7 })), handOverDone: 7 }),
    'wait',
    /master of epoch 5$/,
  ],
  ['mysqld ended (17: released in recover)', asMaster({ mysqld: none }), 'recover', /ended/],
  ['fenced', asMaster({ view: closed({ master: ME }) }), 'demote', /closed/],
  ['another won', asMaster({ view: view({ epoch: 6 }) }), 'demote', /epoch 6 of node 2/],
  ['an own later epoch it was not promoted in', asMaster({ view: mine({ epoch: 6 }) }), 'demote', null],
  ['binlogsvr away', asMaster({ view: null }), 'wait', /does not answer/],
  ['no majority: nobody could do better', asMaster({ view: mine({ quorum: false }) }), 'wait', null],
  ['mysqld silent, lease runs', asMaster({ mysqld: writable({ silentMs: 2_000 }) }), 'wait', null],
  ['mysqld silent beyond the lease', asMaster({ mysqld: writable({ silentMs: 3_100 }) }), 'recover', /3.1 s/],
  [
    'disk stalls',
    asMaster({ unhealthy: { reason: 'the datadir has not taken a write', sinceMs: 500 } }),
    'wait',
    /does not renew: the datadir/,
  ],
  [
    'disk stalls beyond the lease',
    asMaster({ unhealthy: { reason: 'the datadir has not taken a write', sinceMs: 3_500 } }),
    'recover',
    /datadir/,
  ],
  [
    'pinned setting changed',
    asMaster({ mysqld: writable({ probe: probe({ superReadOnly: false, pinned: 'sync_binlog is 0' }) }) }),
    'recover',
    /sync_binlog/,
  ],
  ['divergence', asMaster({ mysqld: writable({ relation: 'extra', extra: 'x:1' }) }), 'recover', /x:1/],
  ['commits wait a little', asMaster({ mysqld: writable({ waitingMs: 900 }) }), 'wait', null],
  [
    'ACL lock: no logins, commits wait, sync away (13)',
    asMaster({
      view: mine({ sync: { ...attached, state: 'connecting' } }),
      mysqld: writable({ waitingMs: 1_500, loginBlockedMs: 1_200 }),
    }),
    'recover',
    /log in/,
  ],
  [
    'no logins, but sync is attached',
    asMaster({ mysqld: writable({ waitingMs: 1_500, loginBlockedMs: 1_200 }) }),
    'wait',
    null,
  ],
  [
    'no logins, sync attached for another epoch',
    asMaster({
      view: mine({ sync: { ...attached, epoch: 4 } }),
      mysqld: writable({ waitingMs: 1_500, loginBlockedMs: 1_200 }),
    }),
    'recover',
    null,
  ],
  ['suspended', asMaster({ suspended: true }), 'demote', /suspended/],
  [
    'made read-only by another hand',
    asMaster({ mysqld: writable({ probe: probe({ superReadOnly: true }) }) }),
    'demote',
    /super_read_only/,
  ],
]);

const started = (change: Partial<Observation>): Observation => observe({ role: 'stopped', ...change });
table('agent just started', [
  ['nothing runs', started({ mysqld: none }), 'recover', null],
  ['a mysqld that is not ours', started({ mysqld: running({ condemned: true }) }), 'recover', null],
  ['has not answered yet', started({ mysqld: running({ probe: null }) }), 'wait', null],
  ['does not answer', started({ mysqld: running({ probe: null, silentMs: 10_001 }) }), 'recover', null],
  [
    'lets nobody in, and its epoch is over',
    started({ view: closed({ master: ME }), mysqld: running({ probe: null, openedFor: 5 }) }),
    'recover',
    /opened for epoch 5/,
  ],
  [
    'lets nobody in, its epoch is open',
    started({ view: mine(), mysqld: running({ probe: null, openedFor: 5 }) }),
    'wait',
    null,
  ],
  [
    'lets nobody in, the store is behind',
    started({ view: closed({ epoch: 3 }), mysqld: running({ probe: null, openedFor: 5 }) }),
    'wait',
    null,
  ],
  ['a replica: compared before it serves', started({}), 'settle', null],
  ['a replica with commits waiting', started({ mysqld: running({ waitingMs: 5 }) }), 'recover', null],
  ['the open master of this very epoch', started({ view: mine(), mysqld: writable() }), 'resume', null],
  [
    'opened in an earlier epoch',
    started({ view: mine({ epoch: 6 }), mysqld: writable() }),
    'recover',
    /opened|open for writes of epoch 5/,
  ],
  ['open, and fenced', started({ view: closed({ master: ME }), mysqld: writable() }), 'recover', null],
  ['open, another is master', started({ mysqld: writable() }), 'recover', null],
  ['open without a mark', started({ view: mine(), mysqld: writable({ openedFor: 0 }) }), 'recover', null],
  ['open, binlogsvr away', started({ view: null, mysqld: writable() }), 'wait', /binlogsvr/],
  ['open, suspended', started({ view: mine(), mysqld: writable(), suspended: true }), 'recover', null],
  [
    'open, pinned changed',
    started({ view: mine(), mysqld: writable({ probe: probe({ superReadOnly: false, pinned: 'x' }) }) }),
    'recover',
    null,
  ],
]);

table('recovering, broken off, failed', [
  ['mysqld does not run', observe({ role: 'recovering', mysqld: none }), 'recover', null],
  [
    'the one that runs could not be killed yet',
    observe({ role: 'recovering', mysqld: running({ condemned: true }) }),
    'recover',
    null,
  ],
  ['the new one runs', observe({ role: 'recovering' }), 'settle', null],
  ['the new one is silent', observe({ role: 'recovering', mysqld: running({ probe: null }) }), 'wait', null],
  ['open after a promotion that was given up', observe({ role: 'recovering', mysqld: writable() }), 'recover', null],
  ['promotion broken off', observe({ role: 'promoting', view: mine(), masterEpoch: 5 }), 'recover', null],
  ['demotion broken off', observe({ role: 'demoting' }), 'recover', null],
  ['failed', observe({ role: 'failed', failure: 'diverged: x:1' }), 'wait', /x:1/],
  [
    'failed, own epoch open, mysqld dead',
    observe({ role: 'failed', failure: 'diverged', view: mine(), mysqld: none }),
    'release',
    null,
  ],
  [
    'failed, own epoch open, mysqld open (7d)',
    observe({ role: 'failed', failure: 'diverged', view: mine(), mysqld: writable() }),
    'wait',
    null,
  ],
]);

describe('role table', () => {
  test('the legal moves, all of them', () => {
    const legal = ROLES.flatMap((from) => ROLES.filter((to) => mayMove(from, to)).map((to) => `${from}>${to}`));
    expect(legal).toHaveLength(25);
    for (const to of ['replica', 'promoting', 'demoting'] as const) expect(mayMove('stopped', to)).toBe(false);
    expect(ROLES.filter((from) => mayMove(from, 'master'))).toEqual(['stopped', 'promoting', 'demoting']);
    expect(ROLES.filter((from) => from !== 'failed' && !mayMove(from, 'failed'))).toEqual([]);
  });
  test('any other is a bug', () => {
    expect(() => move('replica', 'master')).toThrow(InvariantError);
    expect(move('replica', 'replica')).toBe('replica');
  });
});

test('relations of GTID sets', () => {
  expect(relate(SET, SET)).toEqual({ relation: 'equal', extra: '' });
  expect(relate('', SET).relation).toBe('behind');
  expect(relate(SET.replace('1-9', '1-10'), SET)).toEqual({ relation: 'extra', extra: SET.replace('1-9', '10') });
});
