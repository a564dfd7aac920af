import type { MonoMs } from '../base/brands.ts';
import type { Clock, Logger } from '../base/ports.ts';

/** What a failover consists of, as this node saw it: one log line with milliseconds since the first mark. */
export class Timeline {
  readonly #clock: Clock;
  readonly #log: Logger;
  #began: MonoMs | null = null;
  #marks: Record<string, number> = {};

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** The first mark begins it; a repeated one keeps its first time. */
  mark(name: string): void {
    const now = this.#clock.now();
    this.#began ??= now;
    this.#marks[name] ??= Math.round(now - this.#began);
  }

  get under(): boolean {
    return this.#began !== null;
  }

  finish(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (this.#began === null) return;
    this.#log.info(message, { ...fields, msSinceDetected: this.#marks });
    this.reset();
  }

  reset(): void {
    this.#began = null;
    this.#marks = {};
  }
}
