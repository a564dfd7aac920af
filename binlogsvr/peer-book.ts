import type { NodeId } from '../base/brands.ts';
import type { PeerHello } from './peer-transport.ts';

/** Peers with a stream, by their last hello, and how far the store of that hello said it is. */
export class PeerBook {
  readonly #up = new Map<NodeId, PeerHello>();
  /** Kept when a peer goes away, for status. */
  readonly #chosen = new Map<NodeId, number>();

  meet(hello: PeerHello): void {
    if (this.#up.get(hello.node)?.storeId !== hello.storeId) this.#chosen.set(hello.node, 0);
    this.#up.set(hello.node, hello);
    this.heard(hello.node, hello.storeId, hello.chosenUpTo);
  }

  leave(node: NodeId): void {
    this.#up.delete(node);
  }

  /** What an older store of that node still says does not count. */
  heard(from: NodeId, storeId: string, chosenUpTo: number): void {
    if (this.#up.get(from)?.storeId !== storeId) return;
    if (chosenUpTo > this.chosenUpTo(from)) this.#chosen.set(from, chosenUpTo);
  }

  get up(): readonly NodeId[] {
    return [...this.#up.keys()];
  }

  get hellos(): readonly PeerHello[] {
    return [...this.#up.values()];
  }

  storeOf(node: NodeId): string | null {
    return this.#up.get(node)?.storeId ?? null;
  }

  chosenUpTo(node: NodeId): number {
    return this.#chosen.get(node) ?? 0;
  }
}
