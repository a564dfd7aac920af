import type { MysqldFacts } from '../../../agent/decide.ts';
import type { Probe } from '../../../agent/mysqld-admin.ts';
import type { View } from '../../../proto/binlogsvr-types.ts';
import { asMaster, closed, observe, probe, type Running, running, SET, seat, table, view } from './decide-cases.ts';

const X = { xid: "X'78',X'',1", gtid: `${SET.slice(0, -4)}:9` };
const withXa = (change: Partial<View> = {}): View =>
  view({ xa: { prepared: [X], last: X.gtid, complete: true }, ...change });
const has = (change: Partial<Probe> = {}): MysqldFacts => running({ probe: probe({ prepared: [X.xid], ...change }) });
const due = { open: false, xa: { prepared: [X], last: X.gtid, complete: true } };

table('XA transactions are prepared', [
  ['another is master', observe({ view: withXa(), mysqld: has() }), 'wait', /follows node 2/],
  [
    'and more than the log follows',
    observe({ view: view({ xa: { prepared: [X], last: X.gtid, complete: false } }), mysqld: has() }),
    'wait',
    /follows node 2.*compared in part only/,
  ],
  [
    'no master',
    observe({ view: view(due), mysqld: has() }),
    'recover',
    /X'78'.*restarts it once with log_replica_updates=ON/,
  ],
  ['no master, in MySQL only', observe({ view: closed(), mysqld: has() }), 'recover', /before it stands/],
  ['no master, in the log only', observe({ view: view(due), mysqld: running() }), 'recover', null],
  ['no master, behind', observe({ view: view(due), mysqld: running({ relation: 'behind' }) }), 'wait', /executes what/],
  [
    'no master, nobody to be elected by',
    observe({ view: view({ ...due, quorum: false }), mysqld: has() }),
    'wait',
    null,
  ],
  ['restarted for it', observe({ view: view(due), mysqld: has({ logsReplicated: true }) }), 'stand', null],
  [
    'it is not its turn',
    observe({ view: view(due), mysqld: has(), turn: 1, wantedMs: 4900 }),
    'wait',
    /0.1 s to others/,
  ],
  ['its turn came', observe({ view: view(due), mysqld: has(), turn: 1, wantedMs: 5000 }), 'recover', null],
  ['none is', observe({ view: closed(), mysqld: running(), turn: 1 }), 'stand', null],
  [
    'asked to take over',
    observe({ view: withXa(seat({ takesOver: 5 })), mysqld: has() }),
    'recover',
    /before it takes over/,
  ],
  [
    'asked, and not the first who is',
    observe({ view: withXa(seat({ takesOver: 5 })), mysqld: has(), turn: 1, wantedMs: 1000 }),
    'wait',
    /1.0 s to others/,
  ],
  [
    'asked, and may not be elected',
    observe({ view: withXa(seat({ takesOver: 5, standRefusal: 'no' })), mysqld: has() }),
    'wait',
    null,
  ],
  [
    'asked, and restarted for it',
    observe({ view: withXa(seat({ takesOver: 5 })), mysqld: has({ logsReplicated: true }) }),
    'wait',
    null,
  ],
  [
    'restarted for it, and another is master',
    observe({ view: withXa(), mysqld: has({ logsReplicated: true }) }),
    'recover',
    /need not log any more/,
  ],
  [
    'restarted for it, the lease of another is over',
    observe({ view: withXa({ takeoverDue: true }), mysqld: has({ logsReplicated: true }) }),
    'fence',
    null,
  ],
  [
    'readers stay away from one that logs what it replicates',
    observe({ view: view({ ...due, quorum: false }), mysqld: has({ logsReplicated: true, offlineMode: true }) }),
    'wait',
    null,
  ],
]);

const differs = (sure: boolean, change: Partial<Running> = {}): MysqldFacts =>
  running({ xa: { difference: { kind: 'gone', words: 'the log holds XA transaction X' }, sure }, ...change });
const more = (sure: boolean): Partial<Running> => ({
  xa: { difference: { kind: 'more', words: 'mysqld holds XA transaction X' }, sure },
});

table('XA transactions prepared here are not those of the log', [
  ['at first', observe({ mysqld: differs(false) }), 'wait', /follows/],
  ['for a while', observe({ mysqld: differs(true) }), 'fail', /the log holds XA transaction/],
  ['it does not stand', observe({ view: closed(), mysqld: differs(false) }), 'wait', /no master; the log holds XA/],
  ['one the log never had, at first', observe({ mysqld: running(more(false)) }), 'wait', /follows/],
  [
    'one the log never had: rolled back by a restart',
    observe({ mysqld: running(more(true)) }),
    'recover',
    /mysqld holds/,
  ],
  ['not even by that', observe({ role: 'recovering', mysqld: running(more(true)) }), 'fail', /mysqld holds/],
  ['freshly started', observe({ role: 'recovering', mysqld: differs(false) }), 'wait', /looks once more/],
  ['freshly started, for a while', observe({ role: 'recovering', mysqld: differs(true) }), 'fail', null],
  [
    'on the master, whose own it may be',
    asMaster({ mysqld: differs(true, { probe: probe({ superReadOnly: false }), channel: null, openedFor: 5 }) }),
    'wait',
    null,
  ],
]);
