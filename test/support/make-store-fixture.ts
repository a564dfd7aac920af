/**
 * Made test/fixtures/store-format-N, each with the program that first wrote that version:
 *
 *   node test/support/make-store-fixture.ts test/fixtures/store-format-1
 *   node test/support/make-store-fixture.ts test/fixtures/store-format-2 128     and purged up to instance 128
 *
 * A fixture is never made again: it stands for the directories that are out there. A new format version gets a
 * fixture of its own beside it.
 *
 * The store of node 2 of cluster `fixture`: every kind of value, accepted and refused, whole and chunked transactions, a
 * value overwritten at a higher ballot, one fetched again from a peer, promises, facts, samples, a saved state, and accepted
 * values above it that nobody called chosen yet.
 */
import { createHash } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { epochOf, instanceId, makeBallot, nodeId } from '../../base/brands.ts';
import { silentLogger } from '../../base/ports.ts';
import { Prng } from '../../base/prng.ts';
import { FOUNDING_META, foundingToJson } from '../../binlogsvr/founding.ts';
import { LevelDbLogStore } from '../../binlogsvr/log-store.ts';
import { type AcceptorRecord, CHOSEN_BALLOT } from '../../binlogsvr/paxos/types.ts';
import { apply, initialState, stateToJson } from '../../binlogsvr/state-machine.ts';
import { encodeValue } from '../../binlogsvr/value-codec.ts';
import type { AppendItem, LogValue, Member } from '../../binlogsvr/values.ts';

const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const B1 = makeBallot(3, nodeId(1));
const B2 = makeBallot(4, nodeId(2));
const SAMPLE_EVERY = 64;

const dir = process.argv[2] as string;
const purgeAt = Number(process.argv[3] ?? 0);
const prng = new Prng(1);
const members: readonly Member[] = [1, 2, 3].map((n) => ({ node: nodeId(n), storeId: `store-${n}` }));
const options = { dir, cluster: 'fixture', node: nodeId(2), log: silentLogger, clockWall: () => 1_700_000_000_000 };

let state = initialState();
let gno = 0;
let purgeState = '';
const refused: [number, string][] = [];
const digest = createHash('sha256');
let records: AcceptorRecord[] = [];
const samples: { instance: ReturnType<typeof instanceId>; json: string }[] = [];

/** The next value of the log, as this node accepted it at `ballot`. */
function add(value: LogValue, ballot = B1): void {
  const instance = instanceId(state.appliedIndex + 1);
  const bytes = encodeValue(value);
  records.push({ kind: 'accepted', entry: { instance, ballot, value: bytes } });
  const next = apply(state, instance, value);
  state = next.state;
  if (instance > purgeAt && next.applied.code !== null) refused.push([instance, next.applied.code]);
  if (instance > purgeAt) digest.update(bytes);
  if (instance === purgeAt) purgeState = stateToJson(state);
  if (instance % SAMPLE_EVERY === 0 && state.chunk === null) {
    samples.push({ instance: instanceId(instance + 1), json: stateToJson(state) });
  }
}

const append = (items: readonly AppendItem[], ballot = B1): void =>
  add({ kind: 'append', epoch: state.epoch, follows: state.appendSeq, items }, ballot);

function whole(bytes: number): AppendItem {
  gno += 1;
  const events = prng.bytes(bytes);
  return { kind: 'part', gtid: `${UUID}:${gno}`, first: true, last: true, crc: crc32(events), events };
}

function chunks(count: number, bytes: number): AppendItem[] {
  gno += 1;
  let crc = 0;
  return Array.from({ length: count }, (_, i) => {
    const events = prng.bytes(bytes);
    crc = crc32(events, crc);
    const last = i === count - 1;
    return { kind: 'part', gtid: `${UUID}:${gno}`, first: i === 0, last, crc: last ? crc : 0, events } as const;
  });
}

const file = (name: string): AppendItem => ({ kind: 'file', name, formatDescription: prng.bytes(122) });

async function flush(store: LevelDbLogStore): Promise<void> {
  await store.write(records);
  records = [];
  await store.saveState({ appliedIndex: state.appliedIndex, json: stateToJson(state) }, samples.splice(0));
}

