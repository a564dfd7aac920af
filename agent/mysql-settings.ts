import { atLeast, type MysqlVersion } from '../base/mysql-install.ts';

/**
 * Every MySQL setting this system cares about, in three tables:
 *   pinned    equal on all nodes for ever; the agent compares them at every probe, a deviation fences the node
 *   boot      what a server starts with; the agent changes them with its role, nobody else may
 *   defaults  sensible for several nodes on one machine; the user's [mysqld] section may say otherwise
 * and what a user may not set at all, with the reason. Sources: design sections 5, 9, 10; findings 2, 4, 14-16, 19, 20, 25.
 */
export type Setting = Readonly<{
  name: string;
  /** As written in an option file. */
  value: string;
  /** What `SELECT CAST(@@GLOBAL.name AS CHAR)` gives for it. null = SQL NULL; undefined = not probed. */
  probe?: string | null;
  /** Some builds lack it, which must not keep mysqld from starting. */
  loose?: true;
  /** First version that knows it; absent = all we accept. */
  since?: MysqlVersion;
  /** First version that no longer knows it. */
  until?: MysqlVersion;
}>;

/** Oldest server we run: the first with the source/replica names of semi-sync and replication options. */
export const MYSQL_VERSION_MIN: MysqlVersion = [8, 0, 26];

/** Milliseconds semi-sync waits for an ack before it would go on without: for ever (31 million years; the range is 64 bits). */
export const SEMI_SYNC_TIMEOUT_MS = '1000000000000000000';

/** Its switch. */
export const SEMI_SYNC = 'rpl_semi_sync_source_enabled';

/** Engines whose writes cannot be rolled back by cutting the binlog (MEMORY also loses rows at a restart). */
const ENGINES_DISABLED = 'MyISAM,MRG_MyISAM,CSV,ARCHIVE,BLACKHOLE,FEDERATED,EXAMPLE,MEMORY,ndbcluster';

const on = (name: string): Setting => ({ name, value: 'ON', probe: '1' });
const off = (name: string): Setting => ({ name, value: 'OFF', probe: '0' });
const word = (name: string, value: string): Setting => ({ name, value, probe: value });

export const PINNED: readonly Setting[] = [
  // The binlog is what we replicate: complete, in one format, with checksums, in commit order, never silently off.
  { name: 'log_bin', value: 'binlog', probe: '1' },
  word('gtid_mode', 'ON'),
  word('enforce_gtid_consistency', 'ON'),
  on('binlog_gtid_simple_recovery'),
  word('binlog_format', 'ROW'),
  word('binlog_checksum', 'CRC32'),
  on('binlog_order_commits'),
  word('binlog_error_action', 'ABORT_SERVER'),
  off('binlog_encryption'),
  { name: 'sync_binlog', value: '1', probe: '1' },
  { name: 'max_binlog_size', value: '134217728', probe: '134217728' },
  // Lossless semi-sync from the first moment of every start, and no way out of it (9.1, 9.7, 9.10, 9.11).
  on(SEMI_SYNC),
  word('rpl_semi_sync_source_timeout', SEMI_SYNC_TIMEOUT_MS),
  word('rpl_semi_sync_source_wait_point', 'AFTER_SYNC'),
  word('rpl_semi_sync_source_wait_for_replica_count', '1'),
  on('rpl_semi_sync_source_wait_no_replica'),
  off('replication_sender_observe_commit_only'),
  on('replication_optimize_for_static_plugin_config'),
  // As a replica of the local binlogsvr. Its positions are never trusted: the agent says RESET REPLICA ALL at every start,
  // so relay_log_recovery, which replicate_same_server_id makes fail (finding 2), stays off.
  // An option only: there is no system variable to probe.
  { name: 'replicate_same_server_id', value: 'ON' },
  { name: 'skip_replica_start', value: 'ON', probe: '1' },
  off('relay_log_recovery'),
  on('relay_log_purge'),
  on('replica_preserve_commit_order'),
  // Before 8.0.27 workers took whole databases; since 8.4 there is nothing else, and write sets always decide who depends on whom.
  { name: 'replica_parallel_type', value: 'LOGICAL_CLOCK', until: [8, 4, 0] },
  { name: 'binlog_transaction_dependency_tracking', value: 'WRITESET', until: [8, 4, 0] },
  // SET PERSIST beats my.cnf and the command line (9.15).
  off('persisted_globals_load'),
  // All clients arrive from the proxies' addresses (9.16).
  { name: 'host_cache_size', value: '0', probe: '0' },
  on('skip_name_resolve'),
  { name: 'max_connect_errors', value: '4294967295', probe: '4294967295' },
  // Ways around the log or out of the data directory.
  // Shown as SQL NULL or as the word, by version; it cannot change at run time.
  { name: 'secure_file_priv', value: 'NULL' },
  word('disabled_storage_engines', ENGINES_DISABLED),
  { name: 'mysqlx', value: 'OFF', loose: true },
  // The clients' root has no writes on schema `mysql`: that is a partial revoke, and REVOKE replicates.
  on('partial_revokes'),
  // replication_* tables tell how the appliers are doing.
  on('performance_schema'),
];

