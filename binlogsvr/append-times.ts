import type { InstanceId, MonoMs } from '../base/brands.ts';

/** Appends that come within this count as one. */
const MARK_MS = 20;
/** Beyond it what is oldest becomes coarser. */
export const MARKS_MAX = 4096;

/** Appends up to `upTo`, the first of them applied at `at`. */
type Mark = Readonly<{ upTo: InstanceId; at: MonoMs }>;

/** When what is in the log was applied here, by this node's clock: tells how far behind a MySQL is, in time. */
export class AppendTimes {
  #marks: Mark[] = [];

  applied(instance: InstanceId, now: MonoMs): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && now - last.at < MARK_MS) {
      this.#marks[this.#marks.length - 1] = { upTo: instance, at: last.at };
      return;
    }
    this.#marks.push({ upTo: instance, at: now });
    if (this.#marks.length > MARKS_MAX) this.#thin();
  }

  /** How long, at `sampledAt`, the oldest append had been in the log that was not executed by who had executed up to `executed`. */
  lagMs(executed: InstanceId, sampledAt: MonoMs): number {
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#marks[middle] as Mark).upTo > executed) high = middle;
      else low = middle + 1;
    }
    const first = this.#marks[low];
    return first === undefined ? 0 : Math.max(0, sampledAt - first.at);
  }

  /** Of the older half two become one: what is said of them is the longer lag. */
  #thin(): void {
    const half = this.#marks.length >>> 1;
    const older: Mark[] = [];
    for (let i = 0; i < half; i += 2) {
      const first = this.#marks[i] as Mark;
      const second = this.#marks[i + 1] as Mark;
      older.push({ upTo: second.upTo, at: first.at });
    }
    this.#marks = [...older, ...this.#marks.slice(half + (half % 2))];
  }
}
