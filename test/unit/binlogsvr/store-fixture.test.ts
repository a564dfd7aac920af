import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { FOUNDING_META, foundingFromJson } from '../../../binlogsvr/founding.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import { openDatabase } from '../../../binlogsvr/store-database.ts';
import { acceptorPath } from '../../../binlogsvr/store-open.ts';
import { encodeIdentity, IDENTITY_KEY, STORE_FORMAT } from '../../../binlogsvr/store-records.ts';
import { decodeValue } from '../../../binlogsvr/value-codec.ts';
import { TempDir } from './log-store-support.ts';

const FIXTURES = join(import.meta.dirname, '../../fixtures');

type Stated = Readonly<{
  storeId: string;
  promised: number;
  durableSeq: number;
  tail: readonly (readonly [number, number])[];
  valuesDigest: string;
  refused: readonly (readonly [number, string])[];
  /** Since version 2: the last purged instance. Digest and refusals are of what lies above. */
  purged?: number;
  state: Readonly<Record<string, unknown> & { appliedIndex: number }>;
}>;

const names = (await readdir(FIXTURES)).filter((name) => name.startsWith('store-format-'));
const stated = (name: string): Stated =>
  JSON.parse(readFileSync(join(FIXTURES, name, 'stated.json'), 'utf8')) as Stated;

let temp: TempDir;
beforeEach(async () => {
  temp = await TempDir.make();
});
afterEach(() => temp[Symbol.asyncDispose]());

/** Opens a copy: opening writes. */
async function openCopy(name: string): ReturnType<typeof LevelDbLogStore.open> {
  const dir = await temp.copyOf(name, join(FIXTURES, name));
  return openAt(dir);
}

function openAt(dir: string): ReturnType<typeof LevelDbLogStore.open> {
  return LevelDbLogStore.open({ dir, cluster: 'fixture', node: nodeId(2), log: silentLogger, clockWall: () => 0 });
}

/** A state may have learned to say more since the fixture was made; what it said then it must still say. */
function saying(json: string, what: Stated['state']): unknown {
  const state = JSON.parse(json) as Record<string, unknown>;
  return Object.fromEntries(Object.keys(what).map((key) => [key, state[key]]));
}

test('there is a fixture of every format version this program reads', () => {
  expect(names).toEqual(Array.from({ length: STORE_FORMAT }, (_, i) => `store-format-${i + 1}`));
});

test.each(names)('%s opens, and replays to the stated state', async (name) => {
  const expected = stated(name);
  const { store, report } = await openCopy(name);
  await using _ = store;
  const { identity, amnesia, empty, applied } = report;
  expect({ amnesia, empty }).toEqual({ amnesia: null, empty: false });
  expect(identity).toEqual({
    cluster: 'fixture',
    node: 2,
    storeId: expected.storeId,
    createdWallMs: 1_700_000_000_000,
  });
  expect(report.promised).toBe(expected.promised);
  expect(report.durableSeq).toBe(expected.durableSeq);
  expect(report.tail.map(({ instance, ballot }) => [instance, ballot])).toEqual(expected.tail);
  expect(foundingFromJson(await store.getMeta(FOUNDING_META))).toMatchObject({ kind: 'confirmed' });
  expect(applied?.appliedIndex).toBe(expected.state.appliedIndex);
  expect(saying(stateToJson(stateFromJson(applied?.json as string)), expected.state)).toEqual(expected.state);

  const digest = createHash('sha256');
  const refused: [number, string][] = [];
  const purged = expected.purged ?? 0;
  expect(store.base?.appliedIndex ?? 0).toBe(purged);
  let state = store.base === null ? initialState() : stateFromJson(store.base.json);
  expect(state.appliedIndex).toBe(purged);
  if (purged > 0) await expect(store.read(instanceId(purged), 1)).rejects.toMatchObject({ code: 'PURGED' });
  let sampled = 0;
  while (state.appliedIndex < expected.state.appliedIndex) {
    const from = instanceId(state.appliedIndex + 1);
    const sample = await store.sampleAtOrBelow(from);
    if (sample?.instance === from) {
      sampled += 1;
      expect(stateToJson(stateFromJson(sample.json))).toBe(stateToJson(state));
    }
    for (const { instance, value } of await store.read(from, 1)) {
      digest.update(value);
      const next = apply(state, instance, decodeValue(value));
      state = next.state;
      if (next.applied.code !== null) refused.push([instance, next.applied.code]);
    }
  }
  expect(sampled).toBe(purged > 0 ? 2 : 3);
  expect(refused).toEqual(expected.refused);
  expect(saying(stateToJson(state), expected.state)).toEqual(expected.state);
  expect(digest.digest('hex')).toBe(expected.valuesDigest);
});

test.each(names)('%s goes on to be written and opens again', async (name) => {
  const expected = stated(name);
  const first = await openCopy(name);
  const value = Buffer.from('x');
  const instance = instanceId(expected.state.appliedIndex + 3);
  const seq = await first.store.write([
    { kind: 'accepted', entry: { instance, ballot: first.report.promised, value } },
  ]);
  expect(seq).toBe(expected.durableSeq + 1);
  await first.store.close();
  const { store, report } = await openAt(join(temp.path, name));
  expect(report).toMatchObject({ amnesia: null, durableSeq: seq });
  expect(report.tail.map((entry) => entry.instance)).toEqual([1, 2, 3, 4].map((n) => expected.state.appliedIndex + n));
  await store.close();
});

test('a directory of a newer format is refused and says what to do', async () => {
  const name = names.at(-1) as string;
  const dir = await temp.copyOf(name, join(FIXTURES, name));
  const db = await openDatabase(acceptorPath(dir), false);
  const { storeId } = stated(name);
  const identity = { cluster: 'fixture', node: nodeId(2), storeId, createdWallMs: 1_700_000_000_000 };
  await db.put(IDENTITY_KEY, encodeIdentity(identity, STORE_FORMAT + 1));
  await db.close();
  await expect(openAt(dir)).rejects.toMatchObject({
    code: 'STORE_FORMAT',
    message: `open store ${acceptorPath(dir)}: format version ${STORE_FORMAT + 1}, this program knows ${STORE_FORMAT}`,
    hint: expect.stringContaining('run that version'),
  });
  // Nothing was set aside or begun anew.
  expect((await readdir(dir)).sort()).toEqual(['acceptor', 'state', 'stated.json']);
});
