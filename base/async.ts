import { PhxError } from './errors.ts';
import type { Clock } from './ports.ts';

/** Resolves after `ms`, or rejects with CANCELLED when `signal` fires first. */
export function delay(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(new PhxError('CANCELLED', 'wait cancelled'));
      return;
    }
    const onAbort = (): void => {
      cancel();
      reject(new PhxError('CANCELLED', 'wait cancelled'));
    };
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** `work`, or a TIMEOUT error naming `what` after `ms`. The orphan's rejection is swallowed: its outcome is no longer wanted. */
export function withDeadline<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () => reject(new PhxError('TIMEOUT', `${what}: no answer within ${ms} ms`)));
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (error: unknown) => {
        cancel();
        reject(error);
      },
    );
  });
}

/**
 * An abort of its own that follows `parent`, until it is disposed of. (Node keeps a signal of AbortSignal.any alive, with all
 * that listens to it, until it fires.)
 */
export class LinkedAbort implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #follow = (): void => this.abort();

  constructor(parent: AbortSignal) {
    this.#parent = parent;
    if (parent.aborted) this.abort();
    else parent.addEventListener('abort', this.#follow, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(): void {
    this.#controller.abort();
  }

  [Symbol.dispose](): void {
    this.#parent.removeEventListener('abort', this.#follow);
  }
}
