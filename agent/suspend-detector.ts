import type { Clock } from '../base/ports.ts';

/** The wall clock may be set by this much, or run this much faster between two looks, without being called a suspend. */
const JUMP_MS_MIN = 1_000;
/** After a suspend others have to be heard before this node believes what it knows. */
const DOUBT_MS = 1_000;

/**
 * Notices that the machine stood still: its wall clock went on, its monotonic clock (which leases are counted in) did
 * not. A step of the wall clock by more than a second looks the same and is treated alike: safe, and rare.
 */
export class SuspendDetector {
  readonly #clock: Clock;
  #mono: number;
  #wall: number;
  #seenAt: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#mono = clock.now();
    this.#wall = clock.wall();
  }

  /** True from a jump on, for a while. Called at least every 100 ms. */
  look(): boolean {
    const mono = this.#clock.now();
    const wall = this.#clock.wall();
    const jumped = wall - this.#wall - (mono - this.#mono) > JUMP_MS_MIN;
    this.#mono = mono;
    this.#wall = wall;
    if (jumped) this.#seenAt = mono;
    if (this.#seenAt !== null && mono - this.#seenAt > DOUBT_MS) this.#seenAt = null;
    return this.#seenAt !== null;
  }

  /** It has been acted upon. */
  forget(): void {
    this.#seenAt = null;
  }
}
