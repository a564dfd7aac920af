import type { FlowPolicy } from '../base/flow-policy.ts';
import type { Clock } from '../base/ports.ts';
import { FlowControl, STEP_MS } from './flow-control.ts';
import type { BinlogPosition } from './position.ts';

export type FlowOptions = Readonly<{
  policy: FlowPolicy;
  /** How far the least-lagged node behind is that may be elected; null: there is none. */
  candidateLagMs: () => number | null;
}>;

/**
 * Lets acks leave with the delay of flow-control.ts between them. An ack is cumulative: while one waits, only the newest position is
 * kept. What waits is never dropped but with its stream, which the next stream's heartbeat makes good.
 */
export class AckPacer {
  readonly #flow: FlowOptions;
  readonly #control: FlowControl;
  readonly #clock: Clock;
  readonly #send: (position: BinlogPosition) => void;
  readonly #changed: (delayMs: number) => void;
  #waiting: BinlogPosition | null = null;
  #sentAt = Number.NEGATIVE_INFINITY;
  #cancelSend: () => void = () => {};
  #cancelStep: () => void = () => {};
  #stepping = false;
  #told = 0;

  constructor(
    options: Readonly<{
      flow: FlowOptions;
      clock: Clock;
      send: (position: BinlogPosition) => void;
      /** The delay is another one. */
      changed: (delayMs: number) => void;
    }>,
  ) {
    this.#flow = options.flow;
    this.#clock = options.clock;
    this.#send = options.send;
    this.#changed = options.changed;
    this.#control = new FlowControl(options.flow.policy, this.#clock.now());
  }

  ack(position: BinlogPosition): void {
    if (this.#waiting !== null) {
      this.#waiting = position;
      return;
    }
    const now = this.#clock.now();
    const inMs = this.#sentAt + this.#step() - now;
    if (inMs <= 0) {
      this.#leave(position);
      return;
    }
    this.#waiting = position;
    this.#cancelSend = this.#clock.after(inMs, () => {
      const last = this.#waiting;
      this.#waiting = null;
      if (last !== null) this.#leave(last);
    });
  }

  /** The stream is over. */
  close(): void {
    this.#waiting = null;
    this.#cancelSend();
    this.#cancelStep();
    if (this.#told !== 0) this.#changed(0);
  }

  #leave(position: BinlogPosition): void {
    this.#sentAt = this.#clock.now();
    this.#send(position);
  }

  /** With a delay it goes on stepping by itself: it has to end although nobody writes any more. */
  #step(): number {
    const delayMs = this.#control.step(this.#flow.candidateLagMs(), this.#clock.now());
    if (Math.round(delayMs) !== this.#told) {
      this.#told = Math.round(delayMs);
      this.#changed(this.#told);
    }
    if (delayMs > 0 && !this.#stepping) {
      this.#stepping = true;
      this.#cancelStep = this.#clock.after(STEP_MS, () => {
        this.#stepping = false;
        this.#step();
      });
    }
    return delayMs;
  }
}
