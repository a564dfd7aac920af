import type { InstanceId, MonoMs, NodeId } from '../base/brands.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { AppliedLog } from './applied-log.ts';
import type { Conditions } from './conditions.ts';
import { LogServer } from './log-server.ts';
import type { Entry, Holding } from './paxos/types.ts';
import type { Needs, PeerTransport, Recall, Recalled, SnapshotAsk, SnapshotPiece } from './peer-transport.ts';
import { DEFAULT_PURGE } from './purge-policy.ts';
import { Purger } from './purger.ts';
import type { ReplicaOptions } from './replica-options.ts';
import { Snapshots } from './snapshots.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore } from './store-port.ts';
import { DEFAULT_PACE } from './upkeep-pace.ts';
import { ValueRepair } from './value-repair.ts';
import type { Voting } from './voting.ts';

export type LogKeepingPort = Readonly<{
  self: NodeId;
  clock: Clock;
  log: Logger;
  conditions: Conditions;
  store: LogStore;
  transport: PeerTransport;
  upkeep: Pick<ReplicaOptions, 'purge' | 'pace'>;
  state: () => ReplicatedState;
  applied: () => AppliedLog;
  appliedIndex: () => InstanceId;
  /** Up to here a saved state was handed to the store. */
  savedIndex: () => InstanceId;
  /** Everything up to here is chosen and durable here. */
  settled: () => InstanceId;
  peersUp: () => readonly NodeId[];
  voting: Voting;
  /** What the acceptor has above what is applied. */
  holding: (instance: InstanceId) => Holding;
  stopped: () => boolean;
  sendLearned: (to: NodeId, entries: readonly Entry[]) => void;
  /** A snapshot is in the store: the log of this node goes on behind this state. */
  installed: (state: ReplicatedState) => void;
  failed: (error: unknown) => void;
}>;

/**
 * What becomes of the log once it is applied: how much of it is kept, and what a peer gets that asks for what it lacks.
 *
 *   a peer lacks instances ──► retained here: the values (LogServer)
 *                         └──► purged here: a snapshot, then the values behind it (Snapshots)
 *   a value is bad here ────► from a peer, once it is proven (ValueRepair)
 */
export class LogKeeping {
  readonly server: LogServer;
  readonly repairs: ValueRepair;
  readonly snapshots: Snapshots;
  readonly purger: Purger;

  constructor(port: LogKeepingPort) {
    const { transport, applied } = port;
    this.snapshots = new Snapshots(port);
    this.server = new LogServer({
      ...port,
      sendSnapshot: (to) => this.snapshots.begin(to),
    });
    this.repairs = new ValueRepair({ ...port, send: (to, message) => transport.send(to, message) });
    this.purger = new Purger({
      ...port,
      policy: port.upkeep.purge ?? DEFAULT_PURGE,
      pace: port.upkeep.pace ?? DEFAULT_PACE,
      send: (to, needs) => transport.send(to, needs),
      formatDescriptionOf: (file) => applied().formatDescriptionOf(file, port.appliedIndex()),
    });
  }

  /** `storeId`: of the store the sender speaks of. */
  message(from: NodeId, storeId: string, message: SnapshotAsk | SnapshotPiece | Needs | Recall | Recalled): void {
    if (message.kind === 'needs') this.purger.heard(from, message);
    else if (message.kind === 'recall' || message.kind === 'recalled') this.repairs.message(from, storeId, message);
    else this.snapshots.message(from, message);
  }

  tick(now: MonoMs): void {
    this.snapshots.tick(now);
    this.purger.tick(now);
    this.repairs.tick(now);
  }
}
