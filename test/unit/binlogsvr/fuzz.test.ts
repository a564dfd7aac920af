import { expect, it } from 'vitest';
import { type Ballot, epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { answerQuery } from '../../../binlogsvr/dump-queries.ts';
import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import {
  decodeCheckpoint,
  decodeEntry,
  decodeIdentity,
  decodeJournal,
  decodeSegment,
  encodeCheckpoint,
  encodeEntry,
  encodeIdentity,
  encodeJournal,
  encodeLogKey,
  encodeSegment,
  RECORD_CLASS,
  SEGMENT_INSTANCES,
} from '../../../binlogsvr/store-records.ts';
import { decodeValue, encodeValue } from '../../../binlogsvr/value-codec.ts';
import { peekLeaseKey } from '../../../binlogsvr/value-peek.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';
import { parseNodeConfig } from '../../../cli/config.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { fuzz, MUTATIONS, SEED } from '../../fuzz/run.ts';
import type { FuzzTarget } from '../../fuzz/target.ts';
import { decodeMessages, encodeMessage, MESSAGES } from './peer-messages.ts';

const GTID = '3e11fa47-71ca-11e1-9e33-c80aa9429562:7';
const event = Buffer.alloc(40, 1);
event.writeUInt32LE(40, 9);
const values: readonly LogValue[] = [
  { kind: 'noop' },
  { kind: 'baseline', node: nodeId(1), gtidSet: GTID, members: [{ node: nodeId(1), storeId: 's' }] },
  {
    kind: 'append',
    epoch: epochOf(1),
    follows: 0,
    items: [
      { kind: 'file', name: 'binlog.000001', formatDescription: event },
      { kind: 'part', gtid: GTID, first: true, last: true, crc: 1, events: event },
    ],
  },
  { kind: 'elect', node: nodeId(1), basedOnEpoch: epochOf(0), executedUpTo: instanceId(1) },
  { kind: 'renew', epoch: epochOf(1), renewal: 1 },
  { kind: 'fence', epoch: epochOf(1), basedOnRenewal: 1, by: nodeId(2), release: false },
  { kind: 'transfer', epoch: epochOf(1), to: nodeId(2), executedUpTo: instanceId(9) },
  { kind: 'replaceStore', node: nodeId(1), oldStoreId: 'a', newStoreId: 'b', configVersion: 1 },
  {
    kind: 'replaceMember',
    node: nodeId(1),
    member: { node: nodeId(4), storeId: 's', kind: 'witness', address: { host: 'h', rpc: 17000 } },
    configVersion: 1,
  },
  { kind: 'removeMember', node: nodeId(2), configVersion: 1 },
  { kind: 'setElection', node: nodeId(2), election: 'never', configVersion: 1 },
];
const encoded = values.map((value) => encodeValue(value));
const key = encodeLogKey(7, RECORD_CLASS.entry, 9);
const slots = Array.from({ length: SEGMENT_INSTANCES }, (_, i) => ({ seq: i + 1, crc: 2, length: 3 }));
const checkpointKey = encodeLogKey(7, RECORD_CLASS.checkpoint, 9);
const checkpoint = {
  sealed: instanceId(64),
  seq: 9,
  promised: 513 as Ballot,
  open: [8],
  meta: { a: 'b' },
  applied: null,
  base: null,
};
const state = initialState();
const config = `cluster = "c"
node = 1
data_dir = "d"
secret_file = "s"
[[nodes]]
id = 1
host = "127.0.0.1"
rw = 54321
[lease]
lease_ms = 3000
[mysqld]
max_connections = 100
`;

/** A decoder of records answers null for damage: the store then calls it amnesia or fetches the value again. */
const refusedIfNull = (found: unknown): void => {
  if (found === null) throw new PhxError('STORE_CORRUPT', 'refused');
};

/** What protobufjs throws: the stream it came on ends. */
function decodeFrame(bytes: Uint8Array): void {
  try {
    decodeMessages(bytes);
  } catch (error) {
    throw error instanceof PhxError ? error : new PhxError('PEER_REFUSED', 'read frame', { cause: error });
  }
}

const targets: readonly FuzzTarget[] = [
  {
    name: 'log value, applied',
    samples: encoded,
    run: (bytes) => void apply(state, instanceId(1), decodeValue(bytes)),
  },
  { name: 'lease key of a log value', samples: encoded, run: (bytes) => refusedIfNull(peekLeaseKey(bytes)) },
  {
    name: 'entry record',
    samples: [encodeEntry(key, 513 as Ballot, encoded[2] as Uint8Array)],
    run: (bytes) => refusedIfNull(decodeEntry(key, bytes)),
  },
  {
    name: 'journal record',
    samples: [encodeJournal(key, { kind: 'promised', ballot: 513 as Ballot })],
    run: (bytes) => refusedIfNull(decodeJournal(key, bytes)),
  },
  {
    name: 'segment record',
    samples: [encodeSegment(key, slots)],
    run: (bytes) => refusedIfNull(decodeSegment(key, bytes)),
  },
  {
    name: 'checkpoint record',
    samples: [encodeCheckpoint(checkpointKey, checkpoint)],
    run: (bytes) => refusedIfNull(decodeCheckpoint(checkpointKey, bytes)),
  },
  {
    name: 'identity record',
    samples: [encodeIdentity({ cluster: 'c', node: nodeId(1), storeId: 's', createdWallMs: 1 })],
    run: (bytes) => refusedIfNull(decodeIdentity(bytes)),
  },
  {
    name: 'saved state',
    samples: [Buffer.from(stateToJson(state))],
    run: (bytes) => void stateFromJson(Buffer.from(bytes).toString()),
  },
  {
    name: 'events of a chunk',
    samples: [Buffer.concat([event, event])],
    run: (bytes) => void new EventSplitter().push(bytes),
  },
  { name: 'frame of a peer', samples: MESSAGES.map(encodeMessage), run: decodeFrame },
  {
    name: 'query at the dump server',
    samples: [
      'SET @a = 1, @b := @@global.binlog_checksum',
      "SHOW VARIABLES LIKE 'x'",
      'SELECT @@version AS v, @a LIMIT 1',
    ].map((sql) => Buffer.from(sql)),
    run: (bytes) => {
      const facts = { serverId: 1, serverUuid: 'u', serverVersion: '9', file: 'f', position: 4, nowWallMs: 1 };
      const answer = answerQuery(Buffer.from(bytes).toString(), new Map(), { ...facts, gtidSet: GtidSet.EMPTY });
      refusedIfNull(answer.kind === 'error' ? null : answer);
    },
  },
  {
    name: 'node configuration',
    samples: [Buffer.from(config)],
    run: (bytes) => {
      const files = { secret: () => 'x'.repeat(64), readFile: () => '' };
      void parseNodeConfig(Buffer.from(bytes).toString(), '/etc/phxsql/node.toml', files);
    },
  },
];

it.each(targets)(`$name takes damaged input (seed ${SEED})`, { timeout: 3_600_000 }, (target) => {
  const tally = fuzz(target, SEED, MUTATIONS);
  expect(tally.refused, 'nothing was refused: the mutations do not reach it').toBeGreaterThan(0);
});
