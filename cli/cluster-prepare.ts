import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { MysqlInstall } from '../base/mysql-install.ts';
import { systemClock } from '../base/system-clock.ts';
import {
  absoluteDir,
  type Cluster,
  checkFlags,
  configFileOf,
  ensureNodes,
  foundCluster,
  nodeDirOf,
  planCluster,
  readCluster,
  writeMysqlInstall,
} from './cluster-dir.ts';
import { readNodeConfig } from './config.ts';
import { DirLock } from './dir-lock.ts';
import { checkDisk, checkPorts, portsOf } from './host-checks.ts';
import { endAllOf, managerOf } from './manager.ts';
import { readLivePids } from './pids-file.ts';
import { markOf } from './processes.ts';
import { parseSettings, writeSettings } from './shared-settings.ts';

export type StartFlags = Readonly<{ nodes?: number; portOffset?: number; settings?: string }>;

export const DEFAULT_NODES = 3;

/** A cluster made or found, checked, nothing of it running yet. The lock is the caller's to release. */
export type PreparedCluster = Readonly<{ dir: string; cluster: Cluster; founded: boolean; lock: DirLock }>;

/**
 * Everything that can be refused is refused here, before anything is started or, for a new cluster, kept: a foreign
 * directory, one in use, flags that contradict it, taken ports, too little disk, no suitable MySQL (`provision`).
 */
export async function prepareCluster(
  where: string,
  flags: StartFlags,
  progress: (line: string) => void,
  provision: (progress: (line: string) => void) => Promise<MysqlInstall>,
): Promise<PreparedCluster> {
  const isNew = !existsSync(where);
  const found = readCluster(absoluteDir(where));
  if (found !== null) checkFlags(found, absoluteDir(where), flags);
  const settings = flags.settings === undefined ? null : readSettingsToGive(flags.settings);
  const cluster = found ?? planCluster(flags.nodes ?? DEFAULT_NODES, flags.portOffset ?? 0);
  mkdirSync(where, { recursive: true, mode: 0o700 });
  const dir = absoluteDir(where);
  const lock = await DirLock.take(dir, () => managerOf(dir)?.pid ?? null);
  try {
    refuseOwnNodes(dir, cluster);
    // We hold the lock: whatever else runs here lost its manager.
    await endAllOf(dir, systemClock);
    const used = cluster.nodes.filter(({ id }) => existsSync(join(dir, `node-${id}`, 'run'))).length;
    await checkDisk(dir, cluster.nodes.length - used, used);
    await checkPorts(portsOf(cluster.nodes), progress);
    const install = await provision(progress);
    const password = process.env.PHXSQL_ROOT_PASSWORD;
    if (found === null) {
      if (settings !== null) writeSettings(dir, settings);
      foundCluster(dir, cluster, install, password === '' ? undefined : password);
    } else writeMysqlInstall(dir, install);
    ensureNodes(dir, cluster);
    for (const { id } of cluster.nodes) readNodeConfig(configFileOf(dir, id)); // perhaps edited
    return { dir, cluster, founded: found === null, lock };
  } catch (error) {
    await lock.release();
    if (found === null && !existsSync(join(dir, 'cluster.json'))) removeBegun(dir, isNew);
    throw error;
  }
}

/** A node somebody runs by itself is not ours to end. */
function refuseOwnNodes(dir: string, cluster: Cluster): void {
  for (const { id } of cluster.nodes) {
    const pid = readLivePids(nodeDirOf(dir, id)).supervisor;
    if (pid === null || markOf(pid) !== null) continue;
    throw new PhxError('DIR_IN_USE', `start cluster in ${dir}: node ${id} is run by itself, by process ${pid}`, {
      hint: 'phxsql cluster stop ends it too',
    });
  }
}

/** Checked before anything is made. */
function readSettingsToGive(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new PhxError('CONFIG_INVALID', `read settings ${file}: ${reasonOf(error)}`, { cause: error });
  }
  parseSettings(text, file);
  return text;
}

/** A refused founding leaves nothing behind. */
function removeBegun(dir: string, isNew: boolean): void {
  if (isNew) rmSync(dir, { recursive: true, force: true });
  else rmSync(join(dir, 'lock'), { recursive: true, force: true });
}

export function checkNodeCount(count: number): number {
  if (count === 3 || count === 5) return count;
  throw new PhxError('CONFIG_INVALID', `plan cluster: --nodes ${count} is not 3 or 5`, {
    hint: 'an even number survives no more failures than the odd one below it',
  });
}
