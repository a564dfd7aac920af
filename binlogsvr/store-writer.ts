import type { Clock } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import { afterBatch, FLIGHT_START, type FlightBound } from './flight-bound.ts';
import type { AcceptorRecord, Envelope } from './paxos/types.ts';
import type { LogStore } from './store-port.ts';

/**
 * Group fsync: one synced write at a time carries everything that waits. What rests on a write leaves when it is done.
 *
 *   add ──► pending ──(nothing under way)──► store.write ──► done(after, count) ──► pending again ...
 *
 * The queue is bounded by the core's windows: it hands out no record beyond them.
 */
export class StoreWriter {
  readonly #store: LogStore;
  readonly #done: (after: readonly Envelope[], upTo: number) => void;
  readonly #failed: (error: unknown) => void;
  readonly #clock: Clock;
  readonly #flight: (bytesMax: number) => void;
  #bound: FlightBound = FLIGHT_START;
  #records: AcceptorRecord[] = [];
  #after: Envelope[] = [];
  #written = 0;
  #used = false;
  #running: Promise<void> | null = null;
  #stopped = false;

  constructor(
    store: LogStore,
    done: (after: readonly Envelope[], upTo: number) => void,
    failed: (error: unknown) => void,
    clock: Clock,
    /** So many bytes of bulk may be under way from now on. */
    flight: (bytesMax: number) => void,
  ) {
    this.#store = store;
    this.#done = done;
    this.#failed = failed;
    this.#clock = clock;
    this.#flight = flight;
  }

  /** A record was handed to the store since the start. */
  get used(): boolean {
    return this.#used;
  }

  add(records: readonly AcceptorRecord[], after: readonly Envelope[]): void {
    if (this.#stopped || (records.length === 0 && after.length === 0)) return;
    if (records.length > 0) this.#used = true;
    for (const record of records) this.#records.push(record);
    for (const envelope of after) this.#after.push(envelope);
    this.#running ??= this.#run();
  }

  /** Waits for the write under way; what was added after it is dropped, as after a crash. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    // One microtask's grace: the messages of one frame are stepped in one go and share a write.
    await null;
    while ((this.#records.length > 0 || this.#after.length > 0) && !this.#stopped) {
      const records = this.#records;
      const after = this.#after;
      this.#records = [];
      this.#after = [];
      if (records.length > 0) {
        try {
          const began = this.#clock.now();
          const write = this.#store.write(records);
          if (!ruleHolds('ack-after-fsync')) this.#done(after.splice(0), this.#written + records.length);
          await write;
          this.#measured(records, this.#clock.now() - began);
        } catch (error) {
          this.#stopped = true;
          this.#failed(error);
          break;
        }
        this.#written += records.length;
      }
      this.#done(after, this.#written);
    }
    this.#running = null;
  }
  #measured(records: readonly AcceptorRecord[], ms: number): void {
    let bytes = 0;
    for (const record of records) if (record.kind === 'accepted') bytes += record.entry.value.length;
    const before = this.#bound.bytesMax;
    this.#bound = afterBatch(this.#bound, { bytes, ms });
    if (this.#bound.bytesMax !== before) this.#flight(this.#bound.bytesMax);
  }
}
