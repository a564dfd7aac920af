import type { MysqldFacts, Observation } from '../../../agent/decide.ts';
import { asMaster, channel, closed, observe, running, table, writable } from './decide-cases.ts';

table('a master that something is brought in to', [
  [
    'a second replication channel',
    asMaster({ mysqld: writable({ channel: channel({ receiver: 'OFF', applier: false, foreign: 'other' }) }) }),
    'recover',
    /channel 'other'/,
  ],
  ['it replicates', asMaster({ mysqld: writable({ channel: channel() }) }), 'recover', /replicates from somewhere/],
  [
    'what is left of its channel as a replica',
    asMaster({ mysqld: writable({ channel: channel({ receiver: 'OFF', applier: false }) }) }),
    'wait',
    null,
  ],
]);

const lagging = (change: Partial<Extract<MysqldFacts, { state: 'running' }>>): Observation =>
  observe({ view: closed(), mysqld: running({ relation: 'behind', ...change }) });
const locked = (change: { stalledMs: number }): Observation =>
  lagging({ channel: channel({ blocked: 'Waiting for table metadata lock' }), ...change });
table('no master, and this replica lacks something of the log', [
  ['it executes a large transaction', lagging({ stalledMs: 9_900 }), 'wait', /executes what the log holds/],
  ['it waits for a lock, not for long', locked({ stalledMs: 1_900 }), 'wait', /executes what the log holds/],
  ['it waits for a lock', locked({ stalledMs: 2_100 }), 'closeReaders', /2.1 s \(Waiting for table metadata lock\)/],
  ['nothing moves, and no lock shows', lagging({ stalledMs: 10_100 }), 'closeReaders', /nothing executed for 10.1 s$/],
  [
    'nothing moves, but there is a master',
    observe({ mysqld: running({ relation: 'behind', stalledMs: 60_000 }) }),
    'wait',
    /follows node 2/,
  ],
]);

table('a master whose renewals are not accepted', [
  [
    'says so, and waits for what the log says',
    asMaster({ unanswered: { reason: 'renew: not within 3000 ms', sinceMs: 4_200 } }),
    'wait',
    /no renewal accepted for 4\.2 s: renew: not within/,
  ],
]);

table('recovering', [
  [
    'mysqld was killed and does not end',
    observe({ role: 'recovering', mysqld: running({ condemned: true }) }),
    'recover',
    /killed/,
  ],
]);