await rm(dir, { recursive: true, force: true });
{
  const { store } = await LevelDbLogStore.open(options);
  await store.putMeta(FOUNDING_META, foundingToJson({ kind: 'bound', founders: members }));
  await store.putMeta(FOUNDING_META, foundingToJson({ kind: 'confirmed', founders: members }));
  await store.putMeta('peer-floors', JSON.stringify([[1, [['store-1', 77]]]]));
  records.push({ kind: 'promised', ballot: B1 });
  add({ kind: 'baseline', node: nodeId(1), gtidSet: `${UUID}:1-5`, members });
  gno = 5;
  add({ kind: 'baseline', node: nodeId(3), gtidSet: '', members });
  add({ kind: 'elect', node: nodeId(1), basedOnEpoch: epochOf(0), executedUpTo: state.appliedIndex });
  append([file('binlog.000001'), whole(300)]);
  for (let i = 0; i < 100; i += 1) append([whole(80 + prng.below(200))]);
  add({ kind: 'renew', epoch: state.epoch, renewal: 1 });
  add({ kind: 'renew', epoch: state.epoch, renewal: 1 });
  for (const item of chunks(3, 2000)) append([item]);
  append([whole(50), whole(60), file('binlog.000002'), whole(70)]);
  await flush(store);
  await store.close();
}
{
  const { store } = await LevelDbLogStore.open(options);
  append(chunks(4, 500).slice(0, 2)); // never finished
  add({ kind: 'fence', epoch: state.epoch, basedOnRenewal: 0, by: nodeId(2), release: false });
  add({ kind: 'fence', epoch: state.epoch, basedOnRenewal: 1, by: nodeId(2), release: false });
  gno -= 1;
  append([whole(10)]); // its epoch is closed
  gno -= 1;
  records.push({ kind: 'promised', ballot: B2 });
  const overwritten = instanceId(state.appliedIndex + 1);
  records.push({
    kind: 'accepted',
    entry: { instance: overwritten, ballot: B1, value: encodeValue({ kind: 'noop' }) },
  });
  add({ kind: 'elect', node: nodeId(2), basedOnEpoch: state.epoch, executedUpTo: state.lastTransactionIndex }, B2);
  append([file('binlog.000001'), whole(90)], B2);
  add({ kind: 'noop' }, B2);
  add({ kind: 'transfer', epoch: state.epoch, to: nodeId(3), executedUpTo: state.lastTransactionIndex }, CHOSEN_BALLOT);
  for (let i = 0; i < 100; i += 1) append([whole(20 + prng.below(50))], CHOSEN_BALLOT);
  const { configVersion } = state;
  add({ kind: 'replaceStore', node: nodeId(1), oldStoreId: 'store-1', newStoreId: 'store-1b', configVersion }, B2);
  add({ kind: 'replaceStore', node: nodeId(1), oldStoreId: 'store-1', newStoreId: 'store-1c', configVersion }, B2);
  add({ kind: 'fence', epoch: state.epoch, basedOnRenewal: 0, by: nodeId(3), release: true }, B2);
  add({ kind: 'elect', node: nodeId(1), basedOnEpoch: state.epoch, executedUpTo: state.lastTransactionIndex }, B2);
  append([file('binlog.000001'), ...chunks(2, 100)], B2);
  await flush(store);
  const again = (await store.read(instanceId(20), 1))[0] as { value: Uint8Array };
  await store.repair({ instance: instanceId(20), ballot: CHOSEN_BALLOT, value: again.value });
  for (const above of [1, 2, 4]) {
    const value = encodeValue({ kind: 'renew', epoch: state.epoch, renewal: above });
    const entry = { instance: instanceId(state.appliedIndex + above), ballot: B2, value };
    await store.write([{ kind: 'accepted', entry }]);
  }
  if (purgeAt > 0) {
    const formatDescription = prng.bytes(122);
    await store.purge({
      appliedIndex: instanceId(purgeAt),
      json: purgeState,
      formatDescription: Buffer.from(formatDescription).toString('base64'),
    });
    while (await store.reclaim());
  }
  await store.close();
}
const { store, report } = await LevelDbLogStore.open(options);
await store.close();
for (const database of ['acceptor', 'state']) {
  for (const name of ['LOG', 'LOG.old', 'LOCK']) await rm(join(dir, database, name), { force: true });
}
const stated = {
  storeId: report.identity.storeId,
  promised: report.promised,
  durableSeq: report.durableSeq,
  tail: report.tail.map(({ instance, ballot }) => [instance, ballot]),
  valuesDigest: digest.digest('hex'),
  refused,
  purged: purgeAt,
  state: JSON.parse(stateToJson(state)) as unknown,
};
await writeFile(join(dir, 'stated.json'), `${JSON.stringify(stated, null, 2)}\n`);
