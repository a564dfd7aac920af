import { startAgent } from '../../../agent/agent.ts';
import type { NodeId } from '../../../base/brands.ts';
import type { Prng } from '../../../base/prng.ts';
import type { LeaseTimes, NodeAddress } from '../../../base/topology.ts';
import { appendStoreOf } from '../../../cli/internal/append-store.ts';
import { Sync } from '../../../sync/sync.ts';
import type { Kernel } from '../kernel.ts';
import { type SimNode, simLogger } from '../node.ts';
import type { SimProcess } from '../process.ts';
import { type RpcProfile, SimBinlogsvrClient } from '../rpc.ts';
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

  constructor(options: MysqlSideOptions) {
    const { kernel, node, random, times } = options;
    this.#o = options;
    this.mysqld = new MysqldNode({
      kernel,
      random,
      id: node.id,
      spawn: (name) => node.spawn(name),
      logSource: () => node.server?.services.replica ?? null,
      ...(times === undefined ? {} : { times }),
    });
    const before = node.onServer;
    node.onServer = (server) => {
      before?.(server);
      this.#startSync(server.process, server.services);
    };
    node.supervise({ name: 'agent', run: (process) => this.#runAgent(process) });
  }

  /** After the node's processes were killed by SimNode.cutPower. */
  powerCut(): void {
    this.mysqld.powerCut();
  }

  #startSync(process: SimProcess, services: NonNullable<SimNode['server']>['services']): void {
    const { kernel, node } = this.#o;
    const sync = new Sync({
      serverId: 0x7f00_0000 + node.id,
      replicaUuid: `00000000-0000-0000-0000-00000000000${node.id}`,
      connect: this.mysqld.sourceFor(process),
      pid: node.id,
      store: appendStoreOf(services.replica),
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

function addressOf(id: NodeId): NodeAddress {
  const host = `node-${id}`;
  return { id, host, rw: 1, ro: 2, dump: 3, rpc: 4, mysql: 5, http: 6 };
}
