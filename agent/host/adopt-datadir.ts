import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PhxError, reasonOf } from '../../base/errors.ts';
import type { MysqlInstall } from '../../base/mysql-install.ts';
import type { Clock } from '../../base/ports.ts';
import { BinlogFileScanner } from '../../mysql/binlog-file.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import { curbs, type Fault, GTID_TODO, type ServerFacts, serverFaults, versionFault } from '../adoption.ts';
import type { UserSettings } from '../my-cnf.ts';
import { sqlText } from '../sql-text.ts';
import { type Adopted, type AdoptedFile, adoptedFileOf, type Index } from './adopted-file.ts';
import { readBinlogFile, readBinlogIndex } from './binlog-files.ts';
import { type DatadirAccount, initialiseArgs, internalAccountStatements } from './datadir.ts';
import { isMissing, makePrivateDirectory, readIfThere, syncDirectory, writeDurably } from './durable-file.ts';
import { lockHolders } from './mysqld-process.ts';
import { nodePaths } from './node-paths.ts';
import { OfflineServer } from './offline-server.ts';

/** The binlog our own start writes, removed again. */
const OWN_BINLOG = 'phxsql_adopt';
const ER_NONEXISTING_GRANT = 1141;

export type AdoptOptions = Readonly<{
  install: MysqlInstall;
  /** Of the stopped server: moved, not copied. */
  datadir: string;
  /** Of the node it becomes. */
  nodeDir: string;
  /** Where the index of its binlogs is, if not in the data directory. */
  binlogIndex: string | null;
  agentAccount: DatadirAccount;
  syncAccount: DatadirAccount;
  settings: UserSettings;
  clock: Clock;
  say: (line: string) => void;
}>;

/**
 *   stopped? ─► files, version, last binlog ─► started by us, unreachable ─► tables, GTIDs, XA, channels
 *        │                │                                                          │ faults: stopped again, as it was
 *        └── refused ◄────┘                                                          ▼
 *   moved to NODE/mysql ◄─ adopted.json ◄─ binlogs set aside ◄─ stopped ◄─ accounts of the cluster (the marker), others curbed
 *
 * Everything that can be refused is refused before anything is changed. What follows can be done again from the beginning
 * wherever it stops. The marker is a transaction no other server has: an empty node can never look complete beside this one
 * (protocol-findings 11).
 * @throws PhxError DIR_IN_USE, DIR_FOREIGN, MYSQL_UNSUITABLE, BINLOG_ENCRYPTED, TIMEOUT
 */
export async function adoptDatadir(options: AdoptOptions): Promise<Adopted> {
  const { install, datadir, nodeDir, clock, say } = options;
  await refuseRunning(datadir);
  await refuseForeign(options);
  const begun = await readIfThere(adoptedFileOf(nodeDir));
  if (begun !== null) return move(JSON.parse(begun) as AdoptedFile, options);
  const version = await dataVersion(datadir);
  const wrong = version === null ? null : versionFault(version, install.version);
  if (wrong !== null) throw refusal(datadir, [wrong]);
  const index = await indexOf(options);
  say(`reads the last binlog of ${datadir}`);
  const logged = await loggedGtids(index, datadir);
  say(`starts its server without network, to look at it`);
  let adopted: Adopted;
  try {
    await using server = await OfflineServer.start({ install, datadir, clock, args: startArgs(options) });
    const faults = serverFaults(await factsOf(server, logged));
    if (faults.length > 0) throw refusal(datadir, faults);
    adopted = await changeAccounts(server, options);
    await server.stop();
  } finally {
    await removeOwnBinlog(datadir);
  }
  const file: AdoptedFile = { format: 1, ...adopted, binlogs: index };
  await writeDurably(adoptedFileOf(nodeDir), `${JSON.stringify(file, null, 2)}\n`);
  return move(file, options);
}

/** From here on it is done, though the power may go: the next time it goes on here. */
async function move(file: AdoptedFile, { datadir, nodeDir, say }: AdoptOptions): Promise<Adopted> {
  const { gtidSet, serverUuid, version, binlogs } = file;
  await setBinlogsAside(binlogs, datadir, nodeDir, say);
  await rename(datadir, nodePaths(nodeDir).datadir);
  await syncDirectory(nodeDir);
  await syncDirectory(dirname(datadir));
  return { gtidSet, serverUuid, version };
}

