import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { requireFreeDisk } from '../../base/disk-space.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import { FileLock } from '../../base/file-lock.ts';
import { atLeast, type MysqlInstall, parseMysqlVersion } from '../../base/mysql-install.ts';
import type { Logger } from '../../base/ports.ts';
import { dyingWithUs, runCommand } from '../../base/run-command.ts';
import { checkUserSettings, type UserSettings } from '../my-cnf.ts';
import { normaliseSettingName } from '../mysql-settings.ts';
import { mysqldEnv } from '../mysqld-command.ts';
import { syncDirectory } from './durable-file.ts';

/** A fresh data directory is about 100 MB, the redo log and the first binlog files come on top. */
export const DATADIR_BYTES_MIN = 512 * 1024 * 1024;
/** Creating one takes 3 s on two idle cores. */
const INITIALISE_MS_MAX = 180_000;
/** Part of a template's name: raise it when what is put into a fresh data directory changes. */
const TEMPLATE_FORMAT = 1;
/** auto.cnf holds the server's identity: each copy makes its own. */
const NOT_COPIED: ReadonlySet<string> = new Set(['auto.cnf', 'mysqld-auto.cnf']);
/** Settings of a user's [mysqld] section that are decided for ever when the data directory is made. */
const DECIDED_AT_INITIALISE = [
  'lower_case_table_names',
  'innodb_page_size',
  'innodb_data_file_path',
  'default_table_encryption',
];

export type DatadirAccount = Readonly<{ user: string; password: string }>;

export type InitialiseOptions = Readonly<{
  install: MysqlInstall;
  /** Must not exist yet; appears complete or not at all. */
  datadir: string;
  /** Where a copy for further nodes is kept (it holds password hashes: 0700); null = none. */
  templateDir: string | null;
  /** May do everything, over the local socket only. */
  agentAccount: DatadirAccount;
  /** May read the binlog and log in while offline_mode is on or connections are used up, over the local socket only. */
  syncAccount: DatadirAccount;
  settings?: UserSettings;
  log: Logger;
  signal?: AbortSignal;
}>;

/**
 *   lock ─► clean leftovers ─► template there? ──yes──► copy ──┐
 *                                   │no                        ├─► fsync ─► rename to <datadir>
 *                                   └► mysqld --initialize ────┘
 *                                      (and rename a copy to <templateDir>/<digest>)
 *
 * A data directory with no binlog, an empty gtid_executed, our two accounts and nobody else who could log in.
 * Throws DISK_TOO_SMALL, MYSQL_UNSUITABLE (mysqld refused, with the end of its log), CONFIG_INVALID, CANCELLED.
 */
