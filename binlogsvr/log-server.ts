import type { InstanceId, NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/ports.ts';
import type { AppliedLog } from './applied-log.ts';
import type { Entry } from './paxos/types.ts';

/** One answer to a peer that catches up; one value of any size always fits. */
const LEARNED_BYTES_MAX = 2 * 1024 * 1024;

export type LogServerPort = Readonly<{
  log: Logger;
  applied: () => AppliedLog;
  appliedIndex: () => InstanceId;
  sendLearned: (to: NodeId, entries: readonly Entry[]) => void;
  /** Sends the snapshot that stands for what is purged. */
  sendSnapshot: (to: NodeId) => void;
}>;

/** Gives chosen values to peers that lack them. */
export class LogServer {
  readonly #p: LogServerPort;
  /** One answer under way per peer: it asks again for what it still lacks. */
  readonly #serving = new Set<NodeId>();

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
}
