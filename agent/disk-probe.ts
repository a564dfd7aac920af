import { open } from 'node:fs/promises';
import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';

const BLOCK_BYTES = 4096;

/**
 * Writes and syncs one fresh block in the datadir, off the event loop: a disk that stalls or is full shows here before
 * any query does. Never two at a time: a stalled disk costs one thread of the pool, not all.
 */
export class DiskProbe {
  readonly #path: string;
  readonly #clock: Clock;
  #running = false;
  #okAt: MonoMs;
  #error = '';

  constructor(path: string, clock: Clock) {
    this.#path = path;
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

  async #write(): Promise<void> {
    const file = await open(this.#path, 'w', 0o600);
    try {
      await file.write(Buffer.alloc(BLOCK_BYTES, Math.floor(this.#clock.wall()) & 0xff));
      await file.datasync();
    } finally {
      await file.close();
    }
  }
}
