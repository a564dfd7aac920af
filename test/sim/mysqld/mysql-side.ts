import { startAgent } from '../../../agent/agent.ts';
import type { NodeId } from '../../../base/brands.ts';
import { DEFAULT_FLOW } from '../../../base/flow-policy.ts';
import type { Prng } from '../../../base/prng.ts';
import type { LeaseTimes } from '../../../base/topology.ts';
import type { LogSource } from '../../../binlogsvr/log-source.ts';
import { appendStoreOf } from '../../../cli/internal/append-store.ts';
import { Sync } from '../../../sync/sync.ts';
import { addressOf } from '../addresses.ts';
import type { Kernel } from '../kernel.ts';
import { type SimNode, simLogger } from '../node.ts';
import type { SimProcess } from '../process.ts';
import { type RpcProfile, type Server, SimBinlogsvrClient } from '../rpc.ts';
import type { Tally } from '../tally.ts';
import { MysqldNode } from './node.ts';
import type { MysqldTimes } from './times.ts';

export type MysqlSideOptions = Readonly<{
  kernel: Kernel;
  node: SimNode;
  /** All of the cluster, this one included. */
  nodes: readonly NodeId[];
  /** A stream of its own. */
  random: Prng;
  lease: LeaseTimes;
  rpc: () => RpcProfile;
  tally: Tally;
  times?: Partial<MysqldTimes>;
}>;

/**
 * The MySQL half of a node, around its binlogsvr: the production agent as a supervised process of its own, the production
 * sync inside binlogsvr's process (as cli/internal/binlogsvr.ts has it), and a scripted mysqld, which outlives both.
 * Made before the node is powered.
 */
export class MysqlSide {
  readonly mysqld: MysqldNode;
  readonly #o: MysqlSideOptions;
  #served: Readonly<{ server: Server; log: LogSource }> | null = null;

  constructor(options: MysqlSideOptions) {
    const { kernel, node, random, times } = options;
    this.#o = options;
    this.mysqld = new MysqldNode({
      kernel,
      random,
      id: node.id,
      spawn: (name) => node.spawn(name),
      logSource: () => (this.#served !== null && this.#served.server === node.server ? this.#served.log : null),
      ...(times === undefined ? {} : { times }),
    });
    const before = node.onServer;
    node.onServer = (server) => {
      before?.(server);
      this.#served = { server, log: servedBy(server) };
      this.#startSync(server.process, server.services);
    };
    node.supervise({ name: 'agent', run: (process) => this.#runAgent(process) });
  }

  /** After the node's processes were killed by SimNode.cutPower. */
  powerCut(): void {
    this.mysqld.powerCut();
  }

  #startSync(process: SimProcess, services: Server['services']): void {
    const { kernel, node } = this.#o;
    const sync = new Sync({
      serverId: 0x7f00_0000 + node.id,
      replicaUuid: `00000000-0000-0000-0000-00000000000${node.id}`,
      connect: this.mysqld.sourceFor(process),
      pid: node.id,
      store: appendStoreOf(services.replica),
      flow: { policy: DEFAULT_FLOW, candidateLagMs: () => services.candidateLagMs },
      clock: process.clock,
      log: simLogger(kernel, process.name),
      onStatus: (status) => services.setSyncStatus(status),
    });
    services.setSyncStatus(sync.status);
    services.onReport(({ attachEpoch, mysqlSocket }) => sync.aim({ epoch: attachEpoch, socketPath: mysqlSocket }));
  }

  async #runAgent(process: SimProcess): Promise<void> {
    const { kernel, node, nodes, random, lease, rpc, tally } = this.#o;
    await startAgent({
      self: addressOf(node.id),
      nodes: nodes.map(addressOf),
      client: new SimBinlogsvrClient(kernel, process, () => node.server, rpc, tally),
      server: this.mysqld.serverFor(process),
      security: { clusterSecret: 'secret of a simulated cluster', tls: null },
      lease,
      clock: process.clock,
      random,
      log: simLogger(kernel, process.name),
    });
  }
}

/** Its applied log, answered by its process: not while that is frozen, never again once it is dead. */
function servedBy({ process, services: { replica } }: Server): LogSource {
  const within = <T>(answer: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      process.deliver(() => void answer().then(resolve, reject));
    });
  return {
    get state() {
      return replica.state;
    },
    readLog: (from, maxBytes) => within(() => replica.readLog(from, maxBytes)),
    waitApplied: (beyond, signal) => within(() => replica.waitApplied(beyond, signal)),
    formatDescriptionOf: (file) => within(() => replica.formatDescriptionOf(file)),
    sampleFor: (set) => within(() => replica.sampleFor(set)),
  };
}
