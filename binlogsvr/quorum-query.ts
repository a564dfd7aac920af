import type { MonoMs, NodeId } from '../base/brands.ts';

const ASK_AGAIN_MS = 200;

/**
 * One barrier's question: how far has each of a majority accepted? Whatever was chosen before the question was accepted
 * by one of them, so everything up to the highest answer has to be applied before the barrier is passed.
 */
export class QuorumQuery {
  readonly id: number;
  readonly #voters: readonly NodeId[];
  readonly #answers = new Map<NodeId, number>();
  #askedAt: number;

  constructor(id: number, voters: readonly NodeId[], now: MonoMs) {
    this.id = id;
    this.#voters = voters;
    this.#askedAt = now;
  }

  /** Only answers of bound acceptors may be handed in. */
  answer(from: NodeId, highestAccepted: number): void {
    if (this.#voters.includes(from) && !this.#answers.has(from)) this.#answers.set(from, highestAccepted);
  }

  /** The highest answer, once a majority has answered. */
  get reached(): number | null {
    if (this.#answers.size * 2 <= this.#voters.length) return null;
    return Math.max(...this.#answers.values());
  }

  get open(): readonly NodeId[] {
    return this.#voters.filter((voter) => !this.#answers.has(voter));
  }

  askAgain(now: MonoMs): boolean {
    if (now - this.#askedAt < ASK_AGAIN_MS) return false;
    this.#askedAt = now;
    return true;
  }
}
