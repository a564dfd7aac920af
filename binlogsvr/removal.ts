import { wasRemoved } from './membership.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Member } from './values.ts';

type Store = Pick<Member, 'node' | 'storeId'>;

/** What it needs of the replica. */
export type RemovalPort = Readonly<{
  state: ReplicatedState;
  hello: () => Store;
  events: Readonly<{ changed: () => void }>;
}>;

/**
 * Which stores may not come back. A node that was away when it was removed never reads so in its own log: then a member's
 * word, said with its refusal, is enough, since a removal is for ever.
 */
export class Removal {
  readonly #replica: RemovalPort;
  #told = false;

  constructor(replica: RemovalPort) {
    this.#replica = replica;
  }

  of({ node, storeId }: Store): boolean {
    return wasRemoved(this.#replica.state, node, storeId);
  }

  /** This node's own store was removed. */
  get self(): boolean {
    return this.#told || this.of(this.#replica.hello());
  }

  /** A member says so of this node's store. */
  told(): void {
    if (this.#told) return;
    this.#told = true;
    this.#replica.events.changed();
  }
}
