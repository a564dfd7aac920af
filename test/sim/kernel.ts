import { reasonOf } from '../../base/errors.ts';
import { Prng } from '../../base/prng.ts';
import { EventQueue } from './event-queue.ts';

/** Events fired in one turn of the real event loop; then Ctrl-C and other seeds' messages get theirs. */
const EVENTS_PER_TURN = 20_000;
/** Looks at the clock within one event: beyond it somebody goes round for ever without letting time pass. */
const LOOKS_MAX = 100_000;
/** Trace lines kept: the last ones tell what happened. */
const TRACE_LINES_MAX = 5_000;

export type KernelOptions = Readonly<{
  /** Keep trace lines; without it their text is never built. */
  trace?: boolean;
  /** Of the lines kept, how many. */
  traceLinesMax?: number;
  /** How microtasks are drained; default: by checkpoint where this Node has one, else by turns of the event loop. */
  drain?: 'checkpoint' | 'turns';
}>;

/** What went wrong in a simulated world, and when (true time, ms). */
export class SimFailure extends Error {
  override readonly name = 'SimFailure';
  readonly at: number;

  constructor(at: number, cause: unknown) {
    super(`at ${at.toFixed(3)} ms: ${reasonOf(cause)}`, { cause });
    this.at = at;
  }
}

/**
 * True time and chance of one simulated world: same seed, same run.
 *
 *   queue ──earliest event──► fire() ──► microtasks drained to the last ──► next event
 *
 * Time stands still while an event runs. Events at one time fire in the order in which they were made.
 */
export class Kernel {
  readonly seed: number;
  readonly random: Prng;
  readonly #queue = new EventQueue();
  readonly #tracing: boolean;
  readonly #traceLinesMax: number;
  #checkpoint: (() => void) | null;
  #checked = false;
  readonly #bits = new Uint32Array(2);
  readonly #time = new Float64Array(this.#bits.buffer);
  #trace: string[] = [];
  #now = 0;
  #fired = 0;
  #looks = 0;
  #digest = 0x811c9dc5;
  #failure: SimFailure | null = null;

  constructor(seed: number, options: KernelOptions = {}) {
    this.seed = seed;
    this.random = new Prng(seed);
    this.#tracing = options.trace ?? false;
    this.#traceLinesMax = options.traceLinesMax ?? TRACE_LINES_MAX;
    this.#checkpoint = options.drain === 'turns' ? null : microtaskCheckpoint();
  }

  /** True time in ms, fractional; nobody in the world knows it. */
  get now(): number {
    return this.#now;
  }

  /** Somebody looks at a clock. Throws if it has been doing so for ever without waiting. */
  looked(who: string): void {
    this.#looks += 1;
    if (this.#looks <= LOOKS_MAX) return;
    const error = new Error(`${who} goes round without letting any time pass`);
    this.fail(error);
    throw error;
  }

  get fired(): number {
    return this.#fired;
  }

  get tracing(): boolean {
    return this.#tracing;
  }

  /** Of the times of all events fired and of everything noted: equal runs have equal digests. */
  get digest(): string {
    return (this.#digest >>> 0).toString(16).padStart(8, '0');
  }

  /** A stream of chance of its own: who draws from it does not shift the others'. */
  fork(): Prng {
    return new Prng(this.random.next32());
  }

  /** Fires once, `ms` from now; the result cancels it. */
  at(ms: number, fire: () => void): () => void {
    return this.#queue.add(this.#now + (ms > 0 ? ms : 0), fire);
  }

  trace(who: string, text: () => string): void {
    if (!this.#tracing) return;
    this.#trace.push(`${this.#now.toFixed(3).padStart(10)}  ${who.padEnd(12)} ${text()}`);
    if (this.#trace.length > 2 * this.#traceLinesMax) this.#trace = this.#trace.slice(-this.#traceLinesMax);
  }

  /** The last lines of the trace. */
  get traceLines(): readonly string[] {
    return this.#trace.slice(-this.#traceLinesMax);
  }

  /** Mixes a fact of the run into the digest. */
  note(fact: number): void {
    this.#digest = Math.imul(this.#digest ^ fact, 0x01000193);
  }

  /** A checker, or code that must not throw, found something: the run ends here. The first failure counts. */
  fail(error: unknown): void {
    if (this.#failure === null) this.trace('FAILURE', () => reasonOf(error));
    this.#failure ??= error instanceof SimFailure ? error : new SimFailure(this.#now, error);
  }

  get failure(): SimFailure | null {
    return this.#failure;
  }

  /** Fires everything due up to `time` (absolute). @throws SimFailure: the first, whoever reported it */
  async runUntil(time: number): Promise<void> {
    const onRejection = (reason: unknown): void => this.fail(reason);
    process.on('unhandledRejection', onRejection);
    try {
      await new Promise<void>((resolve) => this.#turn(time, resolve));
    } finally {
      process.off('unhandledRejection', onRejection);
    }
    if (this.#failure !== null) throw this.#failure;
    if (time > this.#now) this.#now = time;
  }

  /** Runs as a macrotask: inside a microtask the others could not be drained. */
  #turn(time: number, done: () => void): void {
    setImmediate(() => {
      if (!this.#checked) this.#checkpoint = drains(this.#checkpoint) ? this.#checkpoint : null;
      this.#checked = true;
      const checkpoint = this.#checkpoint;
      for (let i = checkpoint === null ? 1 : EVENTS_PER_TURN; i > 0; i -= 1) {
        if (this.#failure !== null || !this.#fireNext(time)) {
          // What the last events left for Node to say (unhandled rejections) is heard first.
          setImmediate(done);
          return;
        }
        checkpoint?.();
      }
      this.#turn(time, done);
    });
  }

  #fireNext(time: number): boolean {
    const event = this.#queue.take(time);
    if (event === null) return false;
    this.#now = event.at;
    this.#fired += 1;
    this.#looks = 0;
    this.#time[0] = event.at;
    this.note(this.#bits[0] as number);
    this.note(this.#bits[1] as number);
    try {
      event.fire();
    } catch (error) {
      this.fail(error);
    }
    return true;
  }
}

/**
 * Runs every waiting microtask and tick now: what Node itself does between two callbacks. Measured on Node 24: 0.6 µs, a turn
 * of the event loop 4.6 µs. Null where it is missing or does not do it.
 */
function microtaskCheckpoint(): (() => void) | null {
  const { _tickCallback } = process as unknown as { _tickCallback?: () => void };
  return typeof _tickCallback === 'function' ? () => _tickCallback.call(process) : null;
}

function drains(checkpoint: (() => void) | null): boolean {
  if (checkpoint === null) return false;
  let drained = false;
  const chain = async (): Promise<void> => {
    for (let i = 0; i < 3; i += 1) await null;
    drained = true;
  };
  void chain();
  checkpoint();
  return drained;
}
