/** How often what happened in a run: faults injected by kind, and what shows that the run was not idle. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  of(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  merge(other: Readonly<Record<string, number>>): void {
    for (const [what, count] of Object.entries(other)) this.add(what, count);
  }

  /** By name, so that equal runs print equally. */
  toJSON(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
