import type { InstanceId, NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { AppliedLog } from './applied-log.ts';
import type { Conditions } from './conditions.ts';
import { CHOSEN_BALLOT, type Entry } from './paxos/types.ts';
import type { LogStore } from './store-port.ts';

/** One answer to a peer that catches up; one value of any size always fits. */
const LEARNED_BYTES_MAX = 2 * 1024 * 1024;
/** A peer that does not send a value within this is passed over. */
const REPAIR_MS = 1000;

export type LogServerPort = Readonly<{
  clock: Clock;
  log: Logger;
  conditions: Conditions;
  store: LogStore;
  applied: () => AppliedLog;
  appliedIndex: () => InstanceId;
  peersUp: () => readonly NodeId[];
  sendLearned: (to: NodeId, entries: readonly Entry[]) => void;
  askLearn: (from: NodeId, instance: InstanceId) => void;
  /** Sends the snapshot that stands for what is purged. */
  sendSnapshot: (to: NodeId) => void;
}>;

/** Gives chosen values to peers that lack them, and gets one back whose own copy has gone bad. */
export class LogServer {
  readonly #p: LogServerPort;
  /** One answer under way per peer: it asks again for what it still lacks. */
  readonly #serving = new Set<NodeId>();
  readonly #repairs = new Map<InstanceId, Uint8Array | null>();

  constructor(port: LogServerPort) {
    this.#p = port;
  }

  async serve(to: NodeId, from: InstanceId): Promise<void> {
    if (this.#serving.has(to)) return;
    this.#serving.add(to);
    try {
      const entries = await this.#p.applied().entries(from, this.#p.appliedIndex(), LEARNED_BYTES_MAX);
      if (entries.length > 0) this.#p.sendLearned(to, entries);
    } catch (error) {
      if (error instanceof PhxError && error.code === 'PURGED') this.#p.sendSnapshot(to);
      else this.#p.log.error('read log for a peer failed', { peer: to, from, reason: reasonOf(error) });
    } finally {
      this.#serving.delete(to);
    }
  }

  /** Asks one peer after another. @throws PhxError STORE_CORRUPT if none has it now */
  async repair(instance: InstanceId): Promise<void> {
    const { clock, conditions, store, log } = this.#p;
    log.warn('a stored value is bad, fetching it from a peer', { instance });
    if (!this.#repairs.has(instance)) this.#repairs.set(instance, null);
    try {
      for (const peer of this.#p.peersUp()) {
        this.#p.askLearn(peer, instance);
        await conditions.wait(() => (this.#repairs.get(instance) ?? null) !== null, clock.now() + REPAIR_MS);
        const value = this.#repairs.get(instance) ?? null;
        if (value !== null) {
          await store.repair({ instance, ballot: CHOSEN_BALLOT, value });
          return;
        }
      }
    } finally {
      this.#repairs.delete(instance);
    }
    throw new PhxError('STORE_CORRUPT', `read instance ${instance}: the stored value is bad and no peer has it now`);
  }

  /** Chosen values came from a peer. */
  learned(entries: readonly Entry[]): void {
    if (this.#repairs.size === 0) return;
    for (const { instance, value } of entries) if (this.#repairs.has(instance)) this.#repairs.set(instance, value);
  }
}
