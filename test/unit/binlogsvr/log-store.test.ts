import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type InstanceId, instanceId, nodeId } from '../../../base/brands.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { openDatabase } from '../../../binlogsvr/store-database.ts';
import { acceptorPath, statePath } from '../../../binlogsvr/store-open.ts';
import {
  decodeIdentity,
  decodeLogKey,
  encodeIdentity,
  encodeLogKey,
  IDENTITY_KEY,
  RECORD_CLASS,
  type RecordClass,
  STORE_FORMAT,
} from '../../../binlogsvr/store-records.ts';
import { logStoreContract, type StoreHarness } from './log-store-contract.ts';
import { logStorePurgeContract } from './log-store-purge-contract.ts';
import { BALLOT_BYTE, damageEntry, storeOptions, TempDir } from './log-store-support.ts';
import { accepted, B1, B2, fill, plain, promised, readAll } from './log-store-values.ts';

async function harness(): Promise<StoreHarness> {
  const temp = await TempDir.make();
  const options = storeOptions(temp.path);
  return {
    open: (as) =>
      LevelDbLogStore.open({
        ...options,
        cluster: as?.cluster ?? options.cluster,
        node: as?.node === undefined ? options.node : nodeId(as.node),
      }),
    damage: (instance) => damageEntry(temp.path, instance),
    forget: async (reason) => {
      await LevelDbLogStore.forget(options, reason);
    },
    dispose: () => temp[Symbol.asyncDispose](),
  };
}

logStoreContract('LevelDbLogStore', harness);
logStorePurgeContract('LevelDbLogStore', harness);