export async function initialiseDatadir(options: InitialiseOptions): Promise<void> {
  const { datadir, templateDir, log } = options;
  if (await exists(datadir)) throw new PhxError('DIR_FOREIGN', `create data directory ${datadir}: it exists`);
  await mkdir(dirname(datadir), { recursive: true, mode: 0o700 });
  await cleanLeftovers(datadir, log);
  await requireFreeDisk(datadir, DATADIR_BYTES_MIN, 'a MySQL data directory');
  const fresh = `${datadir}.init-${process.pid}`;
  try {
    if (templateDir === null) await createFresh(options, fresh);
    else await copyTree(await ensureTemplate(options, templateDir), fresh);
    await syncTree(fresh);
    await rename(fresh, datadir);
    await syncDirectory(dirname(datadir));
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
}

/** The template's folder, made first if need be; nodes starting at the same time wait for the one that makes it. */
async function ensureTemplate(options: InitialiseOptions, templateDir: string): Promise<string> {
  const template = join(templateDir, templateName(options));
  if (await exists(template)) return template;
  await mkdir(templateDir, { recursive: true, mode: 0o700 });
  const lock = await FileLock.tryAcquire(`${template}.lock`, INITIALISE_MS_MAX);
  if (lock === null) throw new PhxError('TIMEOUT', `wait for ${template}: another process is still making it`);
  await using _held = lock;
  if (await exists(template)) return template;
  await requireFreeDisk(templateDir, DATADIR_BYTES_MIN, 'a template of MySQL data directories');
  const fresh = `${template}.new`;
  // We hold the lock: nobody is at work in these.
  for (const name of await readdir(templateDir)) {
    if (!name.startsWith(basename(fresh)) && !name.startsWith(`.${basename(fresh)}-`)) continue;
    await rm(join(templateDir, name), { recursive: true, force: true });
  }
  try {
    await createFresh(options, fresh);
    await syncTree(fresh);
    await rename(fresh, template);
    await syncDirectory(templateDir);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
  return template;
}

function templateName(options: InitialiseOptions): string {
  const digest = createHash('sha256');
  const { install, agentAccount, syncAccount } = options;
  digest.update(
    JSON.stringify([
      TEMPLATE_FORMAT,
      install.version,
      process.arch,
      agentAccount,
      syncAccount,
      initialiseArgs(options.settings),
    ]),
  );
  return `mysql-${install.version}-${digest.digest('hex').slice(0, 16)}`;
}

async function createFresh(options: InitialiseOptions, target: string): Promise<void> {
  const { install, log, signal } = options;
  const startedAt = performance.now();
  await mkdir(target, { mode: 0o700 });
  // Outside the data directory, which must be empty; it holds passwords for the seconds mysqld takes.
  const work = await mkdtemp(join(dirname(target), `.${basename(target)}-`));
  try {
    const proof = join(work, 'accounts');
    const initFile = join(work, 'init.sql');
    await writeFile(initFile, [...accountStatements(options), proofStatement(proof)].join('\n'), { mode: 0o600 });
    const version = parseMysqlVersion(install.version);
    const redo =
      version !== null && atLeast(version, [8, 0, 30]) ? 'innodb-redo-log-capacity=32M' : 'innodb-log-file-size=16M';
    const common = [
      '--no-defaults',
      ...install.baseArgs,
      ...(process.getuid?.() === 0 ? ['--user=root'] : []),
      `--datadir=${target}`,
      `--${redo}`,
      '--log-error-verbosity=2',
      ...initialiseArgs(options.settings),
    ];
    await run(
      install,
      [...common, '--initialize-insecure', `--init-file=${initFile}`, '--secure-file-priv=NULL'],
      signal,
    );
    if (!(await provenBy(proof, options))) {
      // A server that does not run account statements while it initialises itself: start it once for them, deaf and without a binlog.
      log.info('creating accounts in a second start', { version: install.version });
      await writeFile(initFile, [...accountStatements(options), proofStatement(proof), 'SHUTDOWN;'].join('\n'));
      const deaf = ['--skip-networking', '--loose-mysqlx=OFF', '--skip-log-bin', `--socket=${join(work, 's')}`];
      const files = [`--pid-file=${join(work, 'pid')}`, `--secure-file-priv=${work}`];
      await run(install, [...common, ...deaf, ...files, `--init-file=${initFile}`], signal);
      if (!(await provenBy(proof, options))) {
        throw new PhxError('MYSQL_UNSUITABLE', `create accounts: mysqld ${install.version} did not run the init file`);
      }
    }
    await rm(join(target, 'auto.cnf'), { force: true });
    log.info('created data directory', {
      datadir: target,
      version: install.version,
      tookMs: Math.round(performance.now() - startedAt),
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The statements may run twice (second start): they must not fail on what is already there. */
function accountStatements(options: InitialiseOptions): readonly string[] {
  // One statement a line: that is how an init file is read.
  return [...internalAccountStatements(options), `DROP USER IF EXISTS 'root'@'localhost'`].map((each) => `${each};`);
}

/** The accounts the cluster itself uses, for a server that has none of them or the same. */
export function internalAccountStatements({
  agentAccount,
  syncAccount,
}: Pick<InitialiseOptions, 'agentAccount' | 'syncAccount'>): readonly string[] {
  const account = ({ user }: DatadirAccount): string => `${sqlString(user)}@'localhost'`;
  const create = (who: DatadirAccount): string =>
    `CREATE USER IF NOT EXISTS ${account(who)} IDENTIFIED WITH caching_sha2_password BY ${sqlString(who.password)} PASSWORD EXPIRE NEVER`;
  return [
    create(agentAccount),
    `GRANT ALL PRIVILEGES ON *.* TO ${account(agentAccount)} WITH GRANT OPTION`,
    create(syncAccount),
    // SYSTEM_USER gives nothing; it keeps administrators without it from changing or dropping the account.
    `GRANT REPLICATION SLAVE, CONNECTION_ADMIN, SYSTEM_USER ON *.* TO ${account(syncAccount)}`,
  ];
}

/** Who may log in, written to a file by the server itself once everything before it has been done. */
function proofStatement(file: string): string {
  return `SELECT user FROM mysql.user WHERE account_locked = 'N' ORDER BY user INTO OUTFILE ${sqlString(file)};`;
}

async function provenBy(file: string, { agentAccount, syncAccount }: InitialiseOptions): Promise<boolean> {
  const found = await readFile(file, 'utf8').catch(() => '');
  const wanted = [agentAccount.user, syncAccount.user].sort();
  return found.trim() === wanted.join('\n');
}

function sqlString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** Those of a [mysqld] section without which the data directory cannot even be opened, as arguments. */
export function initialiseArgs(settings: UserSettings = {}): readonly string[] {
  checkUserSettings(settings);
  return Object.entries(settings)
    .map(([name, value]) => [normaliseSettingName(name), value] as const)
    .filter(([name]) => DECIDED_AT_INITIALISE.includes(name))
    .map(([name, value]) => `--${name}=${String(value)}`)
    .sort();
}

async function run(install: MysqlInstall, args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const argv = dyingWithUs([...install.command, ...args]);
  const result = await runCommand(argv, {
    env: mysqldEnv(process.env),
    timeoutMs: INITIALISE_MS_MAX,
    ...(signal === undefined ? {} : { signal }),
  });
  if (result.code === 0) return;
  const errors = result.stderr.split('\n').filter((line) => line.includes('[ERROR]'));
  const reason = (errors.length === 0 ? result.stderr.trim().split('\n').slice(-3) : errors.slice(0, 3)).join(' | ');
  const ended = result.signal === null ? `status ${result.code}` : `signal ${result.signal}`;
  throw new PhxError('MYSQL_UNSUITABLE', `create data directory: mysqld ended with ${ended}: ${reason}`, {
    hint: /permission|Errcode: 13/i.test(result.stderr)
      ? 'a security profile (AppArmor, SELinux) of an installed MySQL may confine it to its own directories; PHXSQL_MYSQLD can name another one'
      : 'is the disk writable, and the [mysqld] section valid for this version?',
  });
}

/** `<datadir>.init-<pid>` of processes that are gone, and the folders that held their init files. */
async function cleanLeftovers(datadir: string, log: Logger): Promise<void> {
  const parent = dirname(datadir);
  const prefix = `${basename(datadir)}.init-`;
  for (const name of await readdir(parent)) {
    const bare = name.startsWith('.') ? name.slice(1) : name;
    if (!bare.startsWith(prefix)) continue;
    const pid = Number.parseInt(bare.slice(prefix.length), 10);
    if (pid !== process.pid && isAlive(pid)) continue;
    log.warn('removing an unfinished data directory', { path: join(parent, name) });
    await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Copies files and folders, by reference where the file system can. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o700 });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (NOT_COPIED.has(entry.name)) continue;
    if (entry.isDirectory()) await copyTree(join(from, entry.name), join(to, entry.name));
    else await copyFile(join(from, entry.name), join(to, entry.name), constants.COPYFILE_FICLONE);
  }
}

/** After a power cut a renamed folder must not hold files without their content. */
async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) {
      await syncTree(child);
      continue;
    }
    const file = await open(child, 'r');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await syncDirectory(path);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw new PhxError('STORE_IO', `look at ${path}: ${reasonOf(error)}`, { cause: error });
    },
  );
}
