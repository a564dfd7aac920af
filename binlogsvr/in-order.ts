/** Does work piece by piece in the order it came; what is handed in meanwhile comes after it, not within. */
export class InOrder<T> {
  readonly #waiting: T[] = [];
  readonly #work: (item: T) => void;
  #working = false;

  constructor(work: (item: T) => void) {
    this.#work = work;
  }

  add(items: readonly T[]): void {
    for (const item of items) this.#waiting.push(item);
    if (this.#working) return;
    this.#working = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) this.#work(next);
    } finally {
      this.#working = false;
    }
  }
}