async function refuseRunning(datadir: string): Promise<void> {
  const holders = await lockHolders(join(datadir, 'ibdata1'));
  if (holders.length === 0) return;
  throw new PhxError('DIR_IN_USE', `adopt ${datadir}: its server runs (process ${holders.join(', ')})`, {
    hint: 'stop it in order first (mysqladmin shutdown, systemctl stop mysql)',
  });
}

async function refuseForeign({ datadir, nodeDir }: AdoptOptions): Promise<void> {
  for (const name of ['ibdata1', 'mysql.ibd']) {
    if (await exists(join(datadir, name))) continue;
    throw new PhxError('DIR_FOREIGN', `adopt ${datadir}: there is no ${name} in it`, {
      hint:
        name === 'mysql.ibd'
          ? 'MySQL before 8.0 has none: upgrade it to 8.0 or later first'
          : 'name the data directory of a MySQL server (SELECT @@datadir)',
    });
  }
  const { datadir: target } = nodePaths(nodeDir);
  if (await exists(target)) {
    throw new PhxError('DIR_FOREIGN', `adopt ${datadir}: ${target} exists already`, { hint: 'give another --dir' });
  }
  await makePrivateDirectory(nodeDir);
  const [from, to] = await Promise.all([stat(datadir), stat(nodeDir)]);
  if (from.dev === to.dev) return;
  throw new PhxError(
    'DIR_FOREIGN',
    `adopt ${datadir}: ${nodeDir} is on another file system, and data is moved, not copied`,
    {
      hint: 'choose a directory for the node on the file system of the data',
    },
  );
}

