import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type InstanceId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { openDatabase } from '../../../binlogsvr/store-database.ts';
import { acceptorPath, type StoreOptions } from '../../../binlogsvr/store-open.ts';
import { encodeLogKey, RECORD_CLASS } from '../../../binlogsvr/store-records.ts';

export function storeOptions(dir: string): StoreOptions {
  return { dir, cluster: 'alpha', node: nodeId(1), log: silentLogger, clockWall: () => 1_700_000_000_000 };
}

export class TempDir implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** `inMemory`: for thousands of opens where no fsync has to be real. */
  static async make(inMemory = false): Promise<TempDir> {
    const parent = inMemory && existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    return new TempDir(await mkdtemp(join(parent, 'phxsql-store-')));
  }

  async copyOf(name: string, from: string): Promise<string> {
    const to = join(this.path, name);
    await rm(to, { recursive: true, force: true });
    await cp(from, to, { recursive: true });
    return to;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.path, { recursive: true, force: true });
  }
}

/** Of an entry record: the last byte of the ballot. */
export const BALLOT_BYTE = 12;

/**
 * Flips a bit in the newest record of an instance of a closed store, as if the disk had, with LevelDB none the wiser: in byte
 * `at`, from the end if negative.
 */
export async function damageEntry(dir: string, instance: InstanceId, at = -1): Promise<void> {
  const db = await openDatabase(acceptorPath(dir), false);
  let newest: [Uint8Array, Uint8Array] | undefined;
  const range = {
    gte: encodeLogKey(instance, RECORD_CLASS.entry, 0),
    lt: encodeLogKey(instance, RECORD_CLASS.journal, 0),
  };
  for await (const pair of db.iterator(range)) newest = pair;
  const [key, record] = newest as [Uint8Array, Uint8Array];
  const changed = Buffer.from(record);
  const byte = at < 0 ? changed.length + at : at;
  changed[byte] = (changed[byte] as number) ^ 1;
  await db.put(key, changed);
  await db.close();
}
