import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkUserSettings, type MyCnfOptions, renderMyCnf } from '../../../agent/my-cnf.ts';
import {
  normaliseSettingName,
  PINNED,
  PINNED_PROBE_SQL,
  PINNED_VARIABLES,
  pinnedDeviations,
} from '../../../agent/mysql-settings.ts';
import { mysqldCommand, mysqldEnv } from '../../../agent/mysqld-command.ts';

const OPTIONS: MyCnfOptions = {
  version: '9.7.4',
  datadir: '/data/node 1/mysql',
  socket: '/data/node 1/run/mysqld.sock',
  pidFile: '/data/node 1/run/mysqld.pid',
  errorLog: '/data/node 1/log/mysqld.log',
  port: 11111,
  bindAddress: '127.0.0.1',
  serverId: 1,
  reportHost: '127.0.0.1',
  runAsRoot: true,
};
const lines = (options: Partial<MyCnfOptions>): string[] => renderMyCnf({ ...OPTIONS, ...options }).split('\n');

describe('renderMyCnf', () => {
  test('the whole file', async () => {
    const text = renderMyCnf({
      ...OPTIONS,
      settings: {
        'max-connections': 200,
        innodb_buffer_pool_size: '1G',
        init_connect: 'SET @a = "x#y"',
        general_log: true,
      },
    });
    await expect(text).toMatchFileSnapshot(join(import.meta.dirname, 'testdata', 'my.cnf'));
  });

  test('old servers get the names they know', () => {
    const old = lines({ version: '8.0.26' });
    expect(old).toContain('replica_parallel_type=LOGICAL_CLOCK');
    expect(old).toContain('binlog_transaction_dependency_tracking=WRITESET');
    expect(old).toContain('innodb_log_file_size=48M');
    expect(old.join('\n')).not.toContain('innodb_redo_log_capacity');
    expect(lines({ version: '8.0.30' })).toContain('innodb_redo_log_capacity=100M');
    const lts = lines({ version: '8.4.0' }).join('\n');
    expect(lts).not.toContain('replica_parallel_type');
    expect(lts).not.toContain('dependency_tracking');
    expect(() => lines({ version: '8.0.25' })).toThrow(/not supported/);
  });

  test('a setting of the user replaces our default, whatever way it is written', () => {
    const text = lines({ settings: { 'loose-Innodb-Buffer-Pool-Size': '2G' } });
    expect(text.filter((line) => /buffer.pool.size/i.test(line))).toEqual(['loose-Innodb-Buffer-Pool-Size=2G']);
  });

  test('log_replica_updates only when asked for', () => {
    expect(lines({})).toContain('log_replica_updates=OFF');
    expect(lines({ logReplicaUpdates: true })).toContain('log_replica_updates=ON');
    // Whom it replicates for acks nothing: its appliers would wait for ever.
    expect(lines({})).toContain('rpl_semi_sync_source_enabled=ON');
    expect(lines({ logReplicaUpdates: true })).toContain('rpl_semi_sync_source_enabled=OFF');
    expect(lines({ logReplicaUpdates: true })).not.toContain('rpl_semi_sync_source_enabled=ON');
  });

  test('not as root: no user', () => {
    expect(lines({ runAsRoot: false })).not.toContain('user=root');
  });
});

