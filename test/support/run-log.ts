/** What a long run did, for the message of its failure: the seed, the step, and the end of its timeline. */
export class RunLog {
  readonly seed: number;
  readonly #began = performance.now();
  readonly #lines: string[] = [];

  constructor(name: string, seed: number) {
    this.seed = seed;
    console.log(`${name}: seed ${seed}`);
  }

  note(line: string): void {
    this.#lines.push(`${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${line}`);
    if (process.env['PHXSQL_TEST_VERBOSE']) console.log(this.#lines.at(-1));
  }

  /** Runs one step; its failure says what led to it. `more`: what else to tell then. */
  async step<T>(name: string, work: () => Promise<T>, more: () => readonly string[] = () => []): Promise<T> {
    this.note(name);
    try {
      return await work();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.note(`failed: ${reason}`);
      const text = [`seed ${this.seed}, ${name}: ${reason}`, ...this.#lines.slice(-60), ...more()];
      throw new Error(text.join('\n'), { cause: error });
    }
  }
}
