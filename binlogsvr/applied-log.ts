import { type InstanceId, instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { Entry } from './paxos/types.ts';
import { initialState, stateFromJson } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore } from './store-port.ts';
import { decodeValue } from './value-codec.ts';
import type { LogValue } from './values.ts';

/** Recent applied values kept decoded: what replicas that keep up and lagging peers ask for. */
export const CACHE_BYTES_MAX = 32 * 1024 * 1024;

export type LogFile = NonNullable<ReplicatedState['file']>;
export type LogEntry = Readonly<{ instance: InstanceId; value: LogValue }>;
type Cached = Readonly<{ entry: Entry; value: LogValue }>;

/** The applied part of the log, read from memory where it is recent and from the store otherwise. */
export class AppliedLog {
  readonly #store: LogStore;
  /** Gets a value whose checksum was bad from a peer, and puts it right in the store. */
  readonly #repair: (instance: InstanceId) => Promise<void>;
  /** Contiguous; `#first` is the instance of `#cached[#head]`. */
  #cached: Cached[] = [];
  #head = 0;
  #first: number;
  #bytes = 0;
  /** Parsed once. */
  #purged: Readonly<{ of: object; set: GtidSet }> | null = null;

  constructor(store: LogStore, appliedIndex: InstanceId, repair: (instance: InstanceId) => Promise<void>) {
    this.#store = store;
    this.#first = appliedIndex + 1;
    this.#repair = repair;
  }

