import type { Clock } from '../base/ports.ts';
import type { ProxyView } from './view.ts';

/**
 * Invariant I5 for one worker: may bytes just read from the master's socket be sent on? Asked AFTER the read, once per
 * chunk, hence plain numbers. A worker that was frozen holds an old view, whose bound has then passed: it forwards nothing.
 */
export class LeaseGuard {
  readonly #clock: Clock;
  #epoch = 0;
  #untilMs = 0;
  #untilWallMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  setView(view: ProxyView): void {
    const over = view.closedEpoch >= view.epoch;
    this.#epoch = view.epoch;
    this.#untilMs = over ? 0 : view.readUntil;
    this.#untilWallMs = over ? 0 : view.readUntilWall;
  }

  /** `epoch`: the one the session was opened under. */
  mayForward(epoch: number): boolean {
    return epoch === this.#epoch && this.#clock.now() <= this.#untilMs && this.#clock.wall() <= this.#untilWallMs;
  }

  /** How long ago the bound passed, by whichever clock says more; negative while it runs. */
  pastMs(): number {
    return Math.max(this.#clock.now() - this.#untilMs, this.#clock.wall() - this.#untilWallMs);
  }
}
