import type { NodeId } from '../base/brands.ts';
import type { Clock, Logger, Random } from '../base/ports.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { PeerTransport } from './peer-transport.ts';
import type { PurgePolicy } from './purge-policy.ts';
import type { LogStore, OpenReport } from './store-port.ts';

/** What a Replica stands on. */
export type ReplicaOptions = Readonly<{
  self: NodeId;
  /** All configured nodes, self included. */
  nodes: readonly NodeId[];
  store: LogStore;
  report: OpenReport;
  transport: PeerTransport;
  clock: Clock;
  random: Random;
  log: Logger;
  lease: LeaseTimes;
  /** Default: DEFAULT_PURGE. */
  purge?: PurgePolicy;
  /** The store failed: the process has to end (an acceptor that cannot remember must not answer). */
  onFatal: (error: unknown) => void;
}>;
