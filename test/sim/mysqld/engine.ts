import { GtidSet } from '../../../mysql/gtid-set.ts';
import type { LoggedTransaction, Writes } from './binlog-bytes.ts';

/** InnoDB flushes the redo log at least this often, by itself. */
const FLUSH_EVERY_MS = 1_000;

type Undo = Readonly<{
  at: number;
  gtidSet: GtidSet;
  before: readonly (readonly [key: string, value: string | undefined])[];
  /** What a commit of its own goes back to; null: a replica applied it. */
  prepared: readonly [gtid: string, prepared: Prepared] | null;
}>;
type Prepared = { readonly writes: Writes; durable: boolean };

/**
 * InnoDB's data and redo log as they lie on disk. Rows and GTIDs of a transaction are kept together; what is committed
 * without a redo flush (innodb_flush_log_at_trx_commit=2) goes back in a power cut, newest first, to a consistent earlier state.
 */
export class Engine {
  readonly rows = new Map<string, string>();
  /** Executed and committed in here. */
  gtidSet = GtidSet.EMPTY;
  /** Prepared, waiting for the binlog to decide, by GTID. */
  readonly prepared = new Map<string, Prepared>();
  #unflushed: Undo[] = [];

  /** `durable`: the redo log is flushed with it, and so is all before it. */
  prepare({ gtid, writes }: LoggedTransaction, durable: boolean): void {
    this.prepared.set(gtid, { writes, durable });
    if (durable) this.flush();
  }

  /** Rows and GTID become visible. `durable` as above; what the binlog has need not be: it comes back from there. */
  commit({ gtid, writes }: LoggedTransaction, durable: boolean, now: number): void {
    const keys = Object.keys(writes);
    while ((this.#unflushed[0]?.at ?? now) < now - FLUSH_EVERY_MS) this.#unflushed.shift();
    const prepared = this.prepared.get(gtid);
    this.#unflushed.push({
      at: now,
      gtidSet: this.gtidSet,
      before: keys.map((key) => [key, this.rows.get(key)]),
      prepared: prepared === undefined ? null : [gtid, prepared],
    });
    for (const key of keys) this.rows.set(key, writes[key] as string);
    this.gtidSet = this.gtidSet.add(gtid);
    this.prepared.delete(gtid);
    if (durable) this.flush();
  }

  /** The redo log goes to disk. */
  flush(): void {
    this.#unflushed = [];
  }

  /** Commits a power cut at `now` may take back. */
  unflushedAt(now: number): number {
    return this.#unflushed.filter(({ at }) => at >= now - FLUSH_EVERY_MS).length;
  }

  /** The newest `lost` of the unflushed commits are gone. */
  powerCut(lost: number): void {
    for (let i = 0; i < lost; i += 1) {
      const undo = this.#unflushed.pop();
      if (undo === undefined) break;
      this.gtidSet = undo.gtidSet;
      for (const [key, value] of undo.before) {
        if (value === undefined) this.rows.delete(key);
        else this.rows.set(key, value);
      }
      if (undo.prepared !== null) this.prepared.set(...undo.prepared);
    }
    this.#unflushed = [];
    for (const [gtid, { durable }] of this.prepared) if (!durable) this.prepared.delete(gtid);
  }

  copy(): Engine {
    const copy = new Engine();
    for (const [key, value] of this.rows) copy.rows.set(key, value);
    copy.gtidSet = this.gtidSet;
    for (const [gtid, each] of this.prepared) copy.prepared.set(gtid, { ...each });
    copy.#unflushed = [...this.#unflushed];
    return copy;
  }
}