/** The agent lowers innodb_flush_log_at_trx_commit to 2 when it attaches the server as a replica, and back before it promotes. */
export const BOOT: readonly Setting[] = [
  { name: 'super_read_only', value: 'ON' },
  { name: 'read_only', value: 'ON' },
  { name: 'offline_mode', value: 'ON' },
  { name: 'event_scheduler', value: 'OFF' },
  { name: 'innodb_flush_log_at_trx_commit', value: '1' },
];

export const DEFAULTS: readonly Setting[] = [
  { name: 'binlog_row_image', value: 'FULL' },
  // The log lives in binlogsvr; a day of local files is for people looking at yesterday.
  { name: 'binlog_expire_logs_seconds', value: '86400' },
  { name: 'replica_parallel_workers', value: '4' },
  // Seconds without a byte, heartbeats included, after which the I/O thread reconnects.
  { name: 'replica_net_timeout', value: '10' },
  { name: 'innodb_buffer_pool_size', value: '128M' },
  { name: 'innodb_redo_log_capacity', value: '100M', since: [8, 0, 30] },
  { name: 'innodb_log_file_size', value: '48M', until: [8, 0, 30] },
  { name: 'max_connections', value: '500' },
  // A donor keeps the place of a recipient that is gone for so many minutes, and takes no other: ours begins again instead.
  { name: 'clone_donor_timeout_after_network_failure', value: '0', loose: true },
  // Without SUPER the clients' root could create no trigger or function; rows are what we log, so it is safe.
  { name: 'log_bin_trust_function_creators', value: 'ON' },
];

/** Names (normalised) a user may not set although no table above has them, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ...[
    'datadir',
    'socket',
    'pid_file',
    'log_error',
    'port',
    'bind_address',
    'server_id',
    'report_host',
    'report_port',
  ].map((name) => [name, 'the node configuration decides it'] as const),
  ...[
    'innodb_data_home_dir',
    'innodb_undo_directory',
    'innodb_log_group_home_dir',
    'innodb_directories',
    'innodb_doublewrite_dir',
  ].map((name) => [name, 'all data of a node lives in its own directory'] as const),
  ...['log_bin_index', 'log_bin_basename', 'relay_log', 'relay_log_index', 'relay_log_basename'].map(
    (name) => [name, 'the agent must find these files'] as const,
  ),
  ...[
    'user',
    'chroot',
    'basedir',
    'plugin_dir',
    'lc_messages_dir',
    'character_sets_dir',
    'daemonize',
    'initialize',
    'initialize_insecure',
  ].map((name) => [name, 'the agent decides how mysqld is started'] as const),
  ...['networking', 'skip_networking', 'grant_tables', 'skip_grant_tables', 'host_cache'].map(
    (name) => [name, 'the cluster could not serve or protect its clients'] as const,
  ),
  ...['log_replica_updates', 'binlog_do_db', 'binlog_ignore_db', 'sql_log_bin', 'replica_skip_errors'].map(
    (name) => [name, 'every transaction must be logged and replayed'] as const,
  ),
  ...['init_file', 'init_replica'].map(
    (name) => [name, 'its statements would run outside the replicated log'] as const,
  ),
  ...['plugin_load', 'early_plugin_load'].map((name) => [name, 'use plugin_load_add'] as const),
]);

const REFUSED_PREFIXES: readonly (readonly [prefix: string, reason: string])[] = [
  ['rpl_semi_sync_', 'semi-sync carries the acknowledgements of the cluster'],
  ['replicate_', 'every transaction must be replayed'],
  ['group_replication_', 'group replication and this cluster exclude each other'],
  ['gtid_', 'GTIDs belong to the cluster'],
  ['mysqlx_', 'the X plugin is off'],
  ['initialize', 'the agent decides how mysqld is started'],
  ['binlog_do_', 'every transaction must be logged'],
  ['binlog_ignore_', 'every transaction must be logged'],
];

/** Plugins a user must not load on top of ours. */
const REFUSED_PLUGINS = /semisync|rpl_semi_sync|mysql_clone|group_replication|mysqlx/i;