describe('user settings', () => {
  const refused = [
    ...[
      'gtid_mode',
      'GTID-MODE',
      'gtid_next',
      'log-bin',
      'skip-log-bin',
      'disable_log_bin',
      'skip_log_bin',
      'sync_binlog',
    ],
    ...[
      'rpl_semi_sync_source_enabled',
      'rpl-semi-sync-master-enabled',
      'loose_rpl_semi_sync_source_timeout',
      'rpl_semi_sync_replica_enabled',
    ],
    ...['super_read_only', 'read_only', 'offline_mode', 'event_scheduler', 'innodb_flush_log_at_trx_commit'],
    ...[
      'log_slave_updates',
      'log_replica_updates',
      'skip-slave-start',
      'slave_skip_errors',
      'slave-preserve-commit-order',
    ],
    ...['replicate_do_db', 'replicate-ignore-table', 'replicate_same_server_id', 'binlog_do_db', 'binlog-ignore-db'],
    ...[
      'persisted_globals_load',
      'skip_persisted_globals_load',
      'host_cache_size',
      'skip_host_cache',
      'skip_name_resolve',
      'name_resolve',
    ],
    ...[
      'datadir',
      'socket',
      'port',
      'bind-address',
      'server_id',
      'pid_file',
      'user',
      'basedir',
      'plugin_dir',
      'innodb_data_home_dir',
    ],
    ...[
      'skip_grant_tables',
      'skip_networking',
      'init_file',
      'init_slave',
      'plugin_load',
      'mysqlx',
      'skip-mysqlx',
      'mysqlx_port',
    ],
    ...[
      'binlog_encryption',
      'disabled_storage_engines',
      'partial_revokes',
      'loose-skip-loose-gtid-mode',
      'maximum-max_binlog_size',
    ],
    ...['group_replication_start_on_boot', 'initialize-insecure', 'secure_file_priv', 'performance_schema'],
  ];
  test.each(refused)('%s is refused', (name) => {
    expect(() => checkUserSettings({ [name]: 'x' })).toThrow(name);
  });

  test('every pinned name is refused', () => {
    for (const { name } of PINNED) expect(() => checkUserSettings({ [name]: 'x' }), name).toThrow('pinned');
  });

  const accepted = [
    'innodb_buffer_pool_size',
    'max_connections',
    'sql_mode',
    'lower_case_table_names',
    'skip_external_locking',
    'binlog_row_image',
  ];
  test.each([
    ...accepted,
    'validate_password.policy',
    'general_log',
    'slow_query_log',
    'replica_parallel_workers',
    'slave_parallel_workers',
  ])('%s is accepted', (name) => {
    expect(() => checkUserSettings({ [name]: 1 })).not.toThrow();
  });

  test('all refusals are told at once, with reasons', () => {
    expect(() =>
      checkUserSettings({ gtid_mode: 'OFF', port: 1, 'a b': 1, sort_buffer_size: 1, init_connect: 'a\nuser=root' }),
    ).toThrow(
      'may not be set: gtid_mode (pinned by the cluster), port (the node configuration decides it), ' +
        '"a b" (not the name of a variable), init_connect (control characters in its value)',
    );
  });

  test('plugins of one’s own, but not those that would replace ours', () => {
    expect(lines({ settings: { plugin_load_add: ['locking_service.so', 'rewriter.so'] } })).toContain(
      'plugin_load_add=rewriter.so',
    );
    expect(() => checkUserSettings({ plugin_load_add: ['a.so', 'semisync_replica.so'] })).toThrow(/plugin_load_add/);
  });

  test('normaliseSettingName', () => {
    expect(normaliseSettingName('Loose-Skip-Slave-Start')).toBe('replica_start');
    expect(normaliseSettingName('disabled_storage_engines')).toBe('disabled_storage_engines');
  });
});

describe('pinned variables', () => {
  test('deviations name what is and what must be; a missing column is one', () => {
    const row = Object.fromEntries(PINNED_VARIABLES.map(({ name, expected }) => [name, expected]));
    expect(pinnedDeviations(row)).toEqual([]);
    expect(pinnedDeviations({ ...row, sync_binlog: '0', gtid_mode: undefined })).toEqual([
      'gtid_mode is null, must be ON',
      'sync_binlog is 0, must be 1',
    ]);
    for (const { name } of PINNED_VARIABLES) expect(PINNED_PROBE_SQL).toContain(`@@GLOBAL.${name} `);
  });
});

test('mysqldCommand puts --defaults-file before all other options', () => {
  const install = {
    source: 'cache',
    version: '9.7.4',
    command: ['/r/ld.so', '--library-path', '/r/lib', '/r/mysqld'],
    baseArgs: ['--basedir=/r'],
    client: null,
    mysqlbinlog: null,
    pluginDir: '/r/plugin',
    root: '/r',
  } as const;
  expect(mysqldCommand(install, '/n/my.cnf', ['--log-replica-updates=ON'])).toEqual({
    file: '/r/ld.so',
    args: [
      '--library-path',
      '/r/lib',
      '/r/mysqld',
      '--defaults-file=/n/my.cnf',
      '--basedir=/r',
      '--log-replica-updates=ON',
    ],
  });
  expect(mysqldEnv({ PATH: '/bin', MYSQLD_PARENT_PID: '1' })).toEqual({ PATH: '/bin' });
});
