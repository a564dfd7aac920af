import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initialiseDatadir } from '../../../agent/host/datadir.ts';
import { PINNED_PROBE_SQL, PINNED_VARIABLES, pinnedDeviations } from '../../../agent/mysql-settings.ts';
import { INTERNAL_ACCOUNTS } from '../../../base/accounts.ts';
import { silentLogger } from '../../../base/ports.ts';
import {
  startTestMysqld,
  TEST_AGENT_PASSWORD,
  TEST_SYNC_PASSWORD,
  type TestMysqld,
  testMysqlInstall,
} from '../../support/mysqld.ts';
import { eventually } from '../../support/wait.ts';

const accounts = {
  agentAccount: { user: INTERNAL_ACCOUNTS.agent, password: TEST_AGENT_PASSWORD },
  syncAccount: { user: INTERNAL_ACCOUNTS.sync, password: TEST_SYNC_PASSWORD },
};

describe('a fresh server', () => {
  let server: TestMysqld;
  beforeAll(async () => {
    server = await startTestMysqld({ name: 'fresh' });
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  const login = async (options: ConnectionOptions): Promise<string> => {
    const connection = await createConnection(options);
    try {
      const [rows] = await connection.query('SELECT CURRENT_USER() AS me');
      return (rows as { me: string }[])[0]?.me ?? '';
    } finally {
      connection.destroy();
    }
  };

  test('has every pinned variable as pinned', async () => {
    const [row] = await server.query(PINNED_PROBE_SQL);
    expect(pinnedDeviations(row ?? {})).toEqual([]);
    expect(Object.keys(row ?? {})).toHaveLength(PINNED_VARIABLES.length);
  });

  test('starts closed: offline, read-only, no events, no transaction of its own', async () => {
    const [row] = await server.query(
      `SELECT @@global.offline_mode AS offline, @@global.super_read_only AS super, @@global.event_scheduler AS events,
              @@global.gtid_executed AS executed, @@global.log_replica_updates AS logged,
              @@global.innodb_flush_log_at_trx_commit AS flushed`,
    );
    expect(row).toEqual({ offline: 1, super: 1, events: 'OFF', executed: '', logged: 0, flushed: 1 });
    const plugins = await server.query(
      "SELECT plugin_name AS name FROM information_schema.plugins WHERE plugin_status='ACTIVE' AND plugin_name IN ('rpl_semi_sync_source', 'clone', 'mysqlx')",
    );
    expect(plugins.map((plugin) => plugin['name']).sort()).toEqual(['clone', 'rpl_semi_sync_source']);
    const [status] = await server.query("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_status'");
    expect(status?.['Value']).toBe('ON');
  });

  test('lets the two internal accounts in over the socket, and nobody else', async () => {
    const socket = { socketPath: server.socket };
    expect(await login({ ...socket, user: INTERNAL_ACCOUNTS.agent, password: TEST_AGENT_PASSWORD })).toBe(
      'phxsql_agent@localhost',
    );
    expect(await login({ ...socket, user: INTERNAL_ACCOUNTS.sync, password: TEST_SYNC_PASSWORD })).toBe(
      'phxsql_sync@localhost',
    );
    for (const user of ['root', 'mysql.sys', 'mysql.session', 'mysql.infoschema', '']) {
      await expect(login({ ...socket, user, password: '' }), user).rejects.toMatchObject({
        errno: expect.any(Number) as number,
      });
    }
    const tcp = { host: '127.0.0.1', port: server.port, user: INTERNAL_ACCOUNTS.agent, password: TEST_AGENT_PASSWORD };
    await expect(login(tcp)).rejects.toThrow(/not allowed to connect|Access denied/);
  });

  test('gives sync what it needs and no more', async () => {
    const grants = await server.query(`SHOW GRANTS FOR ${INTERNAL_ACCOUNTS.sync}@localhost`);
    expect(grants.map((row) => Object.values(row)[0])).toEqual([
      'GRANT REPLICATION SLAVE ON *.* TO `phxsql_sync`@`localhost`',
      'GRANT CONNECTION_ADMIN,SYSTEM_USER ON *.* TO `phxsql_sync`@`localhost`',
    ]);
    const [agent] = await server.query(
      `SELECT GROUP_CONCAT(privilege_type) AS p FROM information_schema.user_privileges WHERE grantee LIKE '%${INTERNAL_ACCOUNTS.agent}%'`,
    );
    for (const needed of [
      'CLONE_ADMIN',
      'SYSTEM_USER',
      'SYSTEM_VARIABLES_ADMIN',
      'SUPER',
      'SHUTDOWN',
      'REPLICATION_APPLIER',
    ]) {
      expect(String(agent?.['p'])).toContain(needed);
    }
  });

  test('refuses engines whose writes a cut of the binlog cannot undo', async () => {
    await server.query('SET GLOBAL super_read_only=OFF');
    for (const engine of ['MyISAM', 'MEMORY', 'CSV', 'ARCHIVE', 'BLACKHOLE']) {
      const create = `SET SESSION sql_log_bin=0; CREATE TABLE sys.forbidden (a INT NOT NULL) ENGINE=${engine}`;
      await expect(server.query(create), engine).rejects.toThrow(/disabled/);
    }
    await server.query('SET GLOBAL super_read_only=ON');
  });
});

test('settings persisted by someone with the privilege do not survive a restart', async () => {
  await using server = await startTestMysqld({ name: 'persist' });
  await server.query(
    'SET PERSIST_ONLY rpl_semi_sync_source_enabled=OFF; SET PERSIST_ONLY sync_binlog=0; SET PERSIST_ONLY skip_name_resolve=OFF',
  );
  expect(existsSync(join(server.datadir, 'mysqld-auto.cnf'))).toBe(true);
  await server.stop();
  await server.start();
  const [row] = await server.query(PINNED_PROBE_SQL);
  expect(pinnedDeviations(row ?? {})).toEqual([]);
  await server.query('SET GLOBAL rpl_semi_sync_source_enabled=OFF');
  const [changed] = await server.query(PINNED_PROBE_SQL);
  expect(pinnedDeviations(changed ?? {})).toEqual(['rpl_semi_sync_source_enabled is 0, must be 1']);
});

test('replication starts again after kill -9 at any moment, with RESET REPLICA ALL (protocol-findings 2)', async () => {
  const alone = ['rpl_semi_sync_source_enabled=OFF', 'super_read_only=OFF', 'read_only=OFF', 'offline_mode=OFF'];
  await using source = await startTestMysqld({ name: 'source', cnfOverrides: alone });
  await using replica = await startTestMysqld({ name: 'replica' });
  await source.query("CREATE USER r@'%' IDENTIFIED BY 'r'; GRANT REPLICATION SLAVE ON *.* TO r@'%'");
  const attach = `RESET REPLICA ALL; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=${source.port}, SOURCE_USER='r',
    SOURCE_PASSWORD='r', SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA`;
  const caughtUp = async (): Promise<void> => {
    const [wanted] = await source.query('SELECT @@global.gtid_executed AS g');
    await eventually('replica has caught up', 30_000, async () => {
      const [found] = await replica.query('SELECT @@global.gtid_executed AS g');
      return found?.['g'] === wanted?.['g'];
    });
  };
  await replica.query(attach);
  await replica.kill9(); // before or while the first event is applied
  await source.query('CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT)');
  for (let round = 0; round < 3; round += 1) {
    await replica.start();
    await replica.query(attach);
    for (let i = 0; i < 20; i += 1) await source.query(`INSERT INTO d.t (v) VALUES ('${round} ${i}')`);
    await replica.kill9();
  }
  await replica.start();
  await replica.query(attach);
  await caughtUp();
  const [sum] = await replica.query('CHECKSUM TABLE d.t');
  const [expected] = await source.query('CHECKSUM TABLE d.t');
  expect(sum?.['Checksum']).toBe(expected?.['Checksum']);
  expect(readdirSync(replica.datadir).filter((name) => name.startsWith('binlog.0')).length).toBeGreaterThan(0);
});

describe('initialiseDatadir', () => {
  const dir = mkdtempSync(join(tmpdir(), 'phx-datadir-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const options = { install: testMysqlInstall(), templateDir: join(dir, 'templates'), log: silentLogger, ...accounts };

  test('nodes starting together share one template and leave nothing half done', async () => {
    mkdirSync(join(dir, 'n1', 'data.init-999999999'), { recursive: true });
    writeFileSync(join(dir, 'n1', 'data.init-999999999', 'ibdata1'), 'half');
    await Promise.all(
      ['n1', 'n2', 'n3'].map((node) => initialiseDatadir({ ...options, datadir: join(dir, node, 'data') })),
    );
    for (const node of ['n1', 'n2', 'n3']) {
      expect(readdirSync(join(dir, node))).toEqual(['data']);
      expect(readdirSync(join(dir, node, 'data'))).toContain('mysql.ibd');
      expect(existsSync(join(dir, node, 'data', 'auto.cnf'))).toBe(false);
      expect(statSync(join(dir, node, 'data')).mode & 0o077).toBe(0);
    }
    expect(readdirSync(join(dir, 'templates')).filter((name) => !name.endsWith('.lock'))).toHaveLength(1);
    expect(statSync(join(dir, 'templates')).mode & 0o077).toBe(0);
  });

  test('other accounts or settings decided at creation make another template', async () => {
    const settings = { 'lower-case-table-names': 1 };
    await initialiseDatadir({ ...options, settings, datadir: join(dir, 'n4', 'data') });
    expect(readdirSync(join(dir, 'templates')).filter((name) => !name.endsWith('.lock'))).toHaveLength(2);
    const init = 'SET @a = "x#y", @b = \'back\\\\slash\'';
    await using server = await startTestMysqld({ name: 'lower', settings: { ...settings, init_connect: init } });
    expect((await server.query('SELECT @@init_connect AS i'))[0]?.['i']).toBe(init);
    expect((await server.query('SELECT @@lower_case_table_names AS l'))[0]?.['l']).toBe(1);
  });

  test('an existing directory is never touched, and a failure leaves nothing', async () => {
    await expect(initialiseDatadir({ ...options, datadir: join(dir, 'n1', 'data') })).rejects.toMatchObject({
      code: 'DIR_FOREIGN',
    });
    const broken = { ...options, templateDir: null, settings: { innodb_data_file_path: 'nonsense' } };
    await expect(initialiseDatadir({ ...broken, datadir: join(dir, 'n5', 'data') })).rejects.toMatchObject({
      code: 'MYSQL_UNSUITABLE',
      message: expect.stringContaining('innodb_data_file_path') as string,
    });
    expect(readdirSync(join(dir, 'n5'))).toEqual([]);
    const stop = AbortSignal.timeout(1000);
    await expect(
      initialiseDatadir({ ...options, templateDir: null, signal: stop, datadir: join(dir, 'n6', 'data') }),
    ).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(readdirSync(join(dir, 'n6'))).toEqual([]);
  });
});
