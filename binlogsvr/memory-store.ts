import { type Ballot, type InstanceId, NO_BALLOT, type NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import { type AcceptorRecord, CHOSEN_BALLOT, type Entry } from './paxos/types.ts';
import {
  firstRetained,
  type LogBase,
  type LogStore,
  type OpenReport,
  PURGE_MARGIN,
  type Remains,
  type Sample,
  type SavedState,
  type StoreIdentity,
} from './store-port.ts';

/** Instances deleted by one reclaim(). */
const SLICE_INSTANCES = 64;

export type MemoryStoreOptions = Readonly<{
  disk: MemoryDisk;
  cluster: string;
  node: NodeId;
  /** For a new store; unique per store made. */
  storeId: string;
  clockWall: () => number;
  /** How long an fsync takes: the write is durable when this resolves. Default: at once. */
  sync?: (bytes: number) => Promise<void>;
  /** In the place of `sync`: a disk that is slow, fails, or keeps only a part of what it was given. */
  device?: Device;
  /** Default: PURGE_MARGIN. */
  purgeMargin?: number;
}>;

/** What is under a MemoryLogStore. */
export interface Device {
  /**
   * A synced write of `parts` parts, `bytes` of values: `land(n)` puts the first n of them on the disk, in one or several steps, n growing.
   * Resolves when all have landed. Rejects STORE_IO when it failed; a beginning of it may have landed all the same.
   */
  write(what: string, parts: number, land: (parts: number) => void, bytes: number): Promise<void>;
  /** A read, or a write nobody syncs. Rejects STORE_IO. */
  touch(what: string): Promise<void>;
}

function plainDevice(sync: (bytes: number) => Promise<void>): Device {
  return {
    write: async (_what, parts, land, bytes) => {
      await sync(bytes);
      land(parts);
    },
    touch: () => Promise.resolve(),
  };
}

/** What a disk holds: it outlives the MemoryLogStore opened on it. Faults are put in by the test that owns it. */
export class MemoryDisk {
  identity: StoreIdentity | null = null;
  /** In writing order: the n-th record has number n. */
  records: AcceptorRecord[] = [];
  repaired = new Map<InstanceId, Entry>();
  meta = new Map<string, string>();
  base: LogBase | null = null;
  /** Everything up to here was deleted; the records stay in the list, as their numbers are their places, but say nothing. */
  reclaimed = 0;
  /** Unsynced. */
  saved: SavedState | null = null;
  /** What a power cut leaves of it, if the store's owner makes any. */
  checkpoint: SavedState | null = null;
  samples = new Map<InstanceId, Sample>();
  /** Instances whose record no longer reads well. */
  damaged = new Set<InstanceId>();
  /** Those of them of which not even the ballot does. */
  unreadable = new Set<InstanceId>();
  amnesia: string | null = null;
  /** The open store, if any. */
  holder: MemoryLogStore | null = null;

  /** A power cut: what was not synced is gone. The open store is dead. */
  powerCut(): void {
    this.holder?.crash();
    this.saved = this.checkpoint;
    this.samples.clear();
  }

  /** Another acceptor takes the place of one that forgot. */
  forget(storeId: string, reason: string): void {
    invariant(this.holder === null, 'forget of an open store');
    const { identity } = this;
    invariant(identity !== null, 'forget of no store');
    this.identity = { ...identity, storeId };
    this.records = [];
    this.repaired.clear();
    this.meta = new Map([['amnesiac', reason]]);
    this.base = null;
    this.reclaimed = 0;
    this.saved = null;
    this.checkpoint = null;
    this.samples.clear();
    this.damaged.clear();
    this.unreadable.clear();
    this.amnesia = null;
  }
}

/** The LogStore contract in memory, plain and slow on purpose: for tests, and the simulator's disk. */
export class MemoryLogStore implements LogStore {
  readonly #disk: MemoryDisk;
  readonly #device: Device;
  readonly #purgeMargin: number;
  readonly #entries = new Map<InstanceId, Entry>();
  #durableSeq: number;
  #bytes = 0;
  #writing = false;
  #closed = false;
  #crashed = false;
  #failed = false;

  private constructor(disk: MemoryDisk, device: Device, purgeMargin: number) {
    this.#disk = disk;
    this.#device = device;
    this.#purgeMargin = purgeMargin;
    this.#durableSeq = disk.records.length;
    for (const record of disk.records) {
      if (record.kind === 'accepted') this.#put(record.entry);
    }
  }

  static open(options: MemoryStoreOptions): Promise<{ store: MemoryLogStore; report: OpenReport }> {
    const { disk, cluster, node, storeId, clockWall } = options;
    return Promise.resolve().then(() => {
      if (disk.holder !== null) throw new PhxError('DIR_IN_USE', 'open store: the disk has an open store');
      disk.identity ??= { cluster, node, storeId, createdWallMs: clockWall() };
      const identity = disk.identity;
      if (identity.cluster !== cluster || identity.node !== node) {
        throw new PhxError('DIR_FOREIGN', `open store: it belongs to node ${identity.node} of ${identity.cluster}`);
      }
      const device = options.device ?? plainDevice(options.sync ?? (() => Promise.resolve()));
      const store = new MemoryLogStore(disk, device, options.purgeMargin ?? PURGE_MARGIN);
      disk.holder = store;
      const applied = store.#applied;
      const appliedIndex = applied?.appliedIndex ?? 0;
      const bad = [...disk.damaged].find((instance) => instance > appliedIndex && store.#entries.has(instance));
      if (bad !== undefined) disk.amnesia ??= `the acceptor record of instance ${bad} is damaged`;
      const report: OpenReport = {
        identity,
        empty: disk.records.length === 0 && disk.base === null && disk.amnesia === null,
        promised: disk.records.reduce<Ballot>((max, r) => Math.max(max, ballotOf(r)) as Ballot, NO_BALLOT),
        durableSeq: store.#durableSeq,
        tail: [...store.#entries.values()]
          .filter((entry) => entry.instance > appliedIndex)
          .sort((a, b) => a.instance - b.instance),
        applied,
        amnesia: disk.amnesia,
      };
      return { store, report };
    });
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }

  async write(records: readonly AcceptorRecord[]): Promise<number> {
    invariant(!this.#writing, 'two writes to the log store at a time');
    this.#assertVoting();
    this.#writing = true;
    try {
      const copies = records.map(copyRecord);
      const land = (from: number, to: number): void => {
        for (const record of copies.slice(from, to)) {
          this.#disk.records.push(record);
          if (record.kind === 'accepted') this.#put(record.entry);
        }
      };
      const bytes = copies.reduce((sum, each) => sum + (each.kind === 'accepted' ? each.entry.value.length : 0), 0);
      await this.#write('acceptor records', copies.length, land, bytes);
      this.#durableSeq = this.#disk.records.length;
      return this.#durableSeq;
    } finally {
      this.#writing = false;
    }
  }

  async read(from: InstanceId, maxBytes: number): Promise<readonly Entry[]> {
    invariant(from >= 1, `log read from instance ${from}`);
    this.#assertUsable();
    await this.#device.touch('log');
    this.#assertUsable();
    if (from < firstRetained(this.base)) {
      throw new PhxError('PURGED', `read instance ${from}: purged, the log begins at ${firstRetained(this.base)}`);
    }
    const found: Entry[] = [];
    let bytes = 0;
    for (let i: number = from; ; i += 1) {
      const instance = i as InstanceId;
      const written = this.#entries.get(instance);
      const damaged = this.#disk.damaged.has(instance);
      const entry = damaged ? this.#disk.repaired.get(instance) : written;
      if (entry === undefined && written !== undefined && found.length === 0) {
        throw new PhxError('STORE_CORRUPT', `read instance ${from}: its record is missing or damaged`);
      }
      if (entry === undefined) return found;
      bytes += entry.value.length;
      if (found.length > 0 && bytes > maxBytes) return found;
      found.push(entry);
    }
  }

  async remains(instance: InstanceId): Promise<Remains | null> {
    this.#assertUsable();
    await this.#device.touch('log');
    this.#assertUsable();
    const entry = this.#entries.get(instance);
    if (entry === undefined || this.#disk.unreadable.has(instance)) return null;
    return { ballot: entry.ballot, fits: (value) => Buffer.compare(value, entry.value) === 0 };
  }

  async repair(entry: Entry): Promise<void> {
    this.#assertVoting();
    const copy = { ...entry, ballot: CHOSEN_BALLOT, value: new Uint8Array(entry.value) };
    await this.#write('repaired value', 1, () => this.#disk.repaired.set(entry.instance, copy));
  }

  async saveState(state: SavedState, samples: readonly Sample[]): Promise<void> {
    this.#assertVoting();
    await this.#device.touch('applied state');
    this.#assertUsable();
    const before = this.#applied?.appliedIndex ?? 0;
    for (let i = before + 1; i <= state.appliedIndex; i += 1) {
      invariant(
        this.#entries.has(i as InstanceId),
        `state saved at ${state.appliedIndex}, but ${i} is not in the store`,
      );
    }
    if (state.appliedIndex >= before) this.#disk.saved = state;
    for (const sample of samples) this.#disk.samples.set(sample.instance, sample);
  }

  async sampleAtOrBelow(instance: InstanceId): Promise<Sample | null> {
    this.#assertUsable();
    await this.#device.touch('samples');
    this.#assertUsable();
    let best: Sample | null = null;
    for (const sample of this.#disk.samples.values()) {
      if (sample.instance <= instance && (best === null || sample.instance > best.instance)) best = sample;
    }
    return best;
  }

  async getMeta(key: string): Promise<string | null> {
    this.#assertUsable();
    return this.#disk.meta.get(key) ?? null;
  }

  async putMeta(key: string, value: string): Promise<void> {
    this.#assertVoting();
    await this.#write(key, 1, () => this.#disk.meta.set(key, value));
  }

  get base(): LogBase | null {
    return this.#disk.base;
  }

  async purge(base: LogBase): Promise<void> {
    this.#assertVoting();
    const saved = this.#applied?.appliedIndex ?? 0;
    invariant(
      base.appliedIndex + this.#purgeMargin <= saved,
      `purge up to ${base.appliedIndex}, but the saved state is of ${saved}`,
    );
    await this.#write('base', 1, () => {
      if (base.appliedIndex >= firstRetained(this.base)) this.#disk.base = base;
    });
  }

  async install(base: LogBase): Promise<void> {
    this.#assertVoting();
    await this.#write('base', 1, () => {
      if (base.appliedIndex <= (this.#applied?.appliedIndex ?? 0)) return;
      this.#disk.base = base;
      this.#disk.saved = { appliedIndex: base.appliedIndex, json: base.json };
    });
  }

  async reclaim(): Promise<boolean> {
    this.#assertVoting();
    await this.#device.touch('purged slice');
    this.#assertUsable();
    const disk = this.#disk;
    const first = firstRetained(this.base);
    const upTo = Math.min(first - 1, disk.reclaimed + SLICE_INSTANCES);
    for (; disk.reclaimed < upTo; disk.reclaimed += 1) {
      const entry = this.#entries.get((disk.reclaimed + 1) as InstanceId);
      if (entry === undefined) continue;
      this.#entries.delete(entry.instance);
      this.#bytes -= entry.value.length;
    }
    for (const instance of disk.samples.keys()) if (instance < first) disk.samples.delete(instance);
    return disk.reclaimed < first - 1;
  }

  async bytesFrom(from: InstanceId): Promise<number> {
    this.#assertUsable();
    if (from <= this.#disk.reclaimed + 1) return this.#bytes;
    let bytes = 0;
    for (const { instance, value } of this.#entries.values()) if (instance >= from) bytes += value.length;
    return bytes;
  }

  async markForgotten(reason: string): Promise<void> {
    this.#disk.amnesia ??= reason;
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#disk.holder === this) this.#disk.holder = null;
  }

  /** The process dies: a write under way never ends and leaves nothing behind; the disk is free again. */
  crash(): void {
    this.#crashed = true;
    if (this.#disk.holder === this) this.#disk.holder = null;
  }

  /** The newest saved state there is: the base is one, and never lost. */
  get #applied(): SavedState | null {
    const { base, saved } = this.#disk;
    if (base === null || (saved !== null && saved.appliedIndex >= base.appliedIndex)) return saved;
    return { appliedIndex: base.appliedIndex, json: base.json };
  }

  #put(entry: Entry): void {
    if (entry.instance <= this.#disk.reclaimed) return;
    this.#bytes += entry.value.length - (this.#entries.get(entry.instance)?.value.length ?? 0);
    this.#entries.set(entry.instance, entry);
  }

  /** `land` puts the parts from..to on the disk. */
  async #write(what: string, parts: number, land: (from: number, to: number) => void, bytes = 0): Promise<void> {
    let landed = 0;
    try {
      const landUpTo = (upTo: number): void => {
        if (this.#crashed || upTo <= landed) return;
        land(landed, upTo);
        landed = upTo;
      };
      await this.#device.write(what, parts, landUpTo, bytes);
    } catch (error) {
      this.#failed = true;
      throw error;
    }
    if (this.#crashed) throw new PhxError('STORE_IO', `write ${what}: the process crashed`);
    invariant(landed === parts, `device: ${landed} of ${parts} parts landed`);
  }

  #assertUsable(): void {
    invariant(!this.#closed, 'log store used after close');
    if (this.#crashed) throw new PhxError('STORE_IO', 'use store: the process crashed');
    if (this.#failed) throw new PhxError('STORE_IO', 'use store: an earlier write failed');
  }

  #assertVoting(): void {
    this.#assertUsable();
    if (this.#disk.amnesia !== null) throw new PhxError('AMNESIA', `use store: ${this.#disk.amnesia}`);
  }
}

/** To accept is to promise; a value learned as chosen promises nothing. */
function ballotOf(record: AcceptorRecord): Ballot {
  if (record.kind === 'promised') return record.ballot;
  return record.entry.ballot === CHOSEN_BALLOT ? NO_BALLOT : record.entry.ballot;
}

/** A disk does not change when its writer reuses a buffer. */
function copyRecord(record: AcceptorRecord): AcceptorRecord {
  return record.kind === 'promised'
    ? record
    : { kind: 'accepted', entry: { ...record.entry, value: new Uint8Array(record.entry.value) } };
}
