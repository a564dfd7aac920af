import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';

const EVERY_MS = 250;

/**
 * Has one fresh block written and synced in the datadir, off the event loop: a disk that stalls or is full shows here before
 * any query does. Never two at a time: a stalled disk costs one thread of the pool, not all.
 */
export class DiskProbe {
  readonly #write: () => Promise<void>;
  readonly #clock: Clock;
  #running = false;
  #okAt: MonoMs;
  #error = '';
  #cancel: () => void = () => {};

  constructor(write: () => Promise<void>, clock: Clock) {
    this.#write = write;
    this.#clock = clock;
    this.#okAt = clock.now();
  }

  /** Begins one, unless one is under way. */
  begin(): void {
    if (this.#running) return;
    this.#running = true;
    this.#write().then(
      () => {
        this.#okAt = this.#clock.now();
        this.#error = '';
        this.#running = false;
      },
      (error: unknown) => {
        this.#error = reasonOf(error);
        this.#running = false;
      },
    );
  }

  /** Again and again from now on. A new mastership does not inherit how long ago the last one's disk answered. */
  restart(): void {
    this.#okAt = this.#clock.now();
    this.#repeat();
  }

  stop(): void {
    this.#cancel();
  }

  #repeat(): void {
    this.#cancel();
    this.begin();
    this.#cancel = this.#clock.after(EVERY_MS, () => this.#repeat());
  }

  get okAgeMs(): number {
    return this.#clock.now() - this.#okAt;
  }

  /** Of the last attempt, '' if it went well. */
  get error(): string {
    return this.#error;
  }
}
