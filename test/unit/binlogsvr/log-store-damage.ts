// Child of log-store-flip.test.ts: opens damaged copies of a store, one at a time. A process of its own, because LevelDB
// may end it: that is loud enough.
import { createHash } from 'node:crypto';
import { cp, open, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { instanceId } from '../../../base/brands.ts';
import { PhxError, reasonOf } from '../../../base/errors.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { storeOptions } from './log-store-support.ts';

/** A file of the acceptor's database, and what happens to it. */
export type Damage = Readonly<{ file: string } & ({ at: number; xor: number } | { length: number })>;
export type Task = Readonly<{ source: string; damage: Damage | null; suspect: boolean }>;
/** `print` tells everything there is to read; `loud` why it could not be read. */
export type Outcome = Readonly<{ print: string } | { loud: string }>;

const LOUD: ReadonlySet<string> = new Set(['AMNESIA', 'STORE_CORRUPT', 'STORE_FORMAT', 'DIR_FOREIGN']);

async function inflict(dir: string, damage: Damage): Promise<void> {
  const path = join(dir, 'acceptor', damage.file);
  if ('length' in damage) {
    await truncate(path, damage.length);
    return;
  }
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, damage.at);
  byte[0] = (byte[0] as number) ^ damage.xor;
  await file.write(byte, 0, 1, damage.at);
  await file.close();
}

async function look(dir: string, suspect: boolean): Promise<Outcome> {
  try {
    const { store, report } = await LevelDbLogStore.open({ ...storeOptions(dir), suspect });
    try {
      if (report.amnesia !== null) return { loud: report.amnesia };
      const hash = createHash('sha256');
      hash.update(JSON.stringify({ ...report, tail: report.tail.map((e) => [e.instance, e.ballot, String(e.value)]) }));
      hash.update(`${await store.getMeta('fact')}`);
      for (let from = 1; ; ) {
        const entries = await store.read(instanceId(from), 1 << 20);
        if (entries.length === 0) break;
        for (const e of entries) hash.update(`${e.instance} ${e.ballot} `).update(e.value);
        from += entries.length;
      }
      return { print: hash.digest('hex') };
    } finally {
      await store.close();
    }
  } catch (error) {
    if (error instanceof PhxError && LOUD.has(error.code)) return { loud: `${error.code}: ${error.message}` };
    return { print: `unexpected: ${reasonOf(error)}` };
  }
}

process.on('message', async ({ source, damage, suspect }: Task) => {
  const work = `${source}.work-${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await cp(source, work, { recursive: true });
  if (damage !== null) await inflict(work, damage);
  process.send?.(await look(work, suspect));
});
process.on('disconnect', () => process.exit(0));
