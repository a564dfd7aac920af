import type { MonoMs, NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';
import type { PeerHello } from './peer-transport.ts';
import type { LogStore } from './store-port.ts';

const META = 'peer-floors';
/** Stores remembered per node: an old one may come back long after it was replaced. */
const STORES_PER_NODE_MAX = 4;

/** A floor written late only refuses less, and each write is an fsync the hot path waits behind. */
const SAVE_EVERY_MS = 10_000;

type Floor = { seq: number; incarnation: number };

/**
 * How far each peer's store once confirmed to be on disk. A store that comes back with less has forgotten what it voted for
 * (restored snapshot, lost writes) and must not be counted again (protocol-findings 6).
 */
export class PeerFloors {
  readonly #store: LogStore;
  readonly #floors: Map<NodeId, Map<string, Floor>>;
  #dirty = false;
  #savedAt = 0;
  #saving: Promise<void> | null = null;

  private constructor(store: LogStore, floors: Map<NodeId, Map<string, Floor>>) {
    this.#store = store;
    this.#floors = floors;
  }

  static async load(store: LogStore): Promise<PeerFloors> {
    const json = await store.getMeta(META);
    const saved = json === null ? [] : (JSON.parse(json) as [NodeId, [string, number][]][]);
    return new PeerFloors(
      store,
      new Map(
        saved.map(
          ([node, stores]) => [node, new Map(stores.map(([id, seq]) => [id, { seq, incarnation: 0 }]))] as const,
        ),
      ),
    );
  }

  /** Why that store must be refused, or null; notes what it says. */
  check(hello: PeerHello): string | null {
    const floor = this.#floors.get(hello.node)?.get(hello.storeId);
    const wentBack = floor !== undefined && floor.incarnation !== hello.incarnation && hello.durableSeq < floor.seq;
    if (wentBack && ruleHolds('store-that-went-back-is-refused')) {
      return `store ${hello.storeId} of node ${hello.node} went back: it confirmed record ${floor.seq} and now has ${hello.durableSeq}`;
    }
    this.#note(hello.node, hello.storeId, hello.durableSeq, hello.incarnation);
    return null;
  }

  /** A message of that store confirmed `seq`. */
  confirmed(node: NodeId, storeId: string, seq: number): void {
    const floor = this.#floors.get(node)?.get(storeId);
    if (floor !== undefined && seq > floor.seq) {
      floor.seq = seq;
      this.#dirty = true;
    }
  }

  async tick(now: MonoMs): Promise<void> {
    if (now - this.#savedAt < SAVE_EVERY_MS) return;
    this.#savedAt = now;
    await this.save();
  }

  save(): Promise<void> {
    if (this.#saving !== null) return this.#saving;
    if (!this.#dirty) return Promise.resolve();
    this.#dirty = false;
    const json = JSON.stringify(
      [...this.#floors].map(([node, stores]) => [node, [...stores].map(([id, f]) => [id, f.seq])]),
    );
    this.#saving = this.#store.putMeta(META, json).finally(() => {
      this.#saving = null;
    });
    return this.#saving;
  }

  #note(node: NodeId, storeId: string, seq: number, incarnation: number): void {
    let stores = this.#floors.get(node);
    if (stores === undefined) {
      stores = new Map();
      this.#floors.set(node, stores);
    }
    const before = stores.get(storeId);
    stores.delete(storeId);
    stores.set(storeId, { seq: Math.max(seq, before?.seq ?? 0), incarnation });
    if (stores.size > STORES_PER_NODE_MAX) stores.delete(stores.keys().next().value as string);
    this.#dirty = true;
  }
}
