import type { BinlogPosition } from '../../../sync/position.ts';
import type { SimProcess } from '../process.ts';
import type { Writes } from './binlog-bytes.ts';
import type { BinlogLog } from './binlog-log.ts';
import type { MysqldDisk } from './disk.ts';
import { SemiSync } from './semi-sync.ts';
import type { MysqldTimes } from './times.ts';

type Commit = { readonly writes: Writes; readonly committed: () => void; gtid: string };

export type CommitOptions = Readonly<{
  process: SimProcess;
  disk: MysqldDisk;
  binlog: BinlogLog;
  times: MysqldTimes;
  now: () => number;
  uuid: () => string;
  /** innodb_flush_log_at_trx_commit. */
  flushLog: () => 1 | 2;
  executed: (gtid: string) => boolean;
  /** Bytes up to here may be dumped. */
  published: () => void;
}>;

/**
 * Group commit with AFTER_SYNC semi-sync:
 *
 *   submit ─► queue ─► FLUSH: prepare, number, write ─► SYNC ─► (dump threads may send) ─► queue ─► COMMIT: one batch at a time
 *                                                                                       waits for the ack of its last,
 *                                                                                       then commits in the engine, in order
 */
export class CommitPipeline {
  readonly semiSync = new SemiSync();
  readonly #o: CommitOptions;
  #queue: Commit[] = [];
  #flushed: (Commit & { end: BinlogPosition })[] = [];
  #flushing = false;
  #committing = false;
  #rotation: (() => void)[] = [];
  #idle: (() => void)[] = [];
  #free: (() => void)[] = [];
  #nextGno = 1;
  readonly #owned = new Set<string>();

  constructor(options: CommitOptions) {
    this.#o = options;
  }

  /** Nothing is on its way. */
  get idle(): boolean {
    return this.#queue.length === 0 && !this.#flushing && !this.#committing && this.#flushed.length === 0;
  }

  /** Somebody holds the commit stage: an ack is waited for, or the engine commits. */
  get busy(): boolean {
    return this.#committing;
  }

  /** Resolves when the engine has committed; never, if no ack comes. */
  submit(writes: Writes): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push({ writes, committed: resolve, gtid: '' });
      void this.#flush();
    });
  }

  /** FLUSH BINARY LOGS: waits for what waits (design 9.5). */
  rotate(): Promise<void> {
    return new Promise((resolve) => {
      this.#rotation.push(resolve);
      void this.#flush();
    });
  }

  untilIdle(): Promise<void> {
    return this.idle ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** For appliers, which pass the commit stage too. */
  untilFree(): Promise<void> {
    return this.busy ? new Promise((resolve) => this.#free.push(resolve)) : Promise.resolve();
  }

  async #flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    const { process, binlog, times, disk, uuid, flushLog, published } = this.#o;
    while (this.#queue.length > 0 || this.#rotation.length > 0) {
      if (this.#rotation.length > 0) {
        // LOCK_log is held until everything written has been committed.
        while (this.#committing || this.#flushed.length > 0) await this.untilFree();
        await process.io('rotate binlog', times.sync(), () => binlog.rotate());
        for (const done of this.#rotation.splice(0)) done();
        published();
        continue;
      }
      let group: (Commit & { end: BinlogPosition })[] = [];
      await process.io('flush binlog', times.flush(), () => {
        group = this.#queue.splice(0).map((commit) => {
          const gno = this.#number();
          const gtid = `${uuid()}:${gno}`;
          disk.engine.prepare({ gtid, writes: commit.writes }, flushLog() === 1);
          const position = binlog.append(uuid(), gno, commit.writes);
          return { ...commit, gtid, end: { file: binlog.name, position } };
        });
      });
      await process.io('sync binlog', times.sync(), () => binlog.file.sync());
      published();
      this.#flushed.push(...group);
      void this.#commit();
    }
    this.#flushing = false;
    this.#look();
  }

  async #commit(): Promise<void> {
    if (this.#committing) return;
    this.#committing = true;
    const { process, disk, times, now } = this.#o;
    while (this.#flushed.length > 0) {
      const batch = this.#flushed.splice(0);
      const last = batch.at(-1);
      if (last !== undefined) await this.semiSync.wait(last.end);
      for (const { gtid, writes, committed } of batch) {
        await process.io('commit', times.commit(), () => {
          disk.engine.commit({ gtid, writes }, false, now());
          this.#owned.delete(gtid);
        });
        committed();
      }
    }
    this.#committing = false;
    for (const free of this.#free.splice(0)) free();
    this.#look();
  }

  /** The smallest number of ours that nobody has. */
  #number(): number {
    const { uuid, executed } = this.#o;
    while (executed(`${uuid()}:${this.#nextGno}`) || this.#owned.has(`${uuid()}:${this.#nextGno}`)) this.#nextGno += 1;
    this.#owned.add(`${uuid()}:${this.#nextGno}`);
    return this.#nextGno;
  }

  #look(): void {
    if (this.idle) for (const idle of this.#idle.splice(0)) idle();
  }
}
