import { rm } from 'node:fs/promises';
import type { InstanceId } from '../base/brands.ts';
import type { Logger } from '../base/ports.ts';
import { causeOf, type Database, dirInUse, faultOf, openDatabase, storeIo } from './store-database.ts';
import type { Sample, SavedState } from './store-port.ts';
import { decodeJson, encodeJson } from './store-records.ts';

const OWNER_KEY = Buffer.from('o');
const APPLIED_KEY = Buffer.from('a');
const HINT_KEY = Buffer.from('d');
const SAMPLE_PREFIX = 's';

/** Under load the durable hint follows by this much; written at once after a pause. Writing it after each append would cost some 10 %. */
const HINT_EVERY_MS = 20;

/** Samples deleted at a time. */
const SAMPLES_DROPPED = 256;

type Owner = Readonly<{ storeId: string }>;

/**
 * The rebuildable database: nothing here is synced, and all of it may be lost.
 *
 *   o  {storeId}               whose it is; of any other store it is thrown away
 *   a  SavedState              newest applied state
 *   d  {seq}                   a number the acceptor's database confirmed as durable: never ahead of the truth
 *   s<16 hex digits> {json, wallMs}    GTID samples by instance; version 1 had no wallMs
 *
 * Each value is | crc32 over key and body | JSON |. What is damaged counts as absent.
 */
export class StateDatabase {
  readonly #db: Database;
  readonly #log: Logger;
  /** Writes one after the other: two batches under way could land in either order. */
  #queue: Promise<void> = Promise.resolve();
  #hint = 0;
  #hinted = 0;
  #hintTimer: NodeJS.Timeout | null = null;

  private constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
  }

  static async open(path: string, storeId: string, log: Logger): Promise<StateDatabase> {
    let db = await openOrRebuild(path, log);
    const owner = (await readJson(db, OWNER_KEY)) as Owner | null;
    if (owner?.storeId !== storeId) {
      if (owner !== null) log.info('state database belongs to another store, rebuilding it', { path });
      await db.close();
      await rm(path, { recursive: true, force: true });
      db = await openOrRebuild(path, log);
      try {
        await db.put(OWNER_KEY, encodeJson(OWNER_KEY, { storeId } satisfies Owner));
      } catch (cause) {
        await db.close();
        throw storeIo(`create state database ${path}`, cause);
      }
    }
    return new StateDatabase(db, log);
  }

  async applied(): Promise<SavedState | null> {
    return (await readJson(this.#db, APPLIED_KEY)) as SavedState | null;
  }

  /** 0 if there is none. */
  async durableSeq(): Promise<number> {
    const hint = (await readJson(this.#db, HINT_KEY)) as { seq: number } | null;
    return hint?.seq ?? 0;
  }

  save(state: SavedState, samples: readonly Sample[], durableSeq: number): Promise<void> {
    const ops = samples.map(({ instance, ...body }) => {
      const key = sampleKey(instance);
      return { type: 'put' as const, key, value: encodeJson(key, body) };
    });
    return this.#enqueue(() =>
      this.#db.batch([
        ...ops,
        { type: 'put', key: APPLIED_KEY, value: encodeJson(APPLIED_KEY, state) },
        { type: 'put', key: HINT_KEY, value: encodeJson(HINT_KEY, { seq: durableSeq }) },
      ]),
    );
  }

  /** The acceptor's record `seq` is on disk. */
  noteDurable(seq: number): void {
    this.#hint = seq;
    if (this.#hintTimer === null) this.#writeHint();
  }

  async sampleAtOrBelow(instance: InstanceId): Promise<Sample | null> {
    const iterator = this.#db.iterator({ gte: Buffer.from(SAMPLE_PREFIX), lte: sampleKey(instance), reverse: true });
    try {
      for await (const [key, value] of iterator) {
        const body = decodeJson(key, value) as Omit<Sample, 'instance'> | null;
        const digits = Buffer.from(key).toString('latin1', 1);
        if (body !== null) return { instance: Number.parseInt(digits, 16) as InstanceId, ...body };
        this.#log.warn('sample is damaged, using an older one', { key: digits });
      }
    } catch (error) {
      this.#log.warn('read samples failed, doing without', { reason: causeOf(error) });
    }
    return null;
  }

  /** Deletes some samples below `instance`; they are of no use once the log there is purged. */
  async dropSamplesBelow(instance: InstanceId): Promise<void> {
    await this.#db.clear({ gte: Buffer.from(SAMPLE_PREFIX), lt: sampleKey(instance), limit: SAMPLES_DROPPED });
  }

  async close(): Promise<void> {
    if (this.#hintTimer !== null) clearTimeout(this.#hintTimer);
    this.#writeHint();
    if (this.#hintTimer !== null) clearTimeout(this.#hintTimer);
    await this.#queue;
    await this.#db.close();
  }

  #writeHint(): void {
    this.#hintTimer = null;
    if (this.#hint === this.#hinted) return;
    const seq = this.#hint;
    this.#hinted = seq;
    this.#enqueue(() => this.#db.put(HINT_KEY, encodeJson(HINT_KEY, { seq }))).catch((error: unknown) => {
      this.#log.error('write durable hint failed', { reason: causeOf(error) });
    });
    this.#hintTimer = setTimeout(() => this.#writeHint(), HINT_EVERY_MS);
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => {});
    return done;
  }
}

async function openOrRebuild(path: string, log: Logger): Promise<Database> {
  try {
    return await openDatabase(path, true);
  } catch (error) {
    if (faultOf(error) === 'locked') throw dirInUse(path, error);
    log.warn('state database cannot be opened, rebuilding it', { path, reason: causeOf(error) });
  }
  try {
    await rm(path, { recursive: true, force: true });
    return await openDatabase(path, true);
  } catch (error) {
    throw storeIo(`create state database ${path}`, error);
  }
}

/** null: absent or damaged. */
async function readJson(db: Database, key: Buffer): Promise<unknown> {
  try {
    const value = await db.get(key);
    return value === undefined ? null : decodeJson(key, value);
  } catch {
    return null;
  }
}

function sampleKey(instance: InstanceId): Buffer {
  return Buffer.from(`${SAMPLE_PREFIX}${instance.toString(16).padStart(16, '0')}`);
}
