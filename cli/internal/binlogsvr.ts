import { createHash } from 'node:crypto';
import { readAdopted } from '../../agent/host/adopted-file.ts';
import { INTERNAL_ACCOUNTS, internalPassword } from '../../base/accounts.ts';
import type { NodeId } from '../../base/brands.ts';
import type { ToBinlogsvr } from '../../base/ipc.ts';
import { systemClock } from '../../base/system-clock.ts';
import { systemRandom } from '../../base/system-random.ts';
import { startBinlogsvr } from '../../binlogsvr/binlogsvr.ts';
import { startDumpServer } from '../../binlogsvr/dump-server.ts';
import { mysqldSource } from '../../sync/mysqld-source.ts';
import { Sync } from '../../sync/sync.ts';
import { DIED_OF } from '../child.ts';
import { configChecksum, readNodeConfig } from '../config.ts';
import { version } from '../entry.ts';
import { createLogger } from '../logger.ts';
import { LoneFounder } from '../lone-founder.ts';
import { readMysqlInstall } from '../node-dir.ts';
import { appendStoreOf } from './append-store.ts';
import { answerSupervisor, dieWithSupervisor, onStop, watchSupervisor } from './component.ts';

/**
 * Server ids of what is no mysqld but speaks its replication protocol: far above the node ids (1..255) mysqlds have, so
 * that nobody mistakes its own events, or another's, by the id.
 */
const syncServerId = (node: NodeId): number => 0x7f00_0000 + node;
const dumpServerId = (node: NodeId): number => 0x7f00_0100 + node;

/**
 * The store of a node with what stands on both sides of it, in one process so that an append costs no RPC:
 *
 *    local mysqld ──binlog──► sync ──► replica of the log ──► dump server ──► mysqlds that follow, CDC
 */
export async function runBinlogsvr(file: string): Promise<void> {
  dieWithSupervisor();
  const questions = answerSupervisor();
  const config = readNodeConfig(file);
  const { cluster, node, self, security, lease, dataDir } = config;
  // An adopted server founds its cluster alone: an empty node beside it must never be the first to speak.
  const nodes = (await readAdopted(dataDir)) === null ? config.nodes : [self];
  const alone = new LoneFounder(dataDir, config.join === null && nodes.length === 1);
  const log = createLogger('binlogsvr', node);
  const clock = systemClock;
  watchSupervisor(questions, clock, log);
  const witness = config.join?.kind === 'witness';
  const binlogsvr = await startBinlogsvr({
    cluster,
    self,
    nodes,
    dataDir,
    security,
    lease,
    purge: config.log,
    join: config.join !== null || alone.founded,
    clock,
    random: systemRandom,
    log,
    configChecksum: Buffer.from(configChecksum(config), 'hex'),
    version: version(),
    mysqlVersion: witness ? '' : readMysqlInstall(config).version,
    suspectStore: process.env[DIED_OF] !== undefined,
    waitForStore: true,
    onFatal: (error) => {
      // An acceptor that cannot remember must not answer.
      log.error('the store failed: this process ends', { reason: String(error) });
      process.exit(1);
    },
  });
  binlogsvr.replica.events.onChange(() => alone.look(binlogsvr.replica.state.baseline !== null));
  process.on('message', (message: ToBinlogsvr) => {
    if (message.kind === 'pids') binlogsvr.setPids(JSON.stringify(message.pids));
  });

  const account = (name: 'sync' | 'replica') => ({
    user: INTERNAL_ACCOUNTS[name],
    password: internalPassword(security.clusterSecret, name),
  });
  const sync = new Sync({
    serverId: syncServerId(node),
    replicaUuid: uuidOf(`${cluster} sync ${node}`),
    connect: mysqldSource(account('sync')),
    pid: process.pid,
    store: appendStoreOf(binlogsvr.replica),
    flow: { policy: config.flow, candidateLagMs: binlogsvr.candidateLagMs },
    clock,
    log,
    onStatus: binlogsvr.setSyncStatus,
  });
  binlogsvr.setSyncStatus(sync.status);
  binlogsvr.onReport(({ attachEpoch, mysqlSocket }) => sync.aim({ epoch: attachEpoch, socketPath: mysqlSocket }));

  const dump = witness
    ? null
    : await startDumpServer({
        host: self.host,
        port: self.dump,
        serverId: dumpServerId(node),
        serverUuid: uuidOf(`${cluster} dump ${node}`),
        serverVersion: readMysqlInstall(config).version,
        account: account('replica'),
        source: binlogsvr.replica,
        totals: binlogsvr.rowTotals,
        clock,
        log,
      });
  onStop(async () => {
    await sync.close();
    await dump?.close();
    await binlogsvr.close();
  });
}

/** The same for the same name, whoever asks: a restart is not another server. */
function uuidOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `5${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}
