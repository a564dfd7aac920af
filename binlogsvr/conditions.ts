import type { MonoMs } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';

/** Waits under way at once; beyond it a wait is refused. */
export const CONDITIONS_MAX = 1024;

type Waiting = Readonly<{
  holds: () => boolean;
  deadline: number;
  settle: (held: boolean) => void;
  fail: (error: PhxError) => void;
}>;

/** Waits for something to become true of an object that pokes after every change and at least every tick. */
export class Conditions {
  readonly #waiting = new Set<Waiting>();
  #closed = false;

  /** True once `holds`, false at the deadline. Rejects with CANCELLED when `signal` fires, UNAVAILABLE on close. */
  wait(holds: () => boolean, deadline: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#closed) return Promise.reject(new PhxError('UNAVAILABLE', 'wait: the replica is closing'));
    if (signal?.aborted) return Promise.reject(new PhxError('CANCELLED', 'wait cancelled'));
    if (holds()) return Promise.resolve(true);
    if (this.#waiting.size >= CONDITIONS_MAX) {
      return Promise.reject(new PhxError('BUSY', `wait: ${CONDITIONS_MAX} others wait already`));
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => waiting.fail(new PhxError('CANCELLED', 'wait cancelled'));
      const done = (): void => {
        this.#waiting.delete(waiting);
        signal?.removeEventListener('abort', onAbort);
      };
      const waiting: Waiting = {
        holds,
        deadline,
        settle: (held) => {
          done();
          resolve(held);
        },
        fail: (error) => {
          done();
          reject(error);
        },
      };
      this.#waiting.add(waiting);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  poke(now: MonoMs): void {
    for (const waiting of this.#waiting) {
      if (waiting.holds()) waiting.settle(true);
      else if (waiting.deadline <= now) waiting.settle(false);
    }
  }

  close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting) waiting.fail(new PhxError('UNAVAILABLE', 'wait: the replica is closing'));
  }
}
