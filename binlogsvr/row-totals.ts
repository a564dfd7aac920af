import { RowCounter } from '../mysql/row-count.ts';

/** A transaction below this is executed before anybody asks. */
export const COUNTED_BYTES_MIN = 32 * 1024;
const TRANSACTIONS_MAX = 256;

/** How many rows the large transactions change that were last sent to the local mysqld. */
export class RowTotals {
  readonly #rows = new Map<string, number | null>();

  /** Of a transaction that is being sent: `push` each event, `done` after the last. */
  counter(gtid: string): Readonly<{ push(events: readonly Uint8Array[]): void; done(): void }> {
    const counter = new RowCounter();
    return {
      push: (events) => {
        for (const event of events) counter.push(event);
      },
      done: () => this.#note(gtid, counter.rows),
    };
  }

  /** null: not known, or they cannot be counted. */
  of(gtid: string): number | null {
    return this.#rows.get(gtid) ?? null;
  }

  #note(gtid: string, rows: number | null): void {
    this.#rows.delete(gtid);
    this.#rows.set(gtid, rows);
    const oldest = this.#rows.keys().next();
    if (this.#rows.size > TRANSACTIONS_MAX && !oldest.done) this.#rows.delete(oldest.value);
  }
}
