import { check } from './log.ts';

export type LeaseClaim = Readonly<{ node: number; epoch: number; remainingMs: number }>;

/** At most one node says, at any true time, that it holds the lease. */
export class LeaseChecker {
  #looks = 0;
  #held = 0;

  /** What all live nodes would answer now. A frozen one says nothing until it thaws. */
  look(claims: readonly LeaseClaim[]): void {
    this.#looks += 1;
    const holders = claims.filter(({ remainingMs }) => remainingMs > 0);
    if (holders.length > 0) this.#held += 1;
    check(
      holders.length <= 1,
      () =>
        `two lease holders: ${holders.map((h) => `node ${h.node} of epoch ${h.epoch} for ${h.remainingMs.toFixed(0)} ms`).join(', ')}`,
    );
  }

  /** Share of looks that found a holder. */
  get heldShare(): number {
    return this.#looks === 0 ? 0 : this.#held / this.#looks;
  }
}
