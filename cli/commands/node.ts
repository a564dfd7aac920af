import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../../base/ports.ts';
import { systemClock } from '../../base/system-clock.ts';
import { findMysqld } from '../../deploy/mysql-provision.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import { ViewFeed } from '../../proxy/feed.ts';
import { newPassword } from '../cluster-dir.ts';
import { type NodeConfig, readNodeConfig } from '../config.ts';
import { DirLock } from '../dir-lock.ts';
import { ENTRY } from '../entry.ts';
import { writeAtomically } from '../files.ts';
import type { Command } from '../launcher.ts';
import { createLogger } from '../logger.ts';
import { endAllOf } from '../manager.ts';
import { mysqlFileOfNode, readMysqlInstall } from '../node-dir.ts';
import { readLivePids } from '../pids-file.ts';
import { onStopSignals } from '../signals.ts';
import { Supervisor } from '../supervisor.ts';

/** `phxsql node`: runs one node until it is told to stop. */
export async function runNode(file: string): Promise<void> {
  const config = readNodeConfig(file);
  const log = createLogger('supervisor', config.node);
  const stopRequest = Promise.withResolvers<string>();
  const kill: { now: () => void } = { now: () => process.exit(1) };
  onStopSignals(stopRequest.resolve, () => kill.now());

  mkdirSync(join(config.dataDir, 'run'), { recursive: true, mode: 0o700 });
  await using lock = await DirLock.take(config.dataDir, () => readLivePids(config.dataDir).supervisor);
  // We hold the lock, so whatever still runs here lost its supervisor: no second mysqld beside it.
  await endAllOf(config.dataDir, systemClock);
  const witness = config.join?.kind === 'witness';
  if (!witness) await provideMysql(config, log);
  if (config.join === null) provideRootPassword(config);

  const supervisor = new Supervisor({
    nodeDir: config.dataDir,
    binlogsvr: componentOf('binlogsvr', config, { UV_THREADPOOL_SIZE: '16' }),
    agent: witness ? null : componentOf('agent', config),
    proxies: Array.from({ length: config.proxy.workers }, () => componentOf('proxy', config)),
    startFeed: (deliver) => startFeed(config, log, deliver),
    clock: systemClock,
    log,
  });
  kill.now = () => void supervisor.killAll();
  log.info('node starts', { node: config.node, cluster: config.cluster, dataDir: config.dataDir });
  supervisor.start();
  const signal = await stopRequest.promise;
  log.info('asked to stop', { signal });
  await supervisor.stop();
  await endAllOf(config.dataDir, systemClock);
  await lock.release();
  process.exit(0);
}

function componentOf(name: string, config: NodeConfig, env: Readonly<Record<string, string>> = {}): Command {
  return {
    file: process.execPath,
    args: [ENTRY, 'internal', name, '--config', config.file],
    env: { ...process.env, ...env },
  };
}

function startFeed(config: NodeConfig, log: Logger, deliver: (view: object) => void): AsyncDisposable {
  const feed = new ViewFeed({
    nodes: config.nodes,
    self: config.self,
    connect: (node) => createBinlogsvrClient(`${node.host}:${node.rpc}`, config.security),
    lease: config.lease,
    clock: systemClock,
    log,
  });
  feed.onView(deliver);
  return feed;
}

/** The MySQL server the agent will run: what `cluster start` found, else what this machine has. */
async function provideMysql(config: NodeConfig, log: Logger): Promise<void> {
  if (config.mysqlInstallFile !== null) {
    readMysqlInstall(config); // refused here, not by each component
    return;
  }
  const install = await findMysqld({ env: process.env, progress: (line) => log.info(line) });
  writeAtomically(mysqlFileOfNode(config), `${JSON.stringify(install, null, 2)}\n`, 'durable');
}

/** Only the cluster's first master uses it. On several machines give each the same file, or know that one's counts. */
function provideRootPassword({ rootPasswordFile, dataDir }: NodeConfig): void {
  if (existsSync(rootPasswordFile) || rootPasswordFile !== join(dataDir, 'root.password')) return;
  const given = process.env.PHXSQL_ROOT_PASSWORD;
  writeAtomically(rootPasswordFile, `${given === undefined || given === '' ? newPassword() : given}\n`, 'durable');
}
