import type { Database } from './store-database.ts';
import { decodeLogKey, encodeLogKey, RECORD_CLASS, SEGMENT_INSTANCES, type Slot } from './store-records.ts';

/** A slice ends at the end of a segment, after as many bytes of values or instances. */
export const SLICE_BYTES = 8 * 1024 * 1024;
export const SLICE_INSTANCES = 4096;

/**
 * Gives the space of purged records back. Deleting alone frees nothing in LevelDB, and compacting much at once stalls
 * whoever writes: each slice is deleted and then compacted by itself. Deletions are not synced: what a crash brings back
 * is found again, as each life begins at the first key there is.
 */
export class Reclaimer {
  readonly #db: Database;
  readonly #segment: (last: number) => Promise<readonly Slot[] | null>;
  /** Nothing is left below; null: not looked yet. */
  #from: number | null = null;
  #running: Promise<boolean> | null = null;

  constructor(db: Database, segment: (last: number) => Promise<readonly Slot[] | null>) {
    this.#db = db;
    this.#segment = segment;
  }

  /** Resolves when no slice is under way. */
  get idle(): Promise<unknown> {
    return (this.#running ?? Promise.resolve()).catch(() => {});
  }

  /** Deletes one slice of the records at positions below `end`; false when there is nothing left. */
  slice(end: number): Promise<boolean> {
    this.#running ??= this.#slice(end).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #slice(end: number): Promise<boolean> {
    const from = this.#from ?? (await this.#firstPosition(end));
    if (from >= end) {
      this.#from = from;
      return false;
    }
    const upTo = Math.min(end, await this.#sliceEnd(from, end));
    const range = [positionKey(from), positionKey(upTo)] as const;
    await this.#db.clear({ gte: range[0], lt: range[1] });
    await this.#db.compactRange(...range);
    this.#from = upTo;
    return upTo < end;
  }

  async #firstPosition(end: number): Promise<number> {
    for await (const key of this.#db.keys({ gte: positionKey(0), limit: 1 })) return decodeLogKey(key)?.position ?? end;
    return end;
  }

  /** A segment that cannot be read says nothing of its bytes: the slice ends with it. */
  async #sliceEnd(from: number, end: number): Promise<number> {
    let bytes = 0;
    let at = from;
    while (at < end && bytes < SLICE_BYTES && at - from < SLICE_INSTANCES) {
      const last = Math.max(SEGMENT_INSTANCES, Math.ceil(at / SEGMENT_INSTANCES) * SEGMENT_INSTANCES);
      const slots = await this.#segment(last);
      at = last + 1;
      if (slots === null) break;
      for (const slot of slots) bytes += slot.length;
    }
    return at;
  }
}

const positionKey = (position: number): Buffer => encodeLogKey(position, RECORD_CLASS.entry, 0);
