import { randomUUID } from 'node:crypto';
import { open, readdir, readFile, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { INTERNAL_ACCOUNTS, internalPassword } from '../../base/accounts.ts';
import { requireFreeDisk } from '../../base/disk-space.ts';
import { PhxError } from '../../base/errors.ts';
import type { MysqlInstall } from '../../base/mysql-install.ts';
import type { Clock, Logger } from '../../base/ports.ts';
import type { NodeAddress, Security } from '../../base/topology.ts';
import { renderMyCnf, type UserSettings } from '../my-cnf.ts';
import type { MysqldAdmin } from '../mysqld-admin.ts';
import { mysqldCommand } from '../mysqld-command.ts';
import type { MysqldHost, MysqldProcess } from '../mysqld-host.ts';
import type { LocalBinlog, MysqldProcesses, MysqldServer } from '../mysqld-server.ts';
import { ignoredSettings } from '../persisted-settings.ts';
import { readBinlogFile, readBinlogIndex } from './binlog-files.ts';
import { initialiseDatadir } from './datadir.ts';
import { isMissing, makePrivateDirectory, removeDurably, writeDurably } from './durable-file.ts';
import { findMysqlds, kill, lockHolders, runsWith } from './mysqld-process.ts';
import { type NodePaths, nodePaths } from './node-paths.ts';
import { readOpenedMark, removeOpenedMark, writeOpenedMark } from './opened-mark.ts';
import { prepareSocketPath } from './socket-path.ts';
import { SqlMysqldAdmin } from './sql-admin.ts';
import { cut, finishCut, readRemoved } from './tail-cutter.ts';

const PROBE_BLOCK_BYTES = 4096;
/** mysqld makes its temporary tablespace (12 MiB) and a binlog file when it starts; with less it dies at once, or soon. */
const START_BYTES_MIN = 64 * 1024 * 1024;

export type LocalMysqldOptions = Readonly<{
  self: NodeAddress;
  /** This node's directory: mysql/, run/, log/ and cut/ in it are ours. */
  dataDir: string;
  /** Copies of a fresh datadir, shared by the nodes of one machine; null = none. */
  templateDir: string | null;
  mysqlInstall: MysqlInstall;
  host: MysqldHost;
  security: Security;
  /** Holds the password root@'%' gets on the first master of a cluster. */
  rootPasswordFile: string;
  userMysqldSettings: UserSettings;
  clock: Clock;
  log: Logger;
}>;

/** The mysqld of this machine: its socket, processes and files. */
export class LocalMysqld implements MysqldServer {
  readonly admin: MysqldAdmin;
  readonly processes: MysqldProcesses;
  readonly binlog: LocalBinlog;
  readonly #options: LocalMysqldOptions;
  readonly #paths: NodePaths;

  constructor(options: LocalMysqldOptions) {
    const { host, security, clock, log } = options;
    const paths = nodePaths(options.dataDir);
    this.#options = options;
    this.#paths = paths;
    this.admin = new SqlMysqldAdmin(
      {
        socket: paths.socket,
        user: INTERNAL_ACCOUNTS.agent,
        password: internalPassword(security.clusterSecret, 'agent'),
      },
      clock,
    );
    this.processes = {
      current: () => host.current(),
      onExit: (listener) => host.onExit(listener),
      signal: (pid, signal) => host.signal(pid, signal),
      isOurs: (pid) => runsWith(pid, paths.myCnf),
      find: () => findMysqlds(paths.myCnf),
      kill,
      lockHolders: () => lockHolders(paths.ibdata),
    };
    const { cutPlan, autoCnf, cutDir, cutRemoved } = paths;
    const cutting = { paths: { plan: cutPlan, autoCnf, cutDir, removed: cutRemoved }, log };
    this.binlog = {
      cutDir: paths.cutDir,
      index: () => readBinlogIndex(paths.binlogIndex),
      read: readBinlogFile,
      freshUuid: () => randomUUID(),
      cut: (plan) => cut(plan, cutting),
      finishCut: () => finishCut(cutting),
      removed: () => readRemoved(cutRemoved),
      forgetRemoved: () => removeDurably(cutRemoved),
    };
  }

  get socket(): string {
    return this.#paths.socket;
  }

  get errorLog(): string {
    return this.#paths.errorLog;
  }

  async ensureDatadir(creating: () => void): Promise<void> {
    const { security, mysqlInstall, templateDir, userMysqldSettings, log } = this.#options;
    const { datadir, runDir, logDir } = this.#paths;
    await makePrivateDirectory(runDir);
    await makePrivateDirectory(logDir);
    if (await holdsSomething(datadir)) return;
    creating();
    const account = (name: 'agent' | 'sync'): { user: string; password: string } => ({
      user: INTERNAL_ACCOUNTS[name],
      password: internalPassword(security.clusterSecret, name),
    });
    await initialiseDatadir({
      install: mysqlInstall,
      datadir,
      templateDir,
      agentAccount: account('agent'),
      syncAccount: account('sync'),
      settings: userMysqldSettings,
      log,
    });
  }

  async configure({ logsReplicated } = { logsReplicated: false }): Promise<void> {
    const { self, mysqlInstall, userMysqldSettings } = this.#options;
    const paths = this.#paths;
    await requireFreeDisk(paths.datadir, START_BYTES_MIN, 'mysqld to start');
    const myCnf = renderMyCnf({
      version: mysqlInstall.version,
      datadir: paths.datadir,
      socket: await prepareSocketPath(paths.runDir),
      pidFile: paths.pidFile,
      errorLog: paths.errorLog,
      port: self.mysql,
      bindAddress: bindAddressOf(self.host),
      serverId: serverIdOf(self.id),
      reportHost: self.host,
      runAsRoot: process.getuid?.() === 0,
      logReplicaUpdates: logsReplicated,
      settings: userMysqldSettings,
    });
    await writeDurably(paths.myCnf, myCnf);
  }

  start(): Promise<MysqldProcess> {
    const { mysqlInstall, host } = this.#options;
    const { myCnf, datadir, outputLog } = this.#paths;
    const { file, args } = mysqldCommand(mysqlInstall, myCnf);
    return host.start({ file, args, cwd: datadir, logFile: outputLog });
  }

  openedFor(pid: number): Promise<number> {
    return readOpenedMark(this.#paths.openedMark, pid);
  }

  markOpened(pid: number, epoch: number): Promise<void> {
    return writeOpenedMark(this.#paths.openedMark, pid, epoch);
  }

  forgetOpened(): Promise<void> {
    return removeOpenedMark(this.#paths.openedMark);
  }

  /** A block that was not there before: on a full disk one can still write where one has written. */
  async probeDisk(): Promise<void> {
    const { diskProbe } = this.#paths;
    const fresh = `${diskProbe}.new`;
    const file = await open(fresh, 'w', 0o600);
    try {
      await file.writeFile(Buffer.alloc(PROBE_BLOCK_BYTES, Math.floor(this.#options.clock.wall()) & 0xff));
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(fresh, diskProbe);
  }

  async ignoredSettings(): Promise<string> {
    const text = await readFile(join(this.#paths.datadir, 'mysqld-auto.cnf'), 'utf8').catch(() => '');
    return ignoredSettings(text);
  }

  rootPassword(): Promise<string> {
    return readPassword(this.#options.rootPasswordFile);
  }
}

/** Loopback clusters stay on loopback. */
function bindAddressOf(host: string): string {
  return host === 'localhost' || host.startsWith('127.') ? '127.0.0.1' : '*';
}

/** Unlike every other node's and unlike what binlogsvr says when it plays the source (which is above 2^31). */
function serverIdOf(node: number): number {
  return 1000 + node;
}

async function readPassword(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new PhxError('CONFIG_INVALID', `read root's password from ${file}: it cannot be read`, { cause });
  }
  const password = text.replace(/\r?\n$/, '');
  if (password === '') throw new PhxError('CONFIG_INVALID', `read root's password from ${file}: it is empty`);
  return password;
}

/** False also for an empty folder, which is removed: somebody wiped it. */
async function holdsSomething(path: string): Promise<boolean> {
  try {
    if ((await readdir(path)).length > 0) return true;
    await rmdir(path);
    return false;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
