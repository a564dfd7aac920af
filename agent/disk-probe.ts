import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';

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

  /** A new mastership does not inherit how long ago the last one's disk answered. */
  restart(): void {
    this.#okAt = this.#clock.now();
    this.begin();
  }

  get okAgeMs(): number {
    return this.#clock.now() - this.#okAt;
  }

  /** Of the last attempt, '' if it went well. */
  get error(): string {
    return this.#error;
  }
}
