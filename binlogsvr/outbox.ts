import type { NodeId } from '../base/brands.ts';
import type { Clock } from '../base/ports.ts';
import type { Leases } from './leases.ts';
import type { Envelope, Message } from './paxos/types.ts';
import type { PeerTransport } from './peer-transport.ts';
import type { LogStore } from './store-port.ts';

type Commit = Extract<Message, { kind: 'commit' }>;

/**
 * Sends what the core says, with the replica's own word where there is one. An announcement of what is chosen waits for
 * the end of this turn of the event loop: whoever appends one by one proposes again within it, and the accept says the
 * same, which saves a frame each way of every append.
 */
export class Outbox {
  readonly #transport: PeerTransport;
  readonly #store: LogStore;
  readonly #leases: Leases;
  readonly #clock: Clock;
  readonly #commits = new Map<NodeId, Commit>();
  #scheduled = false;

  constructor(transport: PeerTransport, store: LogStore, leases: Leases, clock: Clock) {
    this.#transport = transport;
    this.#store = store;
    this.#leases = leases;
    this.#clock = clock;
  }

  send({ to, message }: Envelope): void {
    const { durableSeq } = this.#store;
    switch (message.kind) {
      case 'promise':
        this.#transport.send(to, { ...message, durableSeq, leaseAge: this.#leases.age() });
        return;
      case 'accepted':
        this.#transport.send(to, { ...message, durableSeq });
        return;
      case 'learned':
        this.#transport.send(to, { ...message, leaseAge: this.#leases.age(), firstRetained: 1 });
        return;
      case 'commit': {
        const before = this.#commits.get(to);
        if (before !== undefined && before.ballot !== message.ballot) this.#transport.send(to, before);
        this.#commits.set(to, message);
        this.#schedule();
        return;
      }
      case 'accept': {
        const commit = this.#commits.get(to);
        if (commit?.ballot === message.ballot && commit.chosenUpTo <= message.chosenUpTo) this.#commits.delete(to);
        this.#transport.send(to, message);
        return;
      }
      default:
        this.#transport.send(to, message);
    }
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(() => {
      this.#scheduled = false;
      for (const [to, commit] of this.#commits) this.#transport.send(to, commit);
      this.#commits.clear();
    });
  }
}
