/**
 * Values that somebody pushes for one reader who wants the newest only: what it does not get round to is dropped, so that a
 * slow reader costs no memory.
 *
 *   push ──► newest (one place) ──► read
 *   end ───► error, behind what was pushed before it
 */
export class Newest<T> {
  #value: Readonly<{ of: T }> | null = null;
  #ended: Readonly<{ error: Error }> | null = null;
  #wake: () => void = () => {};

  push(value: T): void {
    this.#value = { of: value };
    this.#wake();
  }

  /** Nothing more comes. The first reason counts. */
  end(error: Error): void {
    this.#ended ??= { error };
    this.#wake();
  }

  /**
   * Until `signal` fires, which is no error. `stop` tells whoever pushes that nobody reads any more: at once when the signal
   * fires, and when the reader leaves; perhaps twice. @throws what end() was told
   */
  async *read(signal: AbortSignal, stop: () => void): AsyncGenerator<T, void, undefined> {
    const onAbort = (): void => {
      stop();
      this.#wake();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted) {
        const value = this.#value;
        this.#value = null;
        if (value !== null) {
          yield value.of;
          continue;
        }
        if (this.#ended !== null) throw this.#ended.error;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      stop();
    }
  }
}
