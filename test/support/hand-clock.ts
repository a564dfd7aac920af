import { type MonoMs, monoMs } from '../../base/brands.ts';
import type { Clock } from '../../base/ports.ts';

/** Time that passes only when told. */
export class HandClock implements Clock {
  mono = 1000;
  wallMs = 1_000_000;
  readonly #timers: { at: number; fire: () => void }[] = [];
  now(): MonoMs {
    return monoMs(this.mono);
  }
  wall(): number {
    return this.wallMs;
  }
  after(ms: number, fire: () => void): () => void {
    const timer = { at: this.mono + ms, fire };
    this.#timers.push(timer);
    return () => void this.#timers.splice(this.#timers.indexOf(timer) >>> 0, 1);
  }
  soon(fire: () => void): void {
    setImmediate(fire);
  }
  async pass(ms: number): Promise<void> {
    const end = this.mono + ms;
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.splice(this.#timers.indexOf(due), 1);
      this.wallMs += due.at - this.mono;
      this.mono = due.at;
      due.fire();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.wallMs += end - this.mono;
    this.mono = end;
  }
}
