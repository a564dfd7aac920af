import type { MonoMs, NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import type { Floors, PeerHello } from './peer-transport.ts';
import type { LogStore } from './store-port.ts';
import { DEFAULT_PACE, type UpkeepPace } from './upkeep-pace.ts';

const META = 'peer-floors';
/** Stores remembered per node: an old one may come back long after it was replaced. */
const STORES_PER_NODE_MAX = 4;

type Floor = { seq: number; incarnation: number };

/**
 * How far each peer's store once confirmed to be on disk. A store that comes back with less has forgotten what it voted for
 * (restored snapshot, lost writes) and must not be counted again (protocol-findings 6).
 */
export class PeerFloors implements Floors {
  readonly #store: LogStore;
  readonly #floors: Map<NodeId, Map<string, Floor>>;
  readonly #saveEveryMs: number;
  #dirty = false;
  /** This node's own store went back; rejects once that is on disk. */
  #forgotten: Promise<never> | null = null;
  #savedAt = 0;
  #saving: Promise<void> | null = null;

  private constructor(store: LogStore, floors: Map<NodeId, Map<string, Floor>>, saveEveryMs: number) {
    this.#store = store;
    this.#floors = floors;
    this.#saveEveryMs = saveEveryMs;
  }

  static async load(store: LogStore, { floorsMs }: UpkeepPace = DEFAULT_PACE): Promise<PeerFloors> {
    const json = await store.getMeta(META);
    const saved = json === null ? [] : (JSON.parse(json) as [NodeId, [string, number][]][]);
    return new PeerFloors(
      store,
      new Map(
        saved.map(
          ([node, stores]) => [node, new Map(stores.map(([id, seq]) => [id, { seq, incarnation: 0 }]))] as const,
        ),
      ),
      floorsMs,
    );
  }

  wentBack({ node, storeId, incarnation, durableSeq }: PeerHello): number {
    const floor = this.#floors.get(node)?.get(storeId);
    const wentBack = floor !== undefined && floor.incarnation !== incarnation && durableSeq < floor.seq;
    return wentBack && ruleHolds('store-that-went-back-is-refused') ? floor.seq : 0;
  }

  /**
   * If this node's own store went back it does not know what it has voted for. It is marked as one that forgot, and the
   * process ends: the next one sets the store aside, learns, and votes again once the log has replaced the old store.
   */
  refused(by: NodeId, seq: number): void {
    const { durableSeq } = this.#store;
    if (seq <= durableSeq || this.#forgotten !== null) return;
    const reason = `this store went back: node ${by} has seen its record ${seq}, the newest one is ${durableSeq}`;
    this.#forgotten = this.#store.markForgotten(reason).then(() => {
      throw new PhxError('AMNESIA', reason, {
        hint: 'nothing to do: the node joins again as a learner, and then votes again',
      });
    });
    this.#forgotten.catch(() => {});
  }

  /** Why that store must be refused, or null; notes what it says. */
  check(hello: PeerHello): string | null {
    const confirmed = this.wentBack(hello);
    if (confirmed > 0) {
      return `store ${hello.storeId} of node ${hello.node} went back: it confirmed record ${confirmed} and now has ${hello.durableSeq}`;
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

  /** Rejects with AMNESIA once this node's own store is known to have gone back. */
  async tick(now: MonoMs): Promise<void> {
    if (this.#forgotten !== null) await this.#forgotten;
    if (now - this.#savedAt < this.#saveEveryMs) return;
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
