import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kill, runToEnd, TestCluster } from '../../support/cluster.ts';
import { count } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { ACCOUNTS, DEFINITIONS, SESSION } from './statements.ts';

describe('a running cluster', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await TestCluster.start();
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  test('status --json has the names others script against', async () => {
    await cluster.converged();
    const status = await cluster.statusByCommand();
    expect(Object.keys(status).sort()).toEqual(
      ['chosenIndex', 'cluster', 'epoch', 'flow', 'gtid', 'lease', 'master', 'nodes', 'warnings'].sort(),
    );
    expect(status.lease.holder).toBe(status.master);
    expect(status.lease.remainingMs).toBeGreaterThan(0);
    expect(status.nodes.map((node) => node.state).sort()).toEqual(['master', 'slave', 'slave']);
    for (const node of status.nodes) {
      expect(Object.keys(node)).toEqual(
        expect.arrayContaining([
          ...['id', 'state', 'reason', 'reachable', 'rw', 'ro', 'dump', 'rpc', 'mysql'],
          ...['gtidExecuted', 'executedIndex', 'chosenIndex', 'lagMs', 'pids'],
        ]),
      );
      for (const pid of [
        node.pids.supervisor,
        node.pids.mysqld,
        node.pids.binlogsvr,
        node.pids.agent,
        node.pids.sync,
      ]) {
        expect(pid).toBeGreaterThan(0);
      }
      expect(node.pids.proxy.length).toBeGreaterThan(0);
    }
  });

  test('a client that writes to the RW port of each node in turn sees one database', async () => {
    const { nodes } = await cluster.status();
    await cluster.sql(nodes[0]!.rw, 'CREATE DATABASE one; CREATE TABLE one.t (id INT PRIMARY KEY, v VARCHAR(20))');
    for (const [i, node] of nodes.entries())
      await cluster.sql(node.rw, 'INSERT INTO one.t VALUES (?, ?)', [i, `by node ${node.id}`]);
    const seen = await Promise.all(
      nodes.map((node) => cluster.sql(node.rw, 'SELECT @@server_id AS s, id, v FROM one.t ORDER BY id')),
    );
    for (const rows of seen) expect(rows).toEqual(seen[0]);
    expect(seen[0]).toHaveLength(nodes.length);
  });

  test('RO ports reach slaves, which refuse writes', async () => {
    const status = await cluster.converged();
    const master = status.nodes.find((node) => node.id === status.master)!;
    const [onMaster] = await cluster.sql<{ uuid: string }>(master.rw, 'SELECT @@server_uuid AS uuid');
    for (const node of status.nodes) {
      const [read] = await cluster.sql<{ uuid: string; n: number }>(
        node.ro,
        'SELECT @@server_uuid AS uuid, (SELECT COUNT(*) FROM one.t) AS n',
      );
      expect(read?.uuid).not.toBe(onMaster?.uuid);
      expect(read?.n).toBe(3);
      await expect(cluster.sql(node.ro, "INSERT INTO one.t VALUES (99, 'no')")).rejects.toThrow(/read-only/);
    }
  });

  test('the clients root has no privilege that could bypass the log', async () => {
    const { nodes } = await cluster.status();
    const at = nodes[0]!.rw;
    for (const statement of [
      'SET GLOBAL super_read_only=1',
      'SET SESSION sql_log_bin=0',
      'SET GLOBAL rpl_semi_sync_source_enabled=OFF',
      'SET PERSIST_ONLY rpl_semi_sync_source_enabled=OFF',
      'RESET BINARY LOGS AND GTIDS',
      'STOP REPLICA',
      'SHUTDOWN',
      "UPDATE mysql.user SET Host='x'",
    ]) {
      await expect(cluster.sql(at, statement), statement).rejects.toThrow(/denied/i);
    }
    await cluster.sql(at, "CREATE USER app@'%' IDENTIFIED BY 'p'; GRANT ALL ON one.* TO app@'%'; DROP USER app@'%'");
  });

  test('definitions, accounts, temporary tables and savepoints end up the same everywhere', async () => {
    const { nodes } = await cluster.status();
    await cluster.sql(nodes[0]!.rw, 'CREATE DATABASE odd');
    const connection = await cluster.connect(nodes[0]!.rw, 'odd');
    try {
      for (const statement of [...DEFINITIONS, ...ACCOUNTS, ...SESSION])
        await connection.query(statement.replaceAll('{db}', 'odd'));
    } finally {
      connection.destroy();
    }
    await cluster.converged();
    expect(new Set(await cluster.checksums('odd')).size).toBe(1);
  });

  test('sysbench through a slave node ends without an error and with equal data everywhere', async () => {
    const status = await cluster.converged();
    const slave = status.nodes.find((node) => node.id !== status.master)!;
    await cluster.sql(
      slave.rw,
      "CREATE DATABASE sbtest; CREATE USER sb@'%' IDENTIFIED BY 'sb'; GRANT ALL ON sbtest.* TO sb@'%'",
    );
    const common = [
      ...['oltp_read_write', `--mysql-host=${slave.rw.host}`, `--mysql-port=${slave.rw.port}`],
      ...[
        '--mysql-user=sb',
        '--mysql-password=sb',

        '--tables=2',
        '--table-size=2000',
        '--threads=16',
      ],
      `--time=${count(60, 10)}`,
    ];
    await runToEnd('sysbench', [...common, 'prepare'], 120_000);
    const output = await runToEnd('sysbench', [...common, 'run'], 240_000);
    expect(output).toMatch(/ignored errors:\s+\d+/);
    expect(output).toMatch(/reconnects:\s+0 /);
    expect(output).not.toMatch(/FATAL|error [0-9]{4}/);
    await cluster.converged();
    const sums = await cluster.checksums('sbtest');
    expect(new Set(sums).size).toBe(1);
    expect((await cluster.status()).epoch).toBe(status.epoch);
  });

  test('events whose first byte is 0xEF pass unharmed (protocol-findings 9)', async () => {
    const { nodes } = await cluster.converged();
    const connection = await cluster.connect(nodes[0]!.rw, 'one');
    try {
      await connection.query('CREATE TABLE ef (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(100))');
      await connection.query('SET timestamp = ?', [0x6500_00ef]);
      for (let i = 0; i < 200; i += 1) await connection.query("INSERT INTO ef (v) VALUES (REPEAT('e', ?))", [i % 90]);
    } finally {
      connection.destroy();
    }
    await cluster.converged();
    expect(new Set(await cluster.checksums('one')).size).toBe(1);
  });

  test('REPAIR TABLE on a slave leaves it electable (protocol-findings 14)', async () => {
    const status = await cluster.converged();
    const slave = status.nodes.find((node) => node.id !== status.master)!;
    const connection = await cluster.connect(slave.mysql, 'one');
    connection.on('error', () => {});
    // It never answers: its binlog event waits for an ack nobody may give. The agent must clear that up.
    connection.query('REPAIR TABLE t').catch(() => {});
    await eventually('the slave was restarted', 30_000, async () => {
      const now = await cluster.node(slave.id);
      return now.pids.mysqld !== slave.pids.mysqld && now.state === 'slave';
    });
    connection.destroy();
    const after = await cluster.converged();
    expect(after.epoch).toBe(status.epoch);
    expect(new Set(await cluster.checksums('one')).size).toBe(1);
  });

  test('sync killed while a CREATE USER waits for its ack recovers by itself (protocol-findings 13)', async () => {
    const status = await cluster.converged();
    const master = status.nodes.find((node) => node.id === status.master)!;
    const followers = status.nodes.filter((node) => node.id !== status.master);
    const connection = await cluster.connect(master.rw);
    // Opened before: while CREATE USER holds the ACL lock nobody can log in.
    const admin = await cluster.admin(master.id);
    for (const each of [connection, admin]) each.on('error', () => {});
    for (const node of followers) kill(node.pids.binlogsvr, 'SIGSTOP');
    try {
      connection.query("CREATE USER waits@'%' IDENTIFIED BY 'w'").catch(() => {});
      await eventually('the statement waits', 5000, async () => {
        const [rows] = await admin.query(
          "SELECT 1 FROM performance_schema.processlist WHERE state LIKE 'Waiting for semi-sync%'",
        );
        return (rows as unknown[]).length > 0;
      });
      kill(master.pids.sync);
    } finally {
      for (const node of followers) kill(node.pids.binlogsvr, 'SIGCONT');
      admin.destroy();
    }
    await eventually('writes go on', 30_000, async () => {
      await cluster.sql(followers[0]!.rw, 'CREATE TABLE IF NOT EXISTS one.after13 (id INT PRIMARY KEY)');
      return true;
    });
    connection.destroy();
    await cluster.converged();
    const users = await Promise.all(
      status.nodes.map((node) => cluster.adminQuery(node.id, "SELECT user FROM mysql.user WHERE user='waits'")),
    );
    expect(new Set(users.map((rows) => rows.length)).size).toBe(1);
  });

  test('SET PERSIST_ONLY of a pinned setting and a restart: still synchronous, and said in status', async () => {
    const before = await cluster.converged();
    const master = before.nodes.find((node) => node.id === before.master)!;
    await cluster.adminQuery(
      master.id,
      'SET PERSIST_ONLY rpl_semi_sync_source_enabled=OFF; SET PERSIST_ONLY sync_binlog=0; SET PERSIST_ONLY super_read_only=OFF',
    );
    kill(master.pids.mysqld);
    await eventually('failover', 20_000, async () => (await cluster.status()).epoch > before.epoch);
    const after = await cluster.converged();
    const back = after.nodes.find((node) => node.id === master.id)!;
    const [values] = await cluster.adminQuery(
      master.id,
      'SELECT @@global.rpl_semi_sync_source_enabled AS a, @@global.sync_binlog AS b, @@global.super_read_only AS c',
    );
    expect(values).toEqual({ a: 1, b: 1, c: back.state === 'master' ? 0 : 1 });
    expect(back.reason).toMatch(/persist/i);
  });
});