/** `loose-Skip-Slave-Start` -> `replica_start`: what MySQL's option parser would make of it, in today's words. */
export function normaliseSettingName(name: string): string {
  return modernise(name).replace(/^(?:(?:loose|skip|enable|disable|maximum)_)+/, '');
}

function modernise(name: string): string {
  return name.toLowerCase().replaceAll('-', '_').replaceAll('master', 'source').replaceAll('slave', 'replica');
}

/** Why a user may not set `name` to `value`; null if they may. */
export function refusalOf(name: string, value: string): string | null {
  const bare = normaliseSettingName(name);
  const full = modernise(name).replace(/^(?:loose_)+/, '');
  for (const candidate of [bare, full]) {
    const table = [...PINNED, ...BOOT].find(
      (setting) => setting.name === candidate || setting.name === `skip_${candidate}`,
    );
    if (table !== undefined) return 'pinned by the cluster';
    const reason = REFUSED.get(candidate) ?? REFUSED_PREFIXES.find(([prefix]) => candidate.startsWith(prefix))?.[1];
    if (reason !== undefined) return reason;
  }
  if (bare === 'plugin_load_add' && REFUSED_PLUGINS.test(value))
    return 'the cluster loads these plugins itself, or excludes them';
  return null;
}

export function knownBy(version: MysqlVersion): (setting: Setting) => boolean {
  return (setting) =>
    (setting.since === undefined || atLeast(version, setting.since)) &&
    (setting.until === undefined || !atLeast(version, setting.until));
}

/** A variable the agent checks at every probe. */
export type PinnedVariable = Readonly<{
  name: string;
  /** As `SELECT CAST(@@GLOBAL.name AS CHAR)` gives it; null = SQL NULL. */
  expected: string | null;
}>;

/** All of these exist in every version we accept. */
export const PINNED_VARIABLES: readonly PinnedVariable[] = PINNED.flatMap((setting) =>
  setting.probe === undefined ? [] : [{ name: setting.name, expected: setting.probe }],
);

/** One statement for all of them; the row's columns are the variables' names. */
export const PINNED_PROBE_SQL = `SELECT ${PINNED_VARIABLES.map(({ name }) => `CAST(@@GLOBAL.${name} AS CHAR) AS ${name}`).join(', ')}`;

/** `name is X, must be Y` for each deviation in a row of PINNED_PROBE_SQL; nothing is said of `apart`. */
export function pinnedDeviations(row: Readonly<Record<string, unknown>>, apart = ''): readonly string[] {
  return PINNED_VARIABLES.flatMap(({ name, expected }) => {
    if (name === apart) return [];
    const found = row[name] ?? null;
    return found === expected ? [] : [`${name} is ${String(found)}, must be ${String(expected)}`];
  });
}
