import type { CutPlan } from '../../../agent/tail-cut.ts';
import type { Random } from '../../../base/ports.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { Engine } from './engine.ts';

/** One binlog file: its bytes, and how many of them an fsync has covered. */
export class BinlogFile {
  #bytes = Buffer.alloc(4096);
  #length = 0;
  synced = 0;

  get length(): number {
    return this.#length;
  }

  /** A view: changes with the file. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  append(bytes: Uint8Array): void {
    const end = this.#length + bytes.length;
    if (end > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = end;
  }

  sync(): void {
    this.synced = this.#length;
  }

  truncate(length: number): void {
    this.#length = Math.min(this.#length, length);
    this.synced = Math.min(this.synced, this.#length);
  }

  copy(): BinlogFile {
    const copy = new BinlogFile();
    copy.append(this.bytes);
    copy.synced = this.synced;
    return copy;
  }
}

/**
 * What lies on the disk of one node's mysqld and of its agent: outlives every process. Small files that are written with
 * fsync and rename (index, auto.cnf, plan) are there whole or not at all.
 */
export class MysqldDisk {
  /** A data directory is there. */
  present = false;
  /** auto.cnf; null: mysqld makes one up at its next start. */
  serverUuid: string | null = null;
  /** Lines of binlog.index, as mysqld writes them. */
  index: string[] = [];
  readonly files = new Map<string, BinlogFile>();
  engine = new Engine();
  /** Names in mysqld-auto.cnf. */
  persisted: string[] = [];
  cutPlan: CutPlan | null = null;
  removedByCuts = GtidSet.EMPTY;
  openedMark: Readonly<{ pid: number; epoch: number }> | null = null;
  /** Pid of the mysqld that holds the lock on ibdata1; null: none. */
  holder: number | null = null;
  /** True time until which nothing is written: a stalled device. */
  stalledUntil = 0;

  file(line: string): BinlogFile | undefined {
    return this.files.get(nameOf(line));
  }

  /** Everything unsynced is lost, or some of it: a prefix of each file's, the newest of the engine's commits. */
  powerCut(random: Random, now: number): void {
    for (const file of this.files.values()) {
      const unsynced = file.length - file.synced;
      if (unsynced > 0) file.truncate(file.synced + random.below(unsynced + 1));
      file.sync();
    }
    const unflushed = this.engine.unflushedAt(now);
    this.engine.powerCut(unflushed === 0 ? 0 : random.below(unflushed + 1));
    this.holder = null;
  }

  /** Nothing is left of it. No mysqld runs. */
  wipe(): void {
    const nothing = { serverUuid: null, index: [], persisted: [], removedByCuts: GtidSet.EMPTY };
    this.restore({ ...nothing, files: new Map(), engine: new Engine() });
    this.present = false;
    this.cutPlan = null;
    this.openedMark = null;
  }

  /** The data directory as a snapshot of the volume keeps it. */
  snapshot(): DatadirSnapshot {
    return {
      serverUuid: this.serverUuid,
      index: [...this.index],
      files: new Map([...this.files].map(([name, file]) => [name, file.copy()])),
      engine: this.engine.copy(),
      persisted: [...this.persisted],
      removedByCuts: this.removedByCuts,
    };
  }

  /** No mysqld runs. */
  restore({ serverUuid, index, files, engine, persisted, removedByCuts }: DatadirSnapshot): void {
    if (this.holder !== null) throw new Error(`datadir restored under mysqld ${this.holder}`);
    this.serverUuid = serverUuid;
    this.index = [...index];
    this.files.clear();
    for (const [name, file] of files) this.files.set(name, file.copy());
    this.engine = engine.copy();
    this.persisted = [...persisted];
    this.removedByCuts = removedByCuts;
  }
}

export type DatadirSnapshot = Readonly<{
  serverUuid: string | null;
  index: readonly string[];
  files: ReadonlyMap<string, BinlogFile>;
  engine: Engine;
  persisted: readonly string[];
  removedByCuts: GtidSet;
}>;

/** Of an index line: mysqld writes `./binlog.000001`. */
export const nameOf = (line: string): string => line.replace(/^\.\//, '');
