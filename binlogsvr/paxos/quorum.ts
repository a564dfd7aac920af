import type { NodeId } from '../../base/brands.ts';
import { ruleHolds } from '../../base/rules.ts';

/** Who is asked, and how many make a decision: any two majorities of one voter set share a node. */
export class Quorum {
  readonly voters: readonly NodeId[];
  readonly #set: ReadonlySet<NodeId>;
  readonly majority: number;

  constructor(voters: readonly NodeId[]) {
    this.#set = new Set(voters);
    this.voters = [...this.#set].sort((a, b) => a - b);
    const size = this.voters.length;
    this.majority = ruleHolds('majority') ? Math.floor(size / 2) + 1 : Math.max(1, Math.floor(size / 2));
  }

  has(node: NodeId): boolean {
    return this.#set.has(node);
  }

  /** Votes of others than voters do not count. */
  reached(votes: ReadonlySet<NodeId>): boolean {
    return this.#count(votes) >= this.majority;
  }

  /** A majority could still say yes although these said no. */
  possibleWithout(refused: ReadonlySet<NodeId>): boolean {
    return this.voters.length - this.#count(refused) >= this.majority;
  }

  #count(nodes: ReadonlySet<NodeId>): number {
    let count = 0;
    for (const node of nodes) if (this.#set.has(node)) count += 1;
    return count;
  }
}
