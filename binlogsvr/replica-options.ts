import type { NodeId } from '../base/brands.ts';
import type { Clock, Logger, Random } from '../base/ports.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { PeerTransport, Software } from './peer-transport.ts';
import type { PurgePolicy } from './purge-policy.ts';
import type { LogStore, OpenReport } from './store-port.ts';
import type { UpkeepPace } from './upkeep-pace.ts';
import type { PeerAddress } from './values.ts';

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
  /** Where peers dial founders, for the log's first value. */
  addresses?: ReadonlyMap<NodeId, PeerAddress>;
  /** Where peers dial this node: it joins a cluster there is. */
  join?: PeerAddress;
  /** Told to peers. */
  runs?: Software;
  /** Default: DEFAULT_PURGE. */
  purge?: PurgePolicy;
  /** Default: DEFAULT_PACE. */
  pace?: UpkeepPace;
  /** The store failed: the process has to end (an acceptor that cannot remember must not answer). */
  onFatal: (error: unknown) => void;
}>;
