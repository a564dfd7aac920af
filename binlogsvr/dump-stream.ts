import { type Epoch, type InstanceId, instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import { encodeRotate, formatDescriptionForDump, parseEventHeader } from '../mysql/binlog-event.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import { EventSplitter } from './event-splitter.ts';
import type { LogSource } from './log-source.ts';
import { COUNTED_BYTES_MIN, type RowTotals } from './row-totals.ts';
import { apply } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import type { AppendItem, AppendValue } from './values.ts';

/** Log bytes held at once by one dump. */
const READ_BYTES_MAX = 4 * 1024 * 1024;

/** Where a replica wants to begin: after what it has (GTID auto-position), or at a place in a file (older tools). */
export type DumpStart =
  | Readonly<{ kind: 'gtid'; has: GtidSet }>
  | Readonly<{ kind: 'file'; name: string; position: number }>;

export type DumpStreamOptions = Readonly<{
  serverId: number;
  /** Whether events made here carry a checksum; those of the log always do. */
  crc: boolean;
  /** Of the local mysqld's stream: how many rows it is sent. */
  totals?: RowTotals;
}>;

/** What MySQL says of a file that was purged. */
const NO_SUCH_FILE = 'Could not find first log file name in binary log index file';

/** MySQL's ER_SOURCE_HAS_PURGED_REQUIRED_GTIDS: what looks for it in a replica's status finds it. */
function purgedRequired(has: GtidSet, missing: GtidSet): string {
  return (
    'Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere, or ' +
    "provision a new replica from backup. Consider increasing the source's binary log expiration period. The GTID set sent " +
    `by the replica is '${has}', and the missing transactions are '${missing}'`
  );
}

/** Files are named by epoch, then as the master named them: with a growing number. */
function isBefore(start: Readonly<{ name: string }>, epoch: number, file: string): boolean {
  const dash = start.name.indexOf('-');
  const asked = Number(start.name.slice(0, dash));
  return asked < epoch || (asked === epoch && start.name.slice(dash + 1) < file);
}

/** Files are named the same on all nodes, so that a CDC client may move between them. */
export function dumpFileName(epoch: number, file: string): string {
  return `${epoch}-${file}`;
}

/**
 * The applied log as a binlog stream: events in order, a Rotate and the format description at every file of a master
 * (logical clocks restart there, protocol-findings 19). Only what the apply rule accepted is served: the reader runs the
 * same pure state machine over the log, from a remembered state on.
 *
 *   sample ──► scanning ──► (file | transaction | chunk) ──► events()
 *                               chunk: skipped until its last part is applied, then read again from its first
 */
export class DumpStream {
  readonly #source: LogSource;
  readonly #start: DumpStart;
  readonly #options: DumpStreamOptions;
  #state: ReplicatedState;
  /** What the replica has or was sent; a transaction in it is skipped. */
  #has: GtidSet;
  /** The file the log begins in the middle of, '' if none: what is asked for may be gone though the file is not. */
  #cutFile: string;
  #began = false;
  #file = '';
  #position = 4;

  private constructor(source: LogSource, start: DumpStart, options: DumpStreamOptions, state: ReplicatedState) {
    this.#source = source;
    this.#start = start;
    this.#options = options;
    this.#state = state;
    const { file } = state;
    this.#cutFile = start.kind === 'file' && file !== null ? dumpFileName(file.epoch, file.name) : '';
    this.#has = start.kind === 'gtid' ? start.has : GtidSet.EMPTY;
  }

  /** @throws PhxError PURGED, in MySQL's words, if the log does not reach back to where the replica is. */
  static async open(source: LogSource, start: DumpStart, options: DumpStreamOptions): Promise<DumpStream> {
    const begin = (await source.sampleFor(null)).state;
    if (start.kind === 'file') {
      const { file } = begin;
      const purged = file !== null && start.name !== '' && isBefore(start, file.epoch, file.name);
      if (purged) throw new PhxError('PURGED', NO_SUCH_FILE);
      return new DumpStream(source, start, options, begin);
    }
    const { baseline } = source.state;
    const gone = baseline === null ? begin.gtidSet : begin.gtidSet.union(GtidSet.parse(baseline.gtidSet));
    if (!gone.isSubsetOf(start.has)) throw new PhxError('PURGED', purgedRequired(start.has, gone.subtract(start.has)));
    const { state } = await source.sampleFor(start.has);
    return new DumpStream(source, start, options, state);
  }

  /** Where the stream is; what a heartbeat says. Empty name: nothing was sent yet. */
  get at(): Readonly<{ file: string; position: number }> {
    return { file: this.#file, position: this.#position };
  }

  get caughtUp(): boolean {
    return this.#state.appliedIndex >= this.#source.state.appliedIndex;
  }

  /** Waits for log beyond what was read. */
  wait(signal: AbortSignal): Promise<void> {
    return this.#source.waitApplied(this.#state.appliedIndex, signal);
  }

  /**
   * Events of what is applied now, in pieces; returns when the end of the applied log is reached. An empty piece: so far there was
   * nothing to send, between two transactions.
   */
  async *events(): AsyncGenerator<Buffer[]> {
    if (!this.#began && this.#state.file !== null && this.#fileWanted(this.#state.file.epoch, this.#state.file.name)) {
      yield this.#begin(await this.#source.formatDescriptionOf(this.#state.file), true);
    }
    while (!this.caughtUp) {
      const entries = await this.#source.readLog(instanceId(this.#state.appliedIndex + 1), READ_BYTES_MAX);
      if (entries.length === 0) return;
      for (const { instance, value } of entries) {
        const before = this.#state;
        const { state, applied } = apply(before, instance, value);
        this.#state = state;
        if (value.kind === 'append' && applied.accepted) yield* this.#append(value, before);
      }
      yield [];
    }
  }

  async *#append(value: AppendValue, before: ReplicatedState): AsyncGenerator<Buffer[]> {
    let chunk = before.chunk;
    for (const item of value.items) {
      if (item.kind === 'file') {
        const name = dumpFileName(value.epoch, item.name);
        if (this.#began || this.#fileWanted(value.epoch, item.name)) {
          this.#file = name;
          yield this.#begin(item.formatDescription, false);
        }
        continue;
      }
      if (item.first && item.last) {
        if (this.#wanted(item)) yield this.#whole(item);
        chunk = null;
      } else if (item.last) {
        invariant(chunk !== null, `last chunk of ${item.gtid} without a first`);
        if (this.#began && !this.#has.contains(item.gtid)) yield* this.#chunked(value.epoch, chunk.firstInstance, item);
        chunk = null;
      } else if (item.first) {
        chunk = { gtid: item.gtid, firstInstance: this.#state.appliedIndex, crc: 0 };
      }
    }
  }

  /** A transaction in chunks, read again from its first one: memory stays bounded whatever its size. */
  async *#chunked(epoch: Epoch, from: InstanceId, last: AppendItem & { kind: 'part' }): AsyncGenerator<Buffer[]> {
    const to = this.#state.appliedIndex;
    const splitter = new EventSplitter();
    const counter = this.#options.totals?.counter(last.gtid);
    let begun = false;
    // Refused appends lie in between (duplicates, closed epochs): an accepted one follows the accepted one before it.
    let follows: number | null = null;
    for (let next: number = from; next <= to; ) {
      const entries = await this.#source.readLog(instanceId(next), READ_BYTES_MAX);
      invariant(entries.length > 0, `log entry ${next} of an applied transaction is gone`);
      for (const { instance, value } of entries) {
        next = instance + 1;
        if (instance > to || value.kind !== 'append' || value.epoch !== epoch) continue;
        if (follows !== null && value.follows !== follows) continue;
        follows = value.follows + 1;
        for (const item of value.items) {
          if (item.kind !== 'part' || item.gtid !== last.gtid || (item.first && instance !== from)) continue;
          if (item.first && !this.#wanted(item)) return;
          begun ||= item.first;
          if (!begun) continue;
          const events = splitter.push(item.events);
          counter?.push(events);
          if (item.last) counter?.done();
          if (events.length > 0) yield this.#transaction(item.gtid, events);
          if (item.last) return;
        }
      }
    }
  }

  #whole({ gtid, events: bytes }: AppendItem & { kind: 'part' }): Buffer[] {
    const events = new EventSplitter().push(bytes);
    if (bytes.length >= COUNTED_BYTES_MIN) {
      const counter = this.#options.totals?.counter(gtid);
      counter?.push(events);
      counter?.done();
    }
    return this.#transaction(gtid, events);
  }

  #transaction(gtid: string, events: Buffer[]): Buffer[] {
    const lastEvent = events.at(-1);
    invariant(lastEvent !== undefined, `transaction ${gtid} holds no event`);
    this.#position = parseEventHeader(lastEvent, 0).logPos;
    return events;
  }

  /** Whether the transaction that begins with `part` is sent: not if the replica has it, or it lies before the asked place. */
  #wanted(part: Readonly<{ gtid: string; events: Uint8Array }>): boolean {
    if (!this.#began || this.#has.contains(part.gtid)) return false;
    if (this.#start.kind === 'gtid' || this.#start.name !== this.#file) return true;
    const { logPos, size } = parseEventHeader(
      Buffer.from(part.events.buffer, part.events.byteOffset, part.events.length),
      0,
    );
    const position = logPos - size;
    if (this.#cutFile === this.#start.name && position > this.#start.position)
      throw new PhxError('PURGED', NO_SUCH_FILE);
    this.#cutFile = '';
    return position >= this.#start.position;
  }

  /** A dump by GTID begins with whatever file the log is in; one by file waits for that file. */
  #fileWanted(epoch: number, file: string): boolean {
    const name = dumpFileName(epoch, file);
    if (this.#start.kind === 'file' && this.#start.name !== '' && this.#start.name !== name) return false;
    this.#file = name;
    return true;
  }

  #begin(formatDescription: Uint8Array, midFile: boolean): Buffer[] {
    this.#began = true;
    const description = formatDescriptionForDump(Buffer.from(formatDescription), { midFile });
    // A replica stops at a heartbeat that is behind what it was sent. Sent again in the middle of a file, the event says 0.
    this.#position = Math.max(4, parseEventHeader(description, 0).logPos);
    return [encodeRotate({ file: this.#file, position: 4, ...this.#options }), description];
  }
}
