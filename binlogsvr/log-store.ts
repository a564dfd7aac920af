import { type Ballot, type InstanceId, instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import type { Logger } from '../base/ports.ts';
import { type AcceptorRecord, CHOSEN_BALLOT, type Entry } from './paxos/types.ts';
import { planOps } from './store-checkpoint.ts';
import { type BatchOp, causeOf, type Database, faultOf, storeIo } from './store-database.ts';
import type { CheckpointPlan, Ledger } from './store-ledger.ts';
import {
  acceptorPath,
  amnesiaError,
  markAmnesia,
  openAcceptor,
  refuseDamagedTables,
  replaceAcceptor,
  type StoreOptions,
  statePath,
  verifyAcceptor,
} from './store-open.ts';
import {
  type LogBase,
  type LogStore,
  type OpenReport,
  PURGE_MARGIN,
  type Remains,
  type Sample,
  type SavedState,
  type StoreIdentity,
} from './store-port.ts';
import { Reclaimer } from './store-reclaimer.ts';
import {
  ballotIn,
  checkEntry,
  decodeLogKey,
  decodeSegment,
  encodeEntry,
  encodeIdentity,
  encodeJournal,
  encodeLogKey,
  IDENTITY_KEY,
  isSlotOf,
  type JournalRecord,
  RECORD_CLASS,
  SEGMENT_INSTANCES,
  type Slot,
  STORE_FORMAT,
  slotOf,
} from './store-records.ts';
import { StateDatabase } from './store-state.ts';

/** Entries per read, whatever `maxBytes` says. */
const READ_ENTRIES_MAX = 4096;
const READ_CHUNK_BYTES = 4 * 1024 * 1024;
/** Segments kept decoded. */
const SEGMENT_CACHE_MAX = 128;
/** All facts of putMeta together: every checkpoint repeats them. */
export const META_BYTES_MAX = 256 * 1024;

type Wanted = Readonly<{ instance: InstanceId; slot: Slot | null }>;
type Noted = () => void;

/**
 * The LogStore on two LevelDB databases: DIR/acceptor, every write synced and every record accounted for, and DIR/state,
 * unsynced and rebuildable. The layout and what damage does to it are told in store-records.ts.
 *
 * The hot path is one batch with one key per accepted value, and one fsync. Now and then a checkpoint rides along.
 */
export class LevelDbLogStore implements LogStore {
  readonly #dir: string;
  readonly #log: Logger;
  readonly #db: Database;
  readonly #state: StateDatabase;
  readonly #ledger: Ledger;
  readonly #segments = new Map<number, readonly Slot[]>();
  /** Synced writes one after the other; each takes its numbers when its turn comes. */
  #queue: Promise<unknown> = Promise.resolve();
  #writing = false;
  /** Why nothing more is answered. */
  #refusal: PhxError | null = null;
  #amnesia: string | null;
  readonly #identity: StoreIdentity;
  #format: number;
  readonly #reclaimer: Reclaimer;
  #closing: Promise<void> | undefined;

  private constructor(
    dir: string,
    log: Logger,
    { db, identity, format }: Readonly<{ db: Database; identity: StoreIdentity; format: number }>,
    state: StateDatabase,
    ledger: Ledger,
    amnesia: string | null,
  ) {
    this.#identity = identity;
    this.#format = format;
    this.#reclaimer = new Reclaimer(db, (last) => this.#segment(last));
    this.#dir = dir;
    this.#log = log;
    this.#db = db;
    this.#state = state;
    this.#ledger = ledger;
    this.#amnesia = amnesia;
  }

  /**
   * Errors: DIR_IN_USE, DIR_FOREIGN, STORE_FORMAT, STORE_IO; AMNESIA if the database is damaged beyond opening. Damage that
   * still lets it open is told in `report.amnesia`; then only reads work. `forget` is the way out of both.
   */
  static async open(options: StoreOptions): Promise<{ store: LevelDbLogStore; report: OpenReport }> {
    const { dir, log } = options;
    if (options.suspect === true) await refuseDamagedTables(options);
    const acceptor = await openAcceptor(options);
    const { db, identity } = acceptor;
    let state: StateDatabase | null = null;
    try {
      state = await StateDatabase.open(statePath(dir), identity.storeId, log);
      const hint = await state.durableSeq();
      const { ledger, tail, amnesia } = await verifyAcceptor(db, dir, await state.applied(), hint);
      const store = new LevelDbLogStore(dir, log, acceptor, state, ledger, amnesia);
      const report: OpenReport = {
        identity,
        empty: ledger.isEmpty && amnesia === null,
        promised: ledger.promised,
        durableSeq: ledger.durableSeq,
        tail: tail.toSorted((a, b) => a.instance - b.instance),
        applied: ledger.applied,
        amnesia,
      };
      if (amnesia !== null) {
        log.error('acceptor forgot', { dir, reason: amnesia });
        await markAmnesia(dir, amnesia, log);
      } else if (ledger.checkpointUseful) {
        await store.#exclusive(() => store.#commit([], [], ledger.planCheckpoint()));
      }
      return { store, report };
    } catch (error) {
      await state?.close();
      await db.close();
      throw error;
    }
  }

  /**
   * For a store that opens with amnesia or not at all: keeps it under another name and makes a new one, with a new store id
   * and meta `amnesiac` = `reason`. The log comes again from the peers.
   */
  static async forget(options: StoreOptions, reason: string): Promise<Readonly<{ setAside: string }>> {
    return { setAside: await replaceAcceptor(options, reason) };
  }

  get durableSeq(): number {
    return this.#ledger.durableSeq;
  }

  async write(records: readonly AcceptorRecord[]): Promise<number> {
    invariant(!this.#writing, 'two writes to the log store at a time');
    this.#writing = true;
    try {
      await this.#exclusive(() => this.#write(records));
      return this.#ledger.durableSeq;
    } finally {
      this.#writing = false;
    }
  }

  async read(from: InstanceId, maxBytes: number): Promise<readonly Entry[]> {
    invariant(from >= 1, `log read from instance ${from}`);
    this.#assertUsable();
    if (from < this.#ledger.firstRetained) {
      throw new PhxError('PURGED', `read instance ${from}: purged, the log begins at ${this.#ledger.firstRetained}`);
    }
    const wanted = await this.#wanted(from, maxBytes);
    if (wanted.length === 0) return [];
    let found: (Entry | undefined)[];
    try {
      found = await this.#scan(wanted);
    } catch (error) {
      this.#log.warn('read log range failed, reading one by one', { from, reason: causeOf(error) });
      found = await this.#readSingly(wanted);
    }
    const gap = found.indexOf(undefined);
    if (gap === 0) {
      throw new PhxError('STORE_CORRUPT', `read instance ${from}: its record is missing or damaged`, {
        hint: 'it is fetched again from a peer; check the disk',
      });
    }
    return (gap < 0 ? found : found.slice(0, gap)) as Entry[];
  }

  async remains(instance: InstanceId): Promise<Remains | null> {
    this.#assertUsable();
    const slot = this.#ledger.slot(instance) ?? (await this.#sealedSlot(instance));
    if (slot === null) return null;
    const key = encodeLogKey(instance, RECORD_CLASS.entry, slot.seq);
    const record = await this.#get(key);
    const ballot = record === undefined ? null : ballotIn(record);
    return ballot === null ? null : { ballot, fits: (value) => isSlotOf(slot, key, ballot, value) };
  }

  async repair(entry: Entry): Promise<void> {
    const key = encodeLogKey(entry.instance, RECORD_CLASS.entry, 0);
    const value = encodeEntry(key, CHOSEN_BALLOT, entry.value);
    await this.#exclusive(() => this.#batch([{ type: 'put', key, value }]));
  }

  async saveState(state: SavedState, samples: readonly Sample[]): Promise<void> {
    this.#assertUsable();
    this.#assertVoting();
    const missing = this.#ledger.noteApplied(state);
    invariant(missing === null, `state saved at ${state.appliedIndex}, but instance ${missing} is not in the store`);
    try {
      await this.#state.save(state, samples, this.#ledger.durableSeq);
    } catch (error) {
      throw await this.#refuse('save state', error);
    }
  }

  get base(): LogBase | null {
    return this.#ledger.base;
  }

  async purge(base: LogBase): Promise<void> {
    await this.#exclusive(async () => {
      if (base.appliedIndex < this.#ledger.firstRetained) return;
      const saved = this.#ledger.appliedIndex;
      invariant(
        base.appliedIndex + PURGE_MARGIN <= saved,
        `purge up to ${base.appliedIndex}, but the saved state is of ${saved}`,
      );
      await this.#commitBase(this.#ledger.planCheckpoint(base));
    });
  }

  async install(base: LogBase): Promise<void> {
    await this.#exclusive(async () => {
      if (base.appliedIndex <= this.#ledger.appliedIndex) return;
      await this.#commitBase(this.#ledger.planInstall(base));
      this.#segments.clear();
    });
  }

  async reclaim(): Promise<boolean> {
    this.#assertUsable();
    this.#assertVoting();
    const { firstRetained, sealed } = this.#ledger;
    try {
      await this.#state.dropSamplesBelow(firstRetained);
      // The newest checkpoint lies at `sealed`, and after a snapshot below the first retained instance.
      return await this.#reclaimer.slice(Math.min(firstRetained, sealed));
    } catch (error) {
      throw await this.#refuse('delete purged records', error);
    }
  }

  async bytesFrom(from: InstanceId): Promise<number> {
    this.#assertUsable();
    const start = encodeLogKey(Math.max(from, this.#ledger.firstRetained), RECORD_CLASS.entry, 0);
    try {
      return await this.#db.approximateSize(start, encodeLogKey(Number.MAX_SAFE_INTEGER, RECORD_CLASS.checkpoint, 0));
    } catch (error) {
      throw storeIo('measure log', error);
    }
  }

  async markForgotten(reason: string): Promise<void> {
    this.#amnesia ??= reason;
    await markAmnesia(this.#dir, this.#amnesia, this.#log);
  }

  async sampleAtOrBelow(instance: InstanceId): Promise<Sample | null> {
    this.#assertUsable();
    return this.#state.sampleAtOrBelow(instance);
  }

  async getMeta(key: string): Promise<string | null> {
    this.#assertUsable();
    return this.#ledger.meta.get(key) ?? null;
  }

  async putMeta(key: string, value: string): Promise<void> {
    await this.#exclusive(async () => {
      let bytes = key.length + value.length;
      for (const [name, fact] of this.#ledger.meta) if (name !== key) bytes += name.length + fact.length;
      if (bytes > META_BYTES_MAX) {
        throw new PhxError(
          'TOO_LARGE',
          `store fact ${key}: facts may have ${META_BYTES_MAX} bytes in all, not ${bytes}`,
        );
      }
      const [op, noted] = this.#journalOp(this.#ledger.durableSeq + 1, { kind: 'meta', key, value });
      await this.#commit([op], [noted], this.#ledger.checkpointDue ? this.#ledger.planCheckpoint() : null);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#queue;
    await this.#reclaimer.idle;
    try {
      await this.#state.close();
    } finally {
      await this.#db.close();
    }
  }

  async #write(records: readonly AcceptorRecord[]): Promise<void> {
    const plan = this.#ledger.checkpointDue ? this.#ledger.planCheckpoint() : null;
    const settled = plan === null ? this.#ledger.settled : Math.max(plan.checkpoint.sealed, this.#ledger.settled);
    const ops: BatchOp[] = [];
    const noted: Noted[] = [];
    let seq = this.#ledger.durableSeq;
    const promise = (ballot: Ballot): void => {
      seq += 1;
      const [op, note] = this.#journalOp(seq, { kind: 'promised', ballot });
      ops.push(op);
      noted.push(note);
    };
    for (const record of records) {
      if (record.kind === 'promised') {
        promise(record.ballot);
        continue;
      }
      const { instance, ballot, value } = record.entry;
      if (instance <= settled) {
        // Chosen and final: no other value can follow. Of this record only the promise in it is news.
        if (ballot !== CHOSEN_BALLOT) promise(ballot);
        continue;
      }
      seq += 1;
      const key = encodeLogKey(instance, RECORD_CLASS.entry, seq);
      const encoded = encodeEntry(key, ballot, value);
      const slot = slotOf(seq, encoded);
      ops.push({ type: 'put', key, value: encoded });
      noted.push(() => this.#ledger.noteEntry(instance, ballot, slot));
    }
    await this.#commit(ops, noted, plan);
  }

  /** A checkpoint with another base. */
  async #commitBase(plan: CheckpointPlan): Promise<void> {
    const upgrade: BatchOp[] =
      this.#format === STORE_FORMAT
        ? []
        : [{ type: 'put', key: IDENTITY_KEY, value: encodeIdentity(this.#identity, STORE_FORMAT) }];
    await this.#commit(upgrade, [], plan);
    this.#format = STORE_FORMAT;
  }

  /** Writes and syncs; the ledger hears of it afterwards, so that readers never look for what is not there yet. */
  async #commit(ops: readonly BatchOp[], noted: readonly Noted[], plan: CheckpointPlan | null): Promise<void> {
    const batch = plan === null ? [...ops] : [...ops, ...planOps(plan)];
    if (batch.length === 0) return;
    await this.#batch(batch);
    if (plan !== null) this.#ledger.noteCheckpoint(plan);
    for (const note of noted) note();
    this.#state.noteDurable(this.#ledger.durableSeq);
  }

  async #batch(ops: BatchOp[]): Promise<void> {
    try {
      await this.#db.batch(ops, { sync: true });
    } catch (error) {
      throw await this.#refuse('write acceptor records', error);
    }
  }

  #journalOp(seq: number, record: JournalRecord): [BatchOp, Noted] {
    const position = this.#ledger.journalPosition;
    const key = encodeLogKey(position, RECORD_CLASS.journal, seq);
    const op: BatchOp = { type: 'put', key, value: encodeJournal(key, record) };
    return [op, () => this.#ledger.noteJournal(position, seq, record)];
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(() => {
      this.#assertUsable();
      this.#assertVoting();
      return work();
    });
    this.#queue = done.catch(() => {});
    return done;
  }

  /** After a failed write nobody knows what is on disk: only a restart, which reads it, may go on. */
  async #refuse(what: string, error: unknown): Promise<PhxError> {
    if (faultOf(error) === 'corrupt' && this.#refusal === null) {
      this.#amnesia = `LevelDB: ${causeOf(error)}`;
      await markAmnesia(this.#dir, this.#amnesia, this.#log);
    }
    this.#refusal ??= storeIo(what, error);
    return this.#refusal;
  }

  #assertUsable(): void {
    invariant(this.#closing === undefined, 'log store used after close');
    if (this.#refusal !== null) throw this.#refusal;
  }

  #assertVoting(): void {
    if (this.#amnesia !== null) throw amnesiaError(acceptorPath(this.#dir), this.#amnesia);
  }

  /** What to look for: from `from` on as far as it is there, within `maxBytes`. A null slot: its segment is lost. */
  async #wanted(from: InstanceId, maxBytes: number): Promise<Wanted[]> {
    const wanted: Wanted[] = [];
    let bytes = 0;
    for (let i = from; wanted.length < READ_ENTRIES_MAX; i = instanceId(i + 1)) {
      let slot: Slot | null | undefined = this.#ledger.slot(i);
      if (slot === undefined && i <= this.#ledger.sealed) slot = await this.#sealedSlot(i);
      if (slot === undefined || (slot === null && wanted.length > 0)) break;
      bytes += slot?.length ?? 0;
      if (wanted.length > 0 && bytes > maxBytes) break;
      wanted.push({ instance: i, slot });
      if (slot === null) break;
    }
    return wanted;
  }

  async #sealedSlot(instance: InstanceId): Promise<Slot | null> {
    const last = Math.ceil(instance / SEGMENT_INSTANCES) * SEGMENT_INSTANCES;
    let slots = this.#segments.get(last);
    if (slots === undefined) {
      const decoded = await this.#segment(last);
      if (decoded === null) return null;
      slots = decoded;
      const oldest = this.#segments.keys().next();
      if (this.#segments.size >= SEGMENT_CACHE_MAX && oldest.done !== true) this.#segments.delete(oldest.value);
      this.#segments.set(last, slots);
    }
    return slots[SEGMENT_INSTANCES - 1 - (last - instance)] ?? null;
  }

  async #segment(last: number): Promise<readonly Slot[] | null> {
    const key = encodeLogKey(last, RECORD_CLASS.segment, 0);
    const record = await this.#get(key);
    return record === undefined ? null : decodeSegment(key, record);
  }

  async #scan(wanted: readonly Wanted[]): Promise<(Entry | undefined)[]> {
    const first = (wanted[0] as Wanted).instance;
    const found = new Array<Entry | undefined>(wanted.length).fill(undefined);
    const iterator = this.#db.iterator({
      gte: encodeLogKey(first, RECORD_CLASS.entry, 0),
      lt: encodeLogKey(first + wanted.length - 1, RECORD_CLASS.journal, 0),
      highWaterMarkBytes: READ_CHUNK_BYTES,
    });
    try {
      for (;;) {
        const chunk = await iterator.nextv(READ_ENTRIES_MAX);
        if (chunk.length === 0) return found;
        for (const [key, record] of chunk) {
          const at = decodeLogKey(key);
          if (at?.recordClass !== RECORD_CLASS.entry) continue;
          const index = at.position - first;
          const { instance, slot } = wanted[index] as Wanted;
          // Keys ascend, so what was fetched again (number 0) comes first and the record itself, if sound, replaces it.
          const entry = checkEntry(instance, slot, key, record);
          if (entry !== null) found[index] = entry;
        }
      }
    } finally {
      await iterator.close();
    }
  }

  /** The way around a table LevelDB itself finds damaged. */
  async #readSingly(wanted: readonly Wanted[]): Promise<(Entry | undefined)[]> {
    const found: (Entry | undefined)[] = [];
    for (const { instance, slot } of wanted) {
      let entry: Entry | null = null;
      for (const seq of slot === null ? [0] : [slot.seq, 0]) {
        const key = encodeLogKey(instance, RECORD_CLASS.entry, seq);
        const record = await this.#get(key);
        if (record !== undefined) entry ??= checkEntry(instance, slot, key, record);
      }
      found.push(entry ?? undefined);
      if (entry === null) break;
    }
    return found;
  }

  async #get(key: Buffer): Promise<Uint8Array | undefined> {
    try {
      return await this.#db.get(key);
    } catch (error) {
      if (faultOf(error) === 'io') throw storeIo('read log', error);
      return undefined;
    }
  }
}