/** What the server that wrote the data was, where it says so; null: nothing tells. */
async function dataVersion(datadir: string): Promise<string | null> {
  const history = await readFile(join(datadir, 'mysql_upgrade_history'), 'utf8').catch(() => null);
  const found = history === null ? [] : [...history.matchAll(/"version"\s*:\s*"(\d+\.\d+\.\d+)/g)];
  const last = found.at(-1)?.[1];
  if (last !== undefined) return last;
  const info = await readFile(join(datadir, 'mysql_upgrade_info'), 'utf8').catch(() => '');
  return /^(\d+\.\d+\.\d+)/.exec(info)?.[1] ?? null;
}

async function indexOf({ datadir, binlogIndex }: AdoptOptions): Promise<Index> {
  const named = binlogIndex === null ? await indexesIn(datadir) : [binlogIndex];
  const [path, ...others] = named;
  if (path === undefined || others.length > 0) {
    const found =
      path === undefined
        ? 'no binlog index in it'
        : `several binlog indexes in it: ${named.map((each) => basename(each)).join(', ')}`;
    throw new PhxError('DIR_FOREIGN', `adopt ${datadir}: ${found}`, {
      hint: `--binlog-index FILE names the one it used (SELECT @@log_bin_index); a server without a binlog has no GTIDs: ${GTID_TODO}`,
    });
  }
  const { lines } = await readBinlogIndex(path);
  if (lines.length > 0) return { path, lines };
  throw new PhxError('DIR_FOREIGN', `adopt ${datadir}: ${path} names no binlog`, { hint: GTID_TODO });
}

/** Indexes of binlogs, not of relay logs. */
async function indexesIn(datadir: string): Promise<readonly string[]> {
  const names = (await readdir(datadir)).filter((name) => name.endsWith('.index') && !/relay/.test(name));
  return names.filter((name) => !name.startsWith(OWN_BINLOG)).map((name) => join(datadir, name));
}

/** Everything executed by its last binlog, which has to be readable, of GTIDs only, and closed in order. */
async function loggedGtids(index: Index, datadir: string): Promise<GtidSet> {
  const line = index.lines.at(-1) as string;
  const folder = dirname(index.path);
  const scanner = new BinlogFileScanner();
  let set = GtidSet.EMPTY;
  try {
    // A line may be relative to the data directory, or absolute: the file lies beside the index.
    const local = { ...index, lines: [join(folder, basename(line))] };
    for await (const bytes of readBinlogFile(local, join(folder, basename(line)))) {
      for (const { gtid } of scanner.push(bytes)) set = set.add(gtid);
    }
    scanner.end();
  } catch (error) {
    if (!(error instanceof PhxError)) throw error;
    const todo =
      error.code === 'BINLOG_ENCRYPTED' ? 'start it with binlog_encryption=OFF, FLUSH BINARY LOGS, stop it' : GTID_TODO;
    throw refusal(datadir, [{ what: `${line}: ${error.message} (${error.hint ?? ''})`, todo }]);
  }
  const clean = scanner.endsWith === 'stop' && !scanner.inUse && scanner.corrupt === null;
  if (!clean) {
    const how = scanner.corrupt === null ? 'it was not stopped in order' : scanner.corrupt.reason;
    throw refusal(datadir, [
      { what: `${line}: ${how}`, todo: 'start it with its own configuration, stop it in order, try again' },
    ]);
  }
  return set.union(scanner.previousGtids ?? GtidSet.EMPTY);
}

function startArgs({ datadir, settings }: AdoptOptions): readonly string[] {
  return [
    `--log-bin=${join(datadir, OWN_BINLOG)}`,
    '--server-id=1',
    '--gtid-mode=ON',
    '--enforce-gtid-consistency=ON',
    '--partial-revokes=ON',
    ...initialiseArgs(settings),
  ];
}

async function factsOf(server: OfflineServer, logged: GtidSet): Promise<ServerFacts> {
  const [set] = await server.query('SELECT @@GLOBAL.gtid_executed AS gtids');
  const gtidExecuted = String(set?.['gtids'] ?? '').replaceAll('\n', '');
  const tables = await server.query(
    `SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) AS name, ENGINE AS engine FROM information_schema.TABLES
      WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'
        AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1`,
  );
  const xa = await server.query('XA RECOVER');
  const channels = await server.query(
    'SELECT CHANNEL_NAME AS name FROM performance_schema.replication_connection_configuration',
  );
  return {
    gtidExecuted,
    inBinlog: logged.isSubsetOf(GtidSet.parse(gtidExecuted)) ? 'all' : 'missing',
    foreignTables: tables.map((row) => ({ name: String(row['name']), engine: String(row['engine']) })),
    preparedXa: xa.length,
    channels: channels.map((row) => String(row['name'])),
  };
}

/** The cluster's own accounts, which are the marker; nobody else keeps what goes around the log. */
async function changeAccounts(server: OfflineServer, options: AdoptOptions): Promise<Adopted> {
  const { agentAccount, syncAccount, install, say } = options;
  await server.query('FLUSH PRIVILEGES');
  for (const statement of internalAccountStatements(options)) await server.query(statement);
  for (const { user, password } of [agentAccount, syncAccount]) {
    await server.query(
      `ALTER USER ${sqlText(user)}@'localhost' IDENTIFIED WITH caching_sha2_password BY ${sqlText(password)}`,
    );
  }
  const grants = await server.query(
    'SELECT GRANTEE AS grantee, PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES',
  );
  const taken = curbs(grants.map((row) => ({ grantee: String(row['grantee']), privilege: String(row['privilege']) })));
  for (const { grantee, taken: privileges, statements } of taken) {
    if (privileges.length > 0) say(`takes from ${grantee} what would go around the log: ${privileges.join(', ')}`);
    for (const statement of statements) {
      await server.query(statement).catch((error: unknown) => {
        // Taken already.
        if (!(error instanceof Error && 'errno' in error && error.errno === ER_NONEXISTING_GRANT)) throw error;
      });
    }
  }
  const [end] = await server.query('SELECT @@GLOBAL.gtid_executed AS gtids, @@GLOBAL.server_uuid AS uuid');
  const gtidSet = GtidSet.parse(String(end?.['gtids'] ?? '')).toString();
  return { gtidSet, serverUuid: String(end?.['uuid']), version: install.version };
}

async function removeOwnBinlog(datadir: string): Promise<void> {
  const names = await readdir(datadir).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(`${OWN_BINLOG}.`)))
    await rm(join(datadir, name), { force: true });
}

/** The log begins with what the data holds: older binlogs are for people. Those outside of the data directory stay there. */
async function setBinlogsAside(
  index: Index,
  datadir: string,
  nodeDir: string,
  say: (line: string) => void,
): Promise<void> {
  if (dirname(index.path) !== datadir) return;
  const aside = join(nodeDir, 'adopted-binlogs');
  await mkdir(aside, { recursive: true, mode: 0o700 });
  for (const name of [...index.lines.map((line) => basename(line)), basename(index.path)]) {
    await rename(join(datadir, name), join(aside, name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }
  await syncDirectory(aside);
  await syncDirectory(datadir);
  say(`its binlogs are kept in ${aside}`);
}

function refusal(datadir: string, faults: readonly Fault[]): PhxError {
  const what = faults.map((fault) => fault.what).join('; ');
  return new PhxError('MYSQL_UNSUITABLE', `adopt ${datadir}: ${what}`, {
    hint: faults.map((fault) => fault.todo).join('; '),
  });
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw new PhxError('STORE_IO', `look at ${path}: ${reasonOf(error)}`, { cause: error });
    },
  );
}
