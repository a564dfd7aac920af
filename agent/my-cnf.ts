import { PhxError } from '../base/errors.ts';
import { atLeast, parseMysqlVersion } from '../base/mysql-install.ts';
import {
  BOOT,
  DEFAULTS,
  knownBy,
  MYSQL_VERSION_MIN,
  normaliseSettingName,
  PINNED,
  refusalOf,
  SEMI_SYNC,
  type Setting,
} from './mysql-settings.ts';

/** What a user's [mysqld] section may hold; an array repeats the option (plugin_load_add). */
export type UserSettingValue = string | number | boolean | readonly string[];
export type UserSettings = Readonly<Record<string, UserSettingValue>>;

export type MyCnfOptions = Readonly<{
  /** `MysqlInstall.version`: which names the server knows. */
  version: string;
  datadir: string;
  /** At most SOCKET_PATH_BYTES_MAX bytes (agent/socket-path.ts). */
  socket: string;
  pidFile: string;
  errorLog: string;
  port: number;
  bindAddress: string;
  /** 1..2^32-1; differs from every other node's and from what the local binlogsvr says when it plays the source. */
  serverId: number;
  /** Shown in SHOW REPLICAS of whatever this server replicates from. */
  reportHost: string;
  /** As root a change of user would clear the parent-death signal, so mysqld stays root. */
  runAsRoot: boolean;
  /**
   * Only for the restart of a candidate with unresolved XA transactions (finding 1). As nobody acks what a replica commits,
   * semi-sync is off; the agent switches it on before it opens this mysqld.
   */
  logReplicaUpdates?: boolean;
  settings?: UserSettings;
}>;

const NAME = /^[a-z0-9][a-z0-9_.-]*$/i;

/** Throws CONFIG_INVALID naming everything in a [mysqld] section that cannot be had. Also used when a configuration is read. */
export function checkUserSettings(settings: UserSettings): void {
  const refused = Object.entries(settings).flatMap(([name, value]) => {
    if (!NAME.test(name)) return [`${JSON.stringify(name)} (not the name of a variable)`];
    const reason = refusalOf(name, valuesOf(value).join(' '));
    if (reason !== null) return [`${name} (${reason})`];
    // An option file is read line by line: a line break in a value would be a setting of its own.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must be refused
    if (valuesOf(value).some((text) => /[\x00-\x1f\x7f]/.test(text)))
      return [`${name} (control characters in its value)`];
    return [];
  });
  if (refused.length === 0) return;
  throw new PhxError('CONFIG_INVALID', `check [mysqld] section: may not be set: ${refused.join(', ')}`, {
    hint: 'remove these names; the cluster sets what its guarantees rest on',
  });
}

/** The whole option file. Pure; throws CONFIG_INVALID for user settings that are refused. */
export function renderMyCnf(options: MyCnfOptions): string {
  const version = parseMysqlVersion(options.version);
  if (version === null || !atLeast(version, MYSQL_VERSION_MIN)) {
    throw new PhxError('MYSQL_UNSUITABLE', `write my.cnf: MySQL version ${options.version} is not supported`);
  }
  const settings = options.settings ?? {};
  checkUserSettings(settings);
  const known = knownBy(version);
  const chosen = new Set(Object.keys(settings).map(normaliseSettingName));
  const line = ({ name, value, loose }: Readonly<{ name: string; value: string; loose?: true }>): string =>
    `${loose === true ? 'loose_' : ''}${name}=${quoted(value)}`;
  return [
    '# Written by phxsql at every start of mysqld: changes made here are lost.',
    '# Settings of your own belong into the [mysqld] section of the node configuration.',
    '[mysqld]',
    ...(options.runAsRoot ? ['user=root'] : []),
    line({ name: 'datadir', value: options.datadir }),
    line({ name: 'socket', value: options.socket }),
    line({ name: 'pid_file', value: options.pidFile }),
    line({ name: 'log_error', value: options.errorLog }),
    line({ name: 'bind_address', value: options.bindAddress }),
    `port=${options.port}`,
    `server_id=${options.serverId}`,
    line({ name: 'report_host', value: options.reportHost }),
    `report_port=${options.port}`,
    'relay_log=relay',
    '',
    '# Defaults and the [mysqld] section.',
    ...DEFAULTS.filter((setting) => known(setting) && !chosen.has(setting.name)).map(line),
    ...Object.entries(settings).flatMap(([name, value]) => valuesOf(value).map((text) => line({ name, value: text }))),
    '',
    '# State at start; the agent changes it with its role.',
    ...BOOT.map(line),
    `log_replica_updates=${options.logReplicaUpdates === true ? 'ON' : 'OFF'}`,
    '',
    '# What the guarantees of the cluster rest on: last, so that nothing above can win.',
    'plugin_load_add=semisync_source.so',
    'plugin_load_add=mysql_clone.so',
    ...PINNED.filter(known).map((setting) => line(atStart(setting, options.logReplicaUpdates === true))),
    '',
  ].join('\n');
}

function atStart(setting: Setting, logReplicaUpdates: boolean): Setting {
  return logReplicaUpdates && setting.name === SEMI_SYNC ? { ...setting, value: 'OFF' } : setting;
}

function valuesOf(value: UserSettingValue): readonly string[] {
  if (typeof value === 'boolean') return [value ? 'ON' : 'OFF'];
  if (typeof value === 'number') return [String(value)];
  return typeof value === 'string' ? [value] : value;
}

/** Option files: `#` starts a comment, blanks at the ends are dropped, backslashes escape; quotes keep all of it. */
function quoted(value: string): string {
  if (/^[\w./:,%@+*-]+$/.test(value)) return value;
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
