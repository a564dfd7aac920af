import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { instanceId } from '../../../base/brands.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { type Database, openDatabase } from '../../../binlogsvr/store-database.ts';
import { acceptorPath, statePath } from '../../../binlogsvr/store-open.ts';
import { damagedTable, damageOf } from '../../../binlogsvr/table-check.ts';
import { storeOptions, TempDir } from './log-store-support.ts';
import { fill } from './log-store-values.ts';

type Compactable = { compactRange(start: Uint8Array, end: Uint8Array): Promise<void> };

/** A closed store with all of its records in tables. */
async function inTables(dir: string): Promise<void> {
  const { store } = await LevelDbLogStore.open(storeOptions(dir));
  await fill(store, 1, 300);
  await store.saveState({ appliedIndex: instanceId(200), json: '{"some":"state"}' }, []);
  await store.close();
  for (const path of [acceptorPath(dir), statePath(dir)]) {
    const db = (await openDatabase(path, false)) as Database & Compactable;
    await db.compactRange(Buffer.from([0]), Buffer.from([255]));
    await db.close();
  }
}

async function tableIn(path: string): Promise<string> {
  const name = (await readdir(path)).find((file) => file.endsWith('.ldb'));
  return join(path, name as string);
}

async function flip(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] = (bytes[at] as number) ^ 0x40;
  await writeFile(file, bytes);
}

describe('the check of every table block', () => {
  it('takes what LevelDB wrote, and notices every flipped or missing byte but those nothing is read from', async () => {
    await using temp = await TempDir.make(true);
    await inTables(temp.path);
    expect(await damagedTable(acceptorPath(temp.path))).toBeNull();
    const table = await readFile(await tableIn(acceptorPath(temp.path)));
    const unnoticed: number[] = [];
    for (let at = 0; at < table.length; at += 1) {
      const copy = Buffer.from(table);
      copy[at] = (copy[at] as number) ^ 0x01;
      if (damageOf(copy) === null) unnoticed.push(at - table.length);
      if (at % 7 === 0) expect(damageOf(table.subarray(0, at))).not.toBeNull();
    }
    // The footer's padding between the second handle and the magic.
    expect(unnoticed.filter((at) => at < -48 || at >= -8)).toEqual([]);
  });

  it('a suspect store with a damaged table is amnesia, before LevelDB reads it, and can be set aside', async () => {
    await using temp = await TempDir.make(true);
    await inTables(temp.path);
    await flip(await tableIn(acceptorPath(temp.path)), 40);
    const options = { ...storeOptions(temp.path), suspect: true };
    await expect(LevelDbLogStore.open(options)).rejects.toMatchObject({
      code: 'AMNESIA',
      message: expect.stringContaining('the block at 0 is damaged'),
    });
    await LevelDbLogStore.forget(options, 'damaged');
    const { store, report } = await LevelDbLogStore.open(options);
    expect(report).toMatchObject({ empty: true, amnesia: null });
    await store.close();
  });

  it('a damaged state database is only rebuilt', async () => {
    await using temp = await TempDir.make(true);
    await inTables(temp.path);
    await flip(await tableIn(statePath(temp.path)), 40);
    const { store, report } = await LevelDbLogStore.open({ ...storeOptions(temp.path), suspect: true });
    expect(report).toMatchObject({ amnesia: null, durableSeq: 300 });
    await store.close();
  });
});
