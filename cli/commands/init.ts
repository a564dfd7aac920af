import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { adoptDatadir } from '../../agent/host/adopt-datadir.ts';
import type { Adopted } from '../../agent/host/adopted-file.ts';
import type { UserSettings } from '../../agent/my-cnf.ts';
import { INTERNAL_ACCOUNTS, internalPassword } from '../../base/accounts.ts';
import { PhxError } from '../../base/errors.ts';
import type { MysqlInstall } from '../../base/mysql-install.ts';
import { systemClock } from '../../base/system-clock.ts';
import { findMysqld } from '../../deploy/mysql-provision.ts';
import {
  absoluteDir,
  BEGUN,
  configFileOf,
  ensureNodes,
  nodeDirOf,
  passwordFileOf,
  planCluster,
  readCluster,
  writeCluster,
  writeMysqlInstall,
  writeSecrets,
} from '../cluster-dir.ts';
import { readNodeConfig } from '../config.ts';
import { DirLock } from '../dir-lock.ts';
import { checkPorts, portsOf } from '../host-checks.ts';
import { managerOf } from '../manager.ts';
import { readMysqlInstall } from '../node-dir.ts';
import { readLivePids } from '../pids-file.ts';
import type { InitOptions } from '../program-init.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `phxsql init --adopt`: an existing server becomes node 1 of a cluster of its own, without a dump. */
export async function init(flags: InitOptions): Promise<void> {
  if (flags.config === undefined) await adoptHere(flags);
  else await adoptRemote(flags, flags.config);
}

/** Into the directory of a one-machine cluster. */
async function adoptHere(flags: InitOptions): Promise<void> {
  const isNew = !existsSync(flags.dir);
  const adoptedBefore = join(nodeDirOf(absoluteDir(flags.dir), 1), 'adopted.json');
  const begun = existsSync(adoptedBefore) ? new Set([...BEGUN, 'node-1']) : BEGUN;
  if (readCluster(absoluteDir(flags.dir), begun) !== null) {
    throw new PhxError(
      'DIR_FOREIGN',
      `adopt ${flags.datadir}: there is a cluster in ${absoluteDir(flags.dir)} already`,
      {
        hint: 'give another --dir: the server becomes node 1 of a new cluster',
      },
    );
  }
  mkdirSync(flags.dir, { recursive: true, mode: 0o700 });
  const dir = absoluteDir(flags.dir);
  await using _lock = await DirLock.take(dir, () => managerOf(dir)?.pid ?? null);
  const cluster = planCluster(1, flags.portOffset ?? 0);
  try {
    await checkPorts(portsOf(cluster.nodes), say);
    const install = await findMysqld({ env: process.env, progress: say });
    const given = process.env.PHXSQL_ROOT_PASSWORD;
    const secret = writeSecrets(dir, given === undefined || given === '' ? undefined : given, 'keep');
    writeMysqlInstall(dir, install);
    const adopted = await adopt(flags, nodeDirOf(dir, 1), install, secret, {});
    ensureNodes(dir, cluster);
    readNodeConfig(configFileOf(dir, 1));
    writeCluster(dir, cluster);
    tell(adopted, [
      `if it has no account root@'%', the cluster makes one: its password is in ${passwordFileOf(dir)}`,
      `next: phxsql cluster start --detach --dir ${dir}; then phxsql member add --dir ${dir}, twice`,
    ]);
  } catch (error) {
    // A refused adoption leaves nothing behind; one that was broken off goes on the next time.
    if (isNew && !existsSync(adoptedBefore)) rmSync(dir, { recursive: true, force: true });
    throw error;
  }
}

/** Into the data_dir of a node's configuration. */
async function adoptRemote(flags: InitOptions, file: string): Promise<void> {
  const config = readNodeConfig(file);
  if (config.join !== null || config.nodes.length > 1) {
    throw new PhxError('CONFIG_INVALID', `adopt ${flags.datadir}: ${config.file} has other nodes`, {
      hint: '[[nodes]] lists this node alone, without [join]: an adopted server founds its cluster by itself, the others join it',
    });
  }
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  await using _lock = await DirLock.take(config.dataDir, () => readLivePids(config.dataDir).supervisor);
  const install =
    config.mysqlInstallFile === null ? await findMysqld({ env: process.env, progress: say }) : readMysqlInstall(config);
  const adopted = await adopt(flags, config.dataDir, install, config.security.clusterSecret, config.mysqld);
  tell(adopted, [
    `if it has no account root@'%', the cluster makes one: its password is in ${config.rootPasswordFile}`,
    `next: phxsql node --config ${config.file}; then phxsql member add --config FILE on each further host`,
  ]);
}

function adopt(
  flags: InitOptions,
  nodeDir: string,
  install: MysqlInstall,
  clusterSecret: string,
  settings: UserSettings,
): Promise<Adopted> {
  const account = (name: 'agent' | 'sync') => ({
    user: INTERNAL_ACCOUNTS[name],
    password: internalPassword(clusterSecret, name),
  });
  return adoptDatadir({
    install,
    datadir: absoluteDir(flags.datadir),
    nodeDir,
    binlogIndex: flags.binlogIndex === undefined ? null : resolve(flags.binlogIndex),
    agentAccount: account('agent'),
    syncAccount: account('sync'),
    settings,
    clock: systemClock,
    say,
  });
}

function tell({ gtidSet, serverUuid, version }: Adopted, lines: readonly string[]): void {
  say(`adopted MySQL ${version}, server ${serverUuid}; the cluster begins with ${gtidSet}`);
  for (const line of lines) say(line);
}
