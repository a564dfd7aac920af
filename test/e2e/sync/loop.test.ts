import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { INTERNAL_ACCOUNTS } from '../../../base/accounts.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { type DumpServer, startDumpServer } from '../../../binlogsvr/dump-server.ts';
import { mysqldSource } from '../../../sync/mysqld-source.ts';
import { Sync } from '../../../sync/sync.ts';
import { runToEnd } from '../../support/cluster.ts';
import { MemoryLog } from '../../support/memory-log.ts';
import { startTestMysqld, TEST_SYNC_PASSWORD, type TestMysqld, testMysqlInstall } from '../../support/mysqld.ts';
import { eventually } from '../../support/wait.ts';

const REPLICA = { user: INTERNAL_ACCOUNTS.replica, password: 'replica password' };

/** master mysqld -> Sync -> log -> DumpServer -> replica mysqld: the whole data path, without consensus. */
describe('binlog from a real master through the log to a real replica', () => {
  let master: TestMysqld;
  let replica: TestMysqld;
  let log: MemoryLog;
  let dump: DumpServer;
  let sync: Sync;

  const newSync = (): Sync =>
    new Sync({
      serverId: 900_001,
      replicaUuid: '00000000-0000-0000-0000-0000000000aa',
      connect: mysqldSource({ user: INTERNAL_ACCOUNTS.sync, password: TEST_SYNC_PASSWORD }),
      pid: process.pid,
      store: log,
      clock: systemClock,
      log: silentLogger,
      onStatus() {},
    });
  const attach = async (): Promise<void> => {
    sync.aim({ epoch: 1, socketPath: master.socket });
    await eventually('sync attached', 10_000, () => {
      if (sync.status.state === 'attached' && sync.status.spareReady) return true;
      throw new Error(JSON.stringify(sync.status));
    });
  };
  const caughtUp = async (): Promise<void> => {
    await eventually('replica has executed the log', 30_000, async () => {
      const [row] = await replica.query<{ g: string }>('SELECT @@global.gtid_executed AS g');
      const [status] = await replica.query<{ e: string; w: string }>(
        `SELECT (SELECT LAST_ERROR_MESSAGE FROM performance_schema.replication_connection_status) AS e,
                (SELECT GROUP_CONCAT(LAST_ERROR_MESSAGE SEPARATOR '') FROM performance_schema.replication_applier_status_by_worker) AS w`,
      );
      if (row?.g.replaceAll('\n', '') === log.state.gtidSet.toString()) return true;
      throw new Error(`replica ${row?.g}, log ${log.state.gtidSet.toString()}, errors: ${status?.e} ${status?.w}`);
    });
  };
  const sums = async (server: TestMysqld, schema: string): Promise<string> => {
    const tables = await server.query<{ name: string }>(
      `SELECT table_name AS name FROM information_schema.tables WHERE table_schema='${schema}' AND table_type='BASE TABLE' ORDER BY 1`,
    );
    const out: string[] = [];
    for (const { name } of tables) {
      const [row] = await server.query<{ Checksum: number }>(`CHECKSUM TABLE ${schema}.${name}`);
      out.push(`${name}=${row?.Checksum}`);
    }
    return out.join(' ');
  };

  beforeAll(async () => {
    log = MemoryLog.elected();
    [master, replica] = await Promise.all([startTestMysqld({ name: 'master' }), startTestMysqld({ name: 'replica' })]);
    dump = await startDumpServer({
      host: '127.0.0.1',
      port: 0,
      serverId: 999_001,
      serverUuid: '00000000-0000-0000-0000-0000000000bb',
      serverVersion: testMysqlInstall().version,
      account: REPLICA,
      source: log,
      clock: systemClock,
      log: silentLogger,
    });
    sync = newSync();
    await attach();
    await master.query('SET GLOBAL super_read_only=0; SET GLOBAL read_only=0; SET GLOBAL offline_mode=0');
    await replica.query(
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=${dump.port}, SOURCE_USER='${REPLICA.user}',
       SOURCE_PASSWORD='${REPLICA.password}', SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_SSL=0, SOURCE_HEARTBEAT_PERIOD=0.5;
       START REPLICA`,
    );
  });
  afterAll(async () => {
    await sync?.close();
    await dump?.close();
    await Promise.all([master?.[Symbol.asyncDispose](), replica?.[Symbol.asyncDispose]()]);
  });

  test('DDL, rows, tagged GTIDs, compressed transactions and rotated files arrive', async () => {
    await master.query('CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200))');
    for (let i = 0; i < 50; i += 1) await master.query(`INSERT INTO d.t (v) VALUES ('row ${i}'), (REPEAT('z', ${i}))`);
    await master.query(
      "SET gtid_next='AUTOMATIC:tagged'; INSERT INTO d.t (v) VALUES ('tagged'); SET gtid_next='AUTOMATIC'",
    );
    await master.query(
      "SET binlog_transaction_compression=ON; INSERT INTO d.t (v) SELECT REPEAT('c', 150) FROM d.t; SET binlog_transaction_compression=OFF",
    );
    await master.query('FLUSH BINARY LOGS');
    await master.query("INSERT INTO d.t (v) VALUES ('after rotation')");
    await master.query("SET timestamp=1694499055; INSERT INTO d.t (v) VALUES ('EF'); SET timestamp=DEFAULT");
    await caughtUp();
    expect(await sums(replica, 'd')).toBe(await sums(master, 'd'));
  });

  test('a transaction above 1 MiB and an event above 16 MiB travel in chunks', async () => {
    await master.query('SET GLOBAL max_allowed_packet=67108864');
    await master.query('CREATE TABLE d.big (id INT PRIMARY KEY, b LONGBLOB)');
    await master.query(
      "INSERT INTO d.big VALUES (1, REPEAT('a', 3000000)), (2, REPEAT('b', 20000000)), (3, REPEAT('c', 100))",
    );
    await caughtUp();
    expect(await sums(replica, 'd')).toBe(await sums(master, 'd'));
  });

  test('group commit: many clients, few appends', async () => {
    await master.query('CREATE TABLE d.g (id INT AUTO_INCREMENT PRIMARY KEY, v INT)');
    const before = sync.status;
    await Promise.all(
      Array.from({ length: 16 }, async (_, w) => {
        for (let i = 0; i < 25; i += 1) await master.query(`INSERT INTO d.g (v) VALUES (${w * 100 + i})`);
      }),
    );
    const transactions = sync.status.ackedTransactions - before.ackedTransactions;
    expect(transactions).toBe(400);
    expect(sync.status.appends - before.appends).toBeLessThan(transactions);
    await caughtUp();
    expect(await sums(replica, 'd')).toBe(await sums(master, 'd'));
  });

  test('an ack lost with its connection is repeated within 1 s without a new write (protocol-findings 18)', async () => {
    await master.query('CREATE TABLE d.lost (id INT PRIMARY KEY)');
    const { promise, resolve: open } = Promise.withResolvers<void>();
    log.gate = promise;
    let done = 0;
    const waiting = master.query('INSERT INTO d.lost VALUES (1)').then(() => {
      done = performance.now();
    });
    await eventually('the insert waits', 5000, async () => (await waiters(master)) === 1);
    const [thread] = await master.query<{ id: number }>(
      "SELECT PROCESSLIST_ID AS id FROM performance_schema.threads WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'",
    );
    await master.query(`KILL ${thread?.id}`);
    log.gate = null;
    open();
    const from = performance.now();
    const before = sync.status.repeatedAcks;
    await eventually('the ack is repeated', 1000, () => sync.status.repeatedAcks > before);
    await waiting;
    // mysqld looks at the new stream when the poll of 1 s is over that its ack receiver began with the old one.
    expect(done - from).toBeLessThan(1500);
  });

  test('a CREATE USER that waits while sync is away is acked by the spare connection (protocol-findings 13)', async () => {
    const { promise, resolve: open } = Promise.withResolvers<void>();
    log.gate = promise;
    const created = master.query("CREATE USER spare@'%' IDENTIFIED BY 'p'");
    await eventually('it waits', 5000, async () => (await waiters(master)) === 1);
    const [thread] = await master.query<{ id: number }>(
      "SELECT PROCESSLIST_ID AS id FROM performance_schema.threads WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'",
    );
    await master.query(`KILL ${thread?.id}`);
    log.gate = null;
    open();
    await created;
    await caughtUp();
    expect(await replica.query("SELECT user FROM mysql.user WHERE user='spare'")).toHaveLength(1);
  });

  test('a new sync process attaches after exactly what the log holds', async () => {
    await sync.close();
    const waiting = master.query("INSERT INTO d.t (v) VALUES ('while sync is away')");
    await eventually('it waits', 5000, async () => (await waiters(master)) === 1);
    sync = newSync();
    await attach();
    await waiting;
    await caughtUp();
    expect(await sums(replica, 'd')).toBe(await sums(master, 'd'));
  });

  test('a fresh replica, mysqlbinlog and a wrong password at the dump server', async () => {
    await using fresh = await startTestMysqld({ name: 'fresh' });
    const source = `SOURCE_HOST='127.0.0.1', SOURCE_PORT=${dump.port}, SOURCE_USER='${REPLICA.user}', SOURCE_AUTO_POSITION=1, SOURCE_SSL=0`;
    await fresh.query(`CHANGE REPLICATION SOURCE TO ${source}, SOURCE_PASSWORD='wrong'; START REPLICA`);
    await eventually('the refusal is reported', 10_000, async () => {
      const [row] = await fresh.query<{ e: string }>(
        'SELECT LAST_ERROR_MESSAGE AS e FROM performance_schema.replication_connection_status',
      );
      return /Access denied/.test(row?.e ?? '');
    });
    await fresh.query(
      `STOP REPLICA; CHANGE REPLICATION SOURCE TO ${source}, SOURCE_PASSWORD='${REPLICA.password}'; START REPLICA`,
    );
    await eventually('it has everything', 60_000, async () => {
      const [row] = await fresh.query<{ g: string }>('SELECT @@global.gtid_executed AS g');
      return row?.g.replaceAll('\n', '') === log.state.gtidSet.toString();
    });
    expect(await sums(fresh, 'd')).toBe(await sums(master, 'd'));
    const { mysqlbinlog } = testMysqlInstall();
    const file = `1-${log.state.file?.name}`;
    const text = await runToEnd(
      mysqlbinlog![0] as string,
      [
        ...mysqlbinlog!.slice(1),
        ...['--read-from-remote-server', '--host=127.0.0.1', `--port=${dump.port}`, `--user=${REPLICA.user}`],
        ...[`--password=${REPLICA.password}`, '--ssl-mode=DISABLED', '--verify-binlog-checksum', file],
      ],
      60_000,
    );
    expect(text).toMatch(/Xid = \d+/);
  });
});

async function waiters(server: TestMysqld): Promise<number> {
  const [row] = await server.query<{ Value: string }>("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_wait_sessions'");
  return Number(row?.Value ?? 0);
}
