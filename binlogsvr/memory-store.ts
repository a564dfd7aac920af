import { type Ballot, type InstanceId, NO_BALLOT, type NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import { type AcceptorRecord, CHOSEN_BALLOT, type Entry } from './paxos/types.ts';
import type { LogStore, OpenReport, Sample, SavedState, StoreIdentity } from './store-port.ts';

export type MemoryStoreOptions = Readonly<{
  disk: MemoryDisk;
  cluster: string;
  node: NodeId;
  /** For a new store; unique per store made. */
  storeId: string;
  clockWall: () => number;
  /** How long an fsync takes: the write is durable when this resolves. Default: at once. */
  sync?: () => Promise<void>;
}>;

/** What a disk holds: it outlives the MemoryLogStore opened on it. Faults are put in by the test that owns it. */
export class MemoryDisk {
  identity: StoreIdentity | null = null;
  /** In writing order: the n-th record has number n. */
  records: AcceptorRecord[] = [];
  repaired = new Map<InstanceId, Entry>();
  meta = new Map<string, string>();
  /** Unsynced. */
  saved: SavedState | null = null;
  samples = new Map<InstanceId, Sample>();
  /** Instances whose record no longer reads well. */
  damaged = new Set<InstanceId>();
  amnesia: string | null = null;
  /** The open store, if any. */
  holder: MemoryLogStore | null = null;

  /** A power cut: what was not synced is gone. The open store is dead. */
  powerCut(): void {
    this.holder?.crash();
    this.saved = null;
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
    this.saved = null;
    this.samples.clear();
    this.damaged.clear();
    this.amnesia = null;
  }
}

/** The LogStore contract in memory, plain and slow on purpose: for tests, and the simulator's disk. */
export class MemoryLogStore implements LogStore {
  readonly #disk: MemoryDisk;
  readonly #sync: () => Promise<void>;
  readonly #entries = new Map<InstanceId, Entry>();
  #durableSeq: number;
  #writing = false;
  #closed = false;
  #crashed = false;

  private constructor(disk: MemoryDisk, sync: () => Promise<void>) {
    this.#disk = disk;
    this.#sync = sync;
    this.#durableSeq = disk.records.length;
    for (const record of disk.records) {
      if (record.kind === 'accepted') this.#entries.set(record.entry.instance, record.entry);
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
      const store = new MemoryLogStore(disk, options.sync ?? (() => Promise.resolve()));
      disk.holder = store;
      const appliedIndex = disk.saved?.appliedIndex ?? 0;
      const report: OpenReport = {
        identity,
        empty: disk.records.length === 0 && disk.amnesia === null,
        promised: disk.records.reduce<Ballot>((max, r) => Math.max(max, ballotOf(r)) as Ballot, NO_BALLOT),
        durableSeq: store.#durableSeq,
        tail: [...store.#entries.values()]
          .filter((entry) => entry.instance > appliedIndex)
          .sort((a, b) => a.instance - b.instance),
        applied: disk.saved,
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
      await this.#syncOrDie();
      for (const record of copies) {
        this.#disk.records.push(record);
        if (record.kind === 'accepted') this.#entries.set(record.entry.instance, record.entry);
      }
      this.#durableSeq = this.#disk.records.length;
      return this.#durableSeq;
    } finally {
      this.#writing = false;
    }
  }

  async read(from: InstanceId, maxBytes: number): Promise<readonly Entry[]> {
    invariant(from >= 1, `log read from instance ${from}`);
    this.#assertUsable();
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

  async repair(entry: Entry): Promise<void> {
    this.#assertVoting();
    const copy = { ...entry, ballot: CHOSEN_BALLOT, value: new Uint8Array(entry.value) };
    await this.#syncOrDie();
    this.#disk.repaired.set(entry.instance, copy);
  }

  async saveState(state: SavedState, samples: readonly Sample[]): Promise<void> {
    this.#assertVoting();
    for (let i = (this.#disk.saved?.appliedIndex ?? 0) + 1; i <= state.appliedIndex; i += 1) {
      invariant(
        this.#entries.has(i as InstanceId),
        `state saved at ${state.appliedIndex}, but ${i} is not in the store`,
      );
    }
    this.#disk.saved = state;
    for (const sample of samples) this.#disk.samples.set(sample.instance, sample);
  }

  async sampleAtOrBelow(instance: InstanceId): Promise<Sample | null> {
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
    await this.#syncOrDie();
    this.#disk.meta.set(key, value);
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

  async #syncOrDie(): Promise<void> {
    await this.#sync();
    if (this.#crashed) throw new PhxError('STORE_IO', 'write acceptor records: the process crashed');
  }

  #assertUsable(): void {
    invariant(!this.#closed, 'log store used after close');
    if (this.#crashed) throw new PhxError('STORE_IO', 'use store: the process crashed');
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
