import type { Applying } from '../proto/binlogsvr-types.ts';

/** What is extrapolated gets so much on top. */
const MARGIN = 1.25;
/**
 * Rows are found ever more slowly where a table has no key: each look steps over the rows deleted before. From such a t^(1/2) to an
 * even pace everything was seen.
 */
const EXPONENT_MIN = 0.5;
const EXPONENT_MAX = 1;
/** Two looks at less distance say nothing about the pace. */
const APART_MS_MIN = 1_000;

type Point = Readonly<{ gtid: string; rows: number; ms: number }>;

/**
 * How long a slave still needs, estimated. Many small transactions: as long as it has been behind. A large one shows how many of its
 * rows are done: from rows ~ t^a with the pace seen so far follows when it ends; what came behind it meanwhile takes as long as it
 * has been waiting. Pure: no clock.
 */
export class CatchUp {
  #first: Point | null = null;

  /**
   * `total`: rows of the transaction that is being executed; null: not known. `large`: there is a large one among what is left. Returns
   * null where it takes as long as nobody knows yet.
   */
  look(applying: Applying | null, total: number | null, lagMs: number, large: boolean): number | null {
    if (applying === null) {
      this.#first = null;
      return large ? null : lagMs;
    }
    if (this.#first?.gtid !== applying.gtid && applying.rows > 0) this.#first = applying;
    const first = this.#first;
    if (total === null || applying.rows === 0 || first === null) return null;
    const done = Math.min(1, applying.rows / total);
    const apart = applying.ms - first.ms >= APART_MS_MIN && applying.rows > first.rows && first.ms > 0;
    if (!apart) return null;
    const seen = Math.log(applying.rows / first.rows) / Math.log(applying.ms / first.ms);
    const exponent = Math.max(EXPONENT_MIN, Math.min(EXPONENT_MAX, seen));
    const wholeMs = applying.ms * (1 / done) ** (1 / exponent);
    return (wholeMs - applying.ms) * MARGIN + lagMs;
  }
}