describe('LevelDbLogStore', () => {
  let temp: TempDir;
  beforeEach(async () => {
    temp = await TempDir.make();
  });
  afterEach(() => temp[Symbol.asyncDispose]());

  const open = (): ReturnType<typeof LevelDbLogStore.open> => LevelDbLogStore.open(storeOptions(temp.path));

  async function make(work: (store: LevelDbLogStore) => Promise<void>): Promise<void> {
    const { store } = await open();
    await work(store);
    await store.close();
  }

  async function keysOf(recordClass: RecordClass): Promise<{ position: InstanceId; seq: number }[]> {
    const db = await openDatabase(acceptorPath(temp.path), false);
    const keys = [];
    for await (const key of db.keys()) {
      const at = decodeLogKey(key);
      if (at?.recordClass === recordClass) keys.push({ position: at.position, seq: at.seq });
    }
    await db.close();
    return keys;
  }

  async function remove(position: number, recordClass: RecordClass, seq: number): Promise<void> {
    const db = await openDatabase(acceptorPath(temp.path), false);
    await db.del(encodeLogKey(position, recordClass, seq));
    await db.close();
  }

  it('writes a checkpoint along the way and forgets replaced records behind it', async () => {
    await make(async (store) => {
      await store.write([promised(B1), accepted(1, B1, 'old'), accepted(1, B2, 'v1')]);
      await fill(store, 1, 1300);
      await store.write([accepted(1301, B1, 'open')]);
    });
    expect((await keysOf(RECORD_CLASS.checkpoint)).at(-1)?.position).toBeGreaterThanOrEqual(1024);
    expect(await keysOf(RECORD_CLASS.journal)).toEqual([]);
    expect((await keysOf(RECORD_CLASS.entry)).filter((key) => key.position === 1).length).toBe(1);
    const { store, report } = await open();
    expect(report).toMatchObject({ promised: B2, amnesia: null, durableSeq: 1304 });
    expect((await readAll(store)).length).toBe(1301);
    await store.close();
  });

  it.each([
    ['an accepted value', 2, RECORD_CLASS.entry, 3, 'acceptor record 3 is missing'],
    ['a replaced value', 1, RECORD_CLASS.entry, 2, 'acceptor record 2 is missing'],
    ['a promise', 1, RECORD_CLASS.journal, 1, 'acceptor record 1 is missing'],
    ['the newest record', 3, RECORD_CLASS.entry, 5, 'acceptor record 5 was durable, the newest one is 4'],
  ] as const)('the loss of %s is amnesia, and stays so', async (_what, position, recordClass, seq, reason) => {
    await make(async (store) => {
      await store.write([promised(B1), accepted(1, B1, 'a'), accepted(2, B1, 'b')]);
      await store.write([accepted(1, B2, 'a2'), accepted(3, B1, 'c')]);
    });
    await remove(position, recordClass, seq);
    for (let round = 0; round < 2; round += 1) {
      const { store, report } = await open();
      expect(report).toMatchObject({ amnesia: reason, empty: false });
      await expect(store.write([accepted(4, B1, 'd')])).rejects.toMatchObject({ code: 'AMNESIA' });
      await expect(store.putMeta('k', 'v')).rejects.toMatchObject({ code: 'AMNESIA' });
      await store.close();
    }
  });

  it('a damaged record above the checkpoint is amnesia, below it STORE_CORRUPT on read', async () => {
    await make((store) => fill(store, 1, 70));
    await make(async () => {}); // seals 64
    await damageEntry(temp.path, instanceId(20));
    const { store, report } = await open();
    expect(report.amnesia).toBeNull();
    await expect(store.read(instanceId(20), 100)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    await store.close();
    await damageEntry(temp.path, instanceId(66));
    const second = await open();
    expect(second.report.amnesia).toMatch(/instance 66\) is damaged/);
    await second.store.close();
  });

  it('a damaged ballot fits no value', async () => {
    await make((store) => fill(store, 1, 70));
    await make(async () => {}); // seals 64
    await damageEntry(temp.path, instanceId(20), BALLOT_BYTE);
    const { store } = await open();
    await expect(store.read(instanceId(20), 100)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    const remains = await store.remains(instanceId(20));
    expect(remains?.ballot).not.toBe(B1);
    expect(remains?.fits(Buffer.from('v20'))).toBe(false);
    expect(await store.remains(instanceId(900)), 'no such record').toBeNull();
    await store.close();
  });

  it('a lost segment costs its values a second fetch, one by one', async () => {
    await make((store) => fill(store, 1, 130));
    await make(async () => {});
    await remove(64, RECORD_CLASS.segment, 0);
    const { store, report } = await open();
    expect(report.amnesia).toBeNull();
    await expect(store.read(instanceId(64), 100)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect(await store.remains(instanceId(64)), 'nothing to compare the record with').toBeNull();
    await store.repair({ instance: instanceId(64), ballot: B1, value: Buffer.from('v64') });
    expect(plain(await store.read(instanceId(64), 1))[0]).toBe('64@chosen=v64');
    expect(plain(await store.read(instanceId(65), 1))).toEqual([`65@${B1}=v65`]);
    await store.close();
  });

  it('an acceptor database that went back is amnesia', async () => {
    await make((store) => fill(store, 1, 10));
    const older = await temp.copyOf('older', acceptorPath(temp.path));
    await make((store) => fill(store, 11, 20));
    await rm(acceptorPath(temp.path), { recursive: true });
    await rename(older, acceptorPath(temp.path));
    const { store, report } = await open();
    expect(report.amnesia).toBe('acceptor record 20 was durable, the newest one is 10');
    await store.close();
  });

  it('the state database of another store is not its own', async () => {
    await make((store) => fill(store, 1, 10));
    await rm(acceptorPath(temp.path), { recursive: true });
    const { store, report } = await open();
    expect(report).toMatchObject({ empty: true, applied: null, amnesia: null });
    await store.close();
  });

  it('without its state database it starts from the checkpoint, which is no amnesia', async () => {
    await make((store) => fill(store, 1, 1500));
    await make(async () => {});
    await rm(statePath(temp.path), { recursive: true });
    const { store, report } = await open();
    expect(report).toMatchObject({ amnesia: null, durableSeq: 1500, applied: { appliedIndex: 1500 } });
    await store.close();
  });

  it('a garbled state database is rebuilt', async () => {
    await make((store) => fill(store, 1, 3));
    for (const name of await readdir(statePath(temp.path))) {
      if (name.startsWith('MANIFEST')) await writeFile(join(statePath(temp.path), name), 'garbage');
    }
    const { store, report } = await open();
    expect(report).toMatchObject({ amnesia: null, applied: null });
    expect(report.tail.length).toBe(3);
    await store.close();
  });

  it('refuses a newer format by its version', async () => {
    await make(async () => {});
    const db = await openDatabase(acceptorPath(temp.path), false);
    const { format: _, ...identity } = decodeIdentity((await db.get(IDENTITY_KEY)) as Uint8Array) as NonNullable<
      ReturnType<typeof decodeIdentity>
    >;
    await db.put(IDENTITY_KEY, encodeIdentity(identity, STORE_FORMAT + 1));
    await db.close();
    await expect(open()).rejects.toMatchObject({ code: 'STORE_FORMAT', message: expect.stringContaining('version 3') });
    await expect(LevelDbLogStore.forget(storeOptions(temp.path), 'x')).rejects.toMatchObject({ code: 'STORE_FORMAT' });
  });

  it('a lost CURRENT file is amnesia, not a new store; forget sets the old one aside', async () => {
    await make((store) => fill(store, 1, 3));
    await rm(join(acceptorPath(temp.path), 'CURRENT'));
    await expect(open()).rejects.toMatchObject({ code: 'AMNESIA' });
    const { setAside } = await LevelDbLogStore.forget(storeOptions(temp.path), 'CURRENT was lost');
    expect(existsSync(setAside)).toBe(true);
    const { store, report } = await open();
    expect(report).toMatchObject({ empty: true, amnesia: null });
    expect(await store.getMeta('amnesiac')).toBe('CURRENT was lost');
    await expect(LevelDbLogStore.forget(storeOptions(temp.path), 'x')).rejects.toMatchObject({ code: 'DIR_IN_USE' });
    await store.close();
  });

  it('facts are bounded', async () => {
    await make(async (store) => {
      await expect(store.putMeta('k', 'x'.repeat(300_000))).rejects.toMatchObject({ code: 'TOO_LARGE' });
      await store.putMeta('k', 'small');
    });
  });

  const WRITER = join(import.meta.dirname, 'log-store-writer.ts');
  type FromWriter = { instance?: number; seq?: number; purged?: number; failed?: string; again?: string };

  async function expectConfirmed(confirmed: FromWriter): Promise<void> {
    const { store, report } = await open();
    expect(report.amnesia).toBeNull();
    expect(report.durableSeq).toBeGreaterThanOrEqual(confirmed.seq as number);
    const purged = store.base?.appliedIndex ?? 0;
    expect(purged).toBeGreaterThanOrEqual(confirmed.purged ?? 0);
    const all = await readAll(store, purged + 1);
    expect(purged + all.length).toBeGreaterThanOrEqual(confirmed.instance as number);
    for (const e of all) expect(Buffer.from(e.value).toString('latin1', 0, 20).trimEnd()).toBe(`value ${e.instance}`);
    await store.close();
  }

  it('kill -9 loses nothing that was confirmed', { timeout: 60_000 }, async () => {
    const child = fork(WRITER, [temp.path], { stdio: 'inherit', execArgv: [] });
    const confirmed: FromWriter = {};
    child.on('message', (message: FromWriter) => {
      Object.assign(confirmed, message);
      if (message.instance === 1500) child.kill('SIGKILL');
    });
    await once(child, 'exit');
    expect(confirmed.instance).toBeGreaterThanOrEqual(1500);
    await expectConfirmed(confirmed);
  });

  it.each([700, 1111, 1690])('kill -9 while purging, at %i, loses nothing either', { timeout: 60_000 }, async (at) => {
    const child = fork(WRITER, [temp.path, 'purge'], { stdio: 'inherit', execArgv: [] });
    const confirmed: FromWriter = {};
    child.on('message', (message: FromWriter) => {
      Object.assign(confirmed, message);
      if (message.instance === at) child.kill('SIGKILL');
    });
    await once(child, 'exit');
    expect(confirmed.purged).toBeGreaterThan(0);
    await expectConfirmed(confirmed);
  });

  it('a write the disk refuses is STORE_IO, and so is everything after it', { timeout: 60_000 }, async () => {
    // Files may not grow beyond 1 MiB (ulimit counts in 512-byte blocks): write(2) fails as on a full disk.
    const child = spawn('sh', ['-c', 'ulimit -f 2048; exec "$0" "$@"', process.execPath, WRITER, temp.path], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const last: FromWriter = {};
    child.on('message', (message: FromWriter) => Object.assign(last, message));
    await once(child, 'exit');
    expect(last).toMatchObject({ failed: 'STORE_IO', again: 'STORE_IO' });
    await expectConfirmed(last);
  });
});