  push(entry: Entry, value: LogValue): void {
    invariant(entry.instance === this.#first + this.#cached.length - this.#head, 'applied log has a gap');
    this.#cached.push({ entry, value });
    this.#bytes += entry.value.length;
    while (this.#bytes > CACHE_BYTES_MAX && this.#cached.length - this.#head > 1) {
      this.#bytes -= (this.#cached[this.#head] as Cached).entry.value.length;
      this.#cached[this.#head] = undefined as unknown as Cached;
      this.#head += 1;
      this.#first += 1;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#cached.length) {
      this.#cached = this.#cached.slice(this.#head);
      this.#head = 0;
    }
  }

  /** A snapshot took the place of everything up to `appliedIndex`. */
  restart(appliedIndex: InstanceId): void {
    this.#cached = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#first = appliedIndex + 1;
  }

  /** Applied values from `from`, contiguous, about `maxBytes` (at least one if there). */
  async read(from: InstanceId, appliedIndex: InstanceId, maxBytes: number): Promise<readonly LogEntry[]> {
    if (from > appliedIndex) return [];
    if (from >= this.#first) {
      return this.#fromCache(from, maxBytes).map((c) => ({ instance: c.entry.instance, value: c.value }));
    }
    const entries = await this.entries(from, appliedIndex, maxBytes);
    return entries.map((entry) => ({ instance: entry.instance, value: decodeValue(entry.value) }));
  }

  /** The same as bytes, for a peer that catches up. */
  async entries(from: InstanceId, appliedIndex: InstanceId, maxBytes: number): Promise<readonly Entry[]> {
    if (from > appliedIndex) return [];
    if (from >= this.#first) return this.#fromCache(from, maxBytes).map((c) => c.entry);
    let entries: readonly Entry[];
    try {
      entries = await this.#store.read(from, maxBytes);
    } catch (error) {
      if (!(error instanceof PhxError) || error.code !== 'STORE_CORRUPT') throw error;
      entries = await this.#readAround(from);
    }
    return entries.filter((entry) => entry.instance <= appliedIndex);
  }

  /** The bytes of one applied value; null if it is purged or has gone bad here: it is not repaired for this. */
  async intact(instance: InstanceId): Promise<Uint8Array | null> {
    if (instance >= this.#first) return this.#fromCache(instance, 1)[0]?.entry.value ?? null;
    try {
      const [entry] = await this.#store.read(instance, 1);
      return entry?.value ?? null;
    } catch (error) {
      if (error instanceof PhxError && (error.code === 'STORE_CORRUPT' || error.code === 'PURGED')) return null;
      throw error;
    }
  }

  /**
   * The newest saved state whose GTIDs all lie in `set` and that is not inside a transaction; where the log begins if none.
   * GTIDs only grow along the log, so it is found by halving.
   * @throws PhxError PURGED if the log begins with transactions outside `set` already gone
   */
  async sampleFor(set: GtidSet | null, current: ReplicatedState): Promise<Readonly<{ state: ReplicatedState }>> {
    const { base } = this.#store;
    const start = base === null ? initialState() : stateFromJson(base.json);
    if (set === null) return { state: start };
    if (current.chunk === null && current.gtidSet.isSubsetOf(set)) return { state: current };
    if (!start.gtidSet.isSubsetOf(set)) {
      const missing = start.gtidSet.subtract(set);
      throw new PhxError(
        'PURGED',
        `read log: transactions ${missing} were purged, it begins at ${start.appliedIndex + 1}`,
      );
    }
    let best: ReplicatedState | null = null;
    let low: number = start.appliedIndex + 1;
    let high: number = current.appliedIndex + 1;
    while (low <= high) {
      const middle = Math.floor((low + high) / 2);
      const sample = await this.#store.sampleAtOrBelow(instanceId(middle));
      if (sample === null || sample.instance < low) {
        low = middle + 1;
        continue;
      }
      const state = stateFromJson(sample.json);
      if (state.chunk === null && state.gtidSet.isSubsetOf(set)) {
        best = state;
        low = middle + 1;
      } else {
        high = sample.instance - 1;
      }
    }
    return { state: best ?? start };
  }

  /** GTIDs of what the log does not hold. */
  purged({ baseline }: ReplicatedState): GtidSet {
    const { base } = this.#store;
    const of = base ?? baseline;
    if (of === null) return GtidSet.EMPTY;
    if (this.#purged?.of !== of) {
      this.#purged = {
        of,
        set: base === null ? GtidSet.parse(baseline?.gtidSet ?? '') : stateFromJson(base.json).gtidSet,
      };
    }
    return this.#purged.set;
  }

  /**
   * The format description event a file of a master begins with. Of the file the log was in where it begins now, the base
   * remembers it.
   */
  async formatDescriptionOf(file: LogFile, appliedIndex: InstanceId): Promise<Uint8Array> {
    const { base } = this.#store;
    if (base !== null && file.instance <= base.appliedIndex) {
      const known = stateFromJson(base.json).file;
      if (known?.instance === file.instance) return Buffer.from(base.formatDescription, 'base64');
      throw new PhxError('PURGED', `read log: the start of file ${file.name} at ${file.instance} was purged`);
    }
    const [entry] = await this.read(file.instance, appliedIndex, 1);
    return formatDescriptionIn(entry, file);
  }

  #fromCache(from: InstanceId, maxBytes: number): Cached[] {
    const out: Cached[] = [];
    let bytes = 0;
    for (let i = this.#head + from - this.#first; i < this.#cached.length; i += 1) {
      const cached = this.#cached[i] as Cached;
      bytes += cached.entry.value.length;
      if (out.length > 0 && bytes > maxBytes) break;
      out.push(cached);
    }
    return out;
  }

  /** One of the values from `from` is bad: read one by one up to it, or repair it if it is the first. */
  async #readAround(from: InstanceId): Promise<readonly Entry[]> {
    try {
      return await this.#store.read(from, 1);
    } catch (error) {
      if (!(error instanceof PhxError) || error.code !== 'STORE_CORRUPT') throw error;
    }
    await this.#repair(from);
    return this.#store.read(from, 1);
  }
}

/** `entry`: the one at the file's start. */
export function formatDescriptionIn(entry: LogEntry | undefined, { instance, name }: LogFile): Uint8Array {
  invariant(entry?.instance === instance && entry.value.kind === 'append', `file start at ${instance} is gone`);
  const item = entry.value.items.findLast((each) => each.kind === 'file' && each.name === name);
  invariant(item?.kind === 'file', `no start of ${name} at ${instance}`);
  return item.formatDescription;
}
