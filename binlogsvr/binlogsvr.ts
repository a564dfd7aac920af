import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Server } from '@grpc/grpc-js';
import { requireFreeDisk } from '../base/disk-space.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger, Random } from '../base/ports.ts';
import type { LeaseTimes, NodeAddress, Security } from '../base/topology.ts';
import type { AgentReport, NodeStatus, SyncStatus, View } from '../proto/binlogsvr-types.ts';
import { SERVER_OPTIONS, serverCredentials } from '../proto/rpc-channel.ts';
import { openWhenPossible } from './closed-store.ts';
import { LevelDbLogStore } from './log-store.ts';
import { NodeServices } from './node-services.ts';
import { GrpcPeers } from './peers.ts';
import type { PurgePolicy } from './purge-policy.ts';
import type { Replica } from './replica.ts';
import type { RowTotals } from './row-totals.ts';
import { registerRpc } from './rpc-server.ts';
import type { OpenReport } from './store-port.ts';
import type { PeerAddress } from './values.ts';

/** Running calls get this long at the end. */
const CLOSE_MS = 500;
/** With less, the next flush of LevelDB's write buffer may fail: such a store is not opened, or it would end again at once. */
const STORE_FREE_BYTES_MIN = 32 * 1024 * 1024;

export type BinlogsvrOptions = Readonly<{
  cluster: string;
  self: NodeAddress;
  /** All nodes, self included. */
  nodes: readonly NodeAddress[];
  /** Holds the store. */
  dataDir: string;
  security: Security;
  lease: LeaseTimes;
  /** How much of the log is kept. Default: DEFAULT_PURGE. */
  purge?: PurgePolicy;
  clock: Clock;
  random: Random;
  log: Logger;
  /** This node is no founder: it asks the nodes it knows to be taken in as a learner. */
  join?: boolean;
  /** Digest of what all nodes must agree on. */
  configChecksum: Uint8Array;
  version?: string;
  /** MySQL's version, '' without one. Default: nothing is told of it. */
  mysqlVersion?: string;
  /** The process before died by a fault of its own, perhaps because of its store. */
  suspectStore?: boolean;
  /** A store whose disk is full, or fails, is waited for; every call says so meanwhile. Default: it is thrown. */
  waitForStore?: boolean;
  /** The store failed: the process has to end non-zero. Default: it does. */
  onFatal?: (error: unknown) => void;
}>;

export type Binlogsvr = Readonly<{
  replica: Replica;
  agentReport: () => AgentReport | null;
  setSyncStatus: (status: SyncStatus) => void;
  /** A NodePids (base/ipc.ts) as JSON. */
  setPids: (json: string) => void;
  onReport: (listener: (report: AgentReport) => void) => () => void;
  view: () => View;
  /** Of the least-lagged node that could take over from this master; null: there is none. */
  candidateLagMs: () => number | null;
  /** For the dump server. */
  rowTotals: RowTotals;
  status: () => NodeStatus;
  close: () => Promise<void>;
}>;

/**
 * One node's store of the replicated binlog: Paxos with its peers, the lease, and the calls of this node's agent, sync and
 * proxy. Listens, and answers Status with the reason why it does not vote yet, without waiting for any peer.
 * @throws PhxError PORT_IN_USE, DIR_IN_USE, DIR_FOREIGN, STORE_FORMAT; STORE_IO, DISK_TOO_SMALL
 */
export async function startBinlogsvr(options: BinlogsvrOptions): Promise<Binlogsvr> {
  const { cluster, self, nodes, security, clock, random, log, lease } = options;
  const { store, report: opened } = options.waitForStore
    ? await openWhenPossible(() => openStore(options), options)
    : await openStore(options);
  const peers = new GrpcPeers({ cluster, checksum: options.configChecksum, self, nodes, security, log });
  const server = new Server(SERVER_OPTIONS);
  const services = await NodeServices.open(
    {
      self: self.id,
      nodes: nodes.map((node) => node.id),
      store,
      report: opened,
      transport: peers,
      clock,
      random,
      log,
      lease,
      addresses: new Map(nodes.map((node) => [node.id, addressOf(node)])),
      ...(options.join ? { join: addressOf(self) } : {}),
      ...(options.mysqlVersion === undefined
        ? {}
        : { runs: { build: options.version ?? '', mysql: options.mysqlVersion } }),
      ...(options.purge === undefined ? {} : { purge: options.purge }),
      onFatal: options.onFatal ?? (() => process.exit(1)),
    },
    { pid: process.pid, version: options.version ?? '' },
  );
  const { replica } = services;
  peers.register(server);
  registerRpc(server, services, security);
  let closing: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    await services.close();
    await peers.close();
    await shutDown(server);
    await store.close();
  };
  try {
    await listen(server, self, security);
  } catch (error) {
    await close();
    throw error;
  }
  log.info('binlogsvr listens', { node: self.id, rpc: self.rpc, appliedIndex: replica.state.appliedIndex });
  return {
    replica,
    agentReport: () => services.agentReport,
    setSyncStatus: (status) => services.setSyncStatus(status),
    setPids: (json) => services.setPids(json),
    onReport: (listener) => services.onReport(listener),
    view: () => services.view(),
    candidateLagMs: () => services.candidateLagMs,
    rowTotals: services.rowTotals,
    status: () => services.status(),
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function addressOf({ host, rpc, rw, ro, dump, mysql, http }: NodeAddress): PeerAddress {
  return { host, rpc, ports: { rw, ro, dump, mysql, http } };
}

/** Opens the store; one that forgot is set aside and a new acceptor begun, which learns until the log replaces the old one. */
async function openStore(options: BinlogsvrOptions): Promise<{ store: LevelDbLogStore; report: OpenReport }> {
  const { cluster, self, dataDir, log, clock } = options;
  const storeOptions = {
    dir: join(dataDir, 'store'),
    cluster,
    node: self.id,
    log,
    clockWall: () => clock.wall(),
    suspect: options.suspectStore ?? false,
  };
  await mkdir(storeOptions.dir, { recursive: true });
  await requireFreeDisk(storeOptions.dir, STORE_FREE_BYTES_MIN, 'the store');
  let reason: string;
  try {
    const opened = await LevelDbLogStore.open(storeOptions);
    if (opened.report.amnesia === null) return opened;
    reason = opened.report.amnesia;
    await opened.store.close();
  } catch (error) {
    if (!(error instanceof PhxError) || error.code !== 'AMNESIA') throw error;
    reason = error.message;
  }
  log.error('THE STORE FORGOT WHAT IT VOTED FOR: it is set aside, this node joins again as a learner', {
    node: self.id,
    reason,
  });
  await LevelDbLogStore.forget(storeOptions, reason);
  return LevelDbLogStore.open(storeOptions);
}

function listen(server: Server, self: NodeAddress, security: Security): Promise<void> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${self.host}:${self.rpc}`, serverCredentials(security), (error) => {
      if (error === null) resolve();
      else
        reject(new PhxError('PORT_IN_USE', `listen on ${self.host}:${self.rpc}: ${reasonOf(error)}`, { cause: error }));
    });
  });
}

function shutDown(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.forceShutdown(), CLOSE_MS);
    server.tryShutdown(() => {
      clearTimeout(force);
      resolve();
    });
  });
}
