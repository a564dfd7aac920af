import type { Clock } from '../base/ports.ts';

/** How long something has been so, by looking at it again and again. */
export class Lasting {
  readonly #clock: Clock;
  #since: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Milliseconds; 0 if it is not so. */
  look(isSo: boolean): number {
    const now = this.#clock.now();
    this.#since = isSo ? (this.#since ?? now) : null;
    return this.#since === null ? 0 : now - this.#since;
  }
}
