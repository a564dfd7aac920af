import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Connection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster } from '../../support/cluster.ts';
import { beyond, MiB, peakMemory } from '../../support/memory.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';
import { ACCOUNTS, DEFINITIONS, SESSION } from './statements.ts';

/** None of our processes may grow beyond this, whatever a transaction's size. */
const MEMORY_MAX = 600 * MiB;

describe.runIf(FULL)('big and odd transactions', { timeout: 900_000 }, () => {
  let cluster: TestCluster;

  beforeAll(async () => {
    cluster = await TestCluster.start({ config: '[mysqld]\nlocal_infile = true' });
    const { nodes } = await cluster.converged();
    await cluster.sql(nodes[0]!.rw, 'CREATE DATABASE odd');
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const rw = async () => (await cluster.master()).rw;
  const run = async (connection: Connection, statements: readonly string[]): Promise<void> => {
    for (const statement of statements) await connection.query(statement.replaceAll('{db}', 'odd'));
  };
  /** As a client of the master. */
  const session = async <T>(work: (connection: Connection) => Promise<T>): Promise<T> => {
    const connection = await cluster.connect(await rw(), 'odd');
    connection.on('error', () => {});
    try {
      return await work(connection);
    } finally {
      connection.destroy();
    }
  };
  /** As the agent's account, on the master itself: it may do what no client may. */
  const privileged = async <T>(work: (connection: Connection) => Promise<T>): Promise<T> => {
    const connection = await cluster.admin((await cluster.master()).id);
    try {
      return await work(connection);
    } finally {
      connection.destroy();
    }
  };
  /** Every node has executed the same transactions and holds the same rows; nobody but `epoch`'s master was needed. */
  const equalEverywhere = async (timeoutMs = 60_000): Promise<void> => {
    const { nodes } = await cluster.converged(timeoutMs);
    expect(new Set(nodes.map(({ gtidExecuted }) => gtidExecuted)).size).toBe(1);
    expect(new Set(await cluster.checksums('odd')).size).toBe(1);
  };
  /** How often a slave's receiver began anew. */
  const dumpsOf = (id: number): number =>
    readFileSync(join(cluster.nodeDir(id), 'log', 'binlogsvr.log'), 'utf8').split('"dump started"').length;
  const ask = async <T>(statement: string): Promise<T[][]> => {
    const { nodes } = await cluster.status();
    return Promise.all(nodes.map(({ id }) => cluster.adminQuery<T>(id, statement)));
  };

  test('one transaction of 1 GiB replicates, and no process of ours grows', async () => {
    const before = await cluster.converged();
    const dumps = before.nodes.map(({ id }) => dumpsOf(id));
    await session(async (connection) => {
      await connection.query('CREATE TABLE big (id INT PRIMARY KEY, v LONGBLOB)');
      await connection.query('SET cte_max_recursion_depth = 2000');
      await connection.query(
        `INSERT INTO big WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 1024)
         SELECT n, REPEAT(CHAR(65 + n % 26), ${MiB}) FROM s`,
      );
    });
    await equalEverywhere(300_000);
    const after = await cluster.status();
    expect(after.epoch).toBe(before.epoch);
    // Heartbeats went on while it was appended: no slave took its source for dead.
    expect(after.nodes.map(({ id }) => dumpsOf(id))).toEqual(dumps);
    const peaks = peakMemory(after);
    console.log(
      `peaks after 1 GiB: ${[...peaks].map(([name, bytes]) => `${name} ${Math.round(bytes / MiB)}`).join(', ')}`,
    );
    expect(beyond(peaks, MEMORY_MAX)).toEqual([]);
    await session((connection) => connection.query('DROP TABLE big'));
    await equalEverywhere();
  });

  test('a single row of 64 MiB replicates', async () => {
    const before = await cluster.converged();
    await session(async (connection) => {
      await connection.query('CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)');
      await connection.query(`INSERT INTO blobs VALUES (1, REPEAT('b', ${64 * MiB}))`);
      await connection.query("UPDATE blobs SET v = CONCAT('a', SUBSTRING(v, 2))");
    });
    await equalEverywhere(120_000);
    const lengths = await ask<{ n: number }>('SELECT LENGTH(v) AS n FROM odd.blobs');
    expect(lengths.map((rows) => rows[0]?.n)).toEqual(lengths.map(() => 64 * MiB));
    const after = await cluster.status();
    expect(after.epoch).toBe(before.epoch);
    expect(beyond(peakMemory(after), MEMORY_MAX)).toEqual([]);
  });

  test('a packet beyond max_allowed_packet is an error of that client alone', async () => {
    const before = await cluster.converged();
    await session(async (other) => {
      await session(async (connection) => {
        const tooLong = connection.query('INSERT INTO blobs VALUES (2, ?)', [Buffer.alloc(65 * MiB, 'c')]);
        // mysqld's own error, or, where its reset overtakes that on the way through the proxy, a lost connection (docs/TESTING.md).
        await expect(tooLong).rejects.toThrow(/max_allowed_packet|Connection lost|ECONNRESET|EPIPE/);
      });
      await other.query("INSERT INTO blobs VALUES (3, 'small')");
    });
    await equalEverywhere();
    expect((await cluster.status()).epoch).toBe(before.epoch);
    const rows = await ask<{ n: number }>('SELECT COUNT(*) AS n FROM odd.blobs');
    expect(rows.map(([row]) => row?.n)).toEqual(rows.map(() => 2));
  });

  test('LOAD DATA of 100 MiB in one transaction', async () => {
    const lines = 1_000_000;
    await session(async (connection) => {
      await connection.query('CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(100))');
      const line = (id: number): string => `${id}\t${'v'.repeat(95)}\n`;
      function* text(): Generator<Buffer> {
        for (let id = 1; id <= lines; id += 1000)
          yield Buffer.from(Array.from({ length: 1000 }, (_, i) => line(id + i)).join(''));
      }
      await connection.query({
        sql: "LOAD DATA LOCAL INFILE 'rows' INTO TABLE loaded",
        infileStreamFactory: () => Readable.from(text(), { objectMode: false }),
      });
    });
    await equalEverywhere(180_000);
    const rows = await ask<{ n: number }>('SELECT COUNT(*) AS n FROM odd.loaded');
    expect(rows.map(([row]) => row?.n)).toEqual(rows.map(() => lines));
  });

  test('a DELETE of 200,000 rows', async () => {
    await session((connection) => connection.query('DELETE FROM loaded WHERE id <= 200000'));
    await equalEverywhere(120_000);
    const rows = await ask<{ n: number }>('SELECT COUNT(*) AS n FROM odd.loaded');
    expect(rows.map(([row]) => row?.n)).toEqual(rows.map(() => 800_000));
    expect(beyond(peakMemory(await cluster.status()), MEMORY_MAX)).toEqual([]);
  });

  test('definitions, accounts, temporary tables, savepoints, triggers', async () => {
    await session((connection) => run(connection, [...DEFINITIONS, ...ACCOUNTS, ...SESSION]));
    await equalEverywhere();
    const grants = await ask("SHOW GRANTS FOR 'odd_u'@'%'");
    expect(new Set(grants.map((rows) => JSON.stringify(rows))).size).toBe(1);
    const tables = await ask(
      "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'odd' ORDER BY 1",
    );
    expect(new Set(tables.map((rows) => JSON.stringify(rows))).size).toBe(1);
    const audit = await ask('SELECT what, at FROM odd.audit ORDER BY id');
    expect(audit[0]).toHaveLength(2);
    expect(new Set(audit.map((rows) => JSON.stringify(rows))).size).toBe(1);
  });

  test('GTIDs with tags', async () => {
    await privileged((connection) =>
      run(connection, [
        "SET SESSION gtid_next = 'AUTOMATIC:nightly'",
        'CREATE TABLE {db}.tagged (id INT PRIMARY KEY)',
        'INSERT INTO {db}.tagged VALUES (1), (2)',
        "SET SESSION gtid_next = 'AUTOMATIC:other'",
        'INSERT INTO {db}.tagged VALUES (3)',
        "SET SESSION gtid_next = 'AUTOMATIC'",
        'INSERT INTO {db}.tagged VALUES (4)',
      ]),
    );
    await equalEverywhere();
    expect((await cluster.status()).gtid).toMatch(/nightly:1-2/);
  });

  test('compressed transactions', async () => {
    await privileged((connection) =>
      run(connection, [
        'SET SESSION binlog_transaction_compression = ON',
        'CREATE TABLE {db}.packed (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(255))',
        "INSERT INTO {db}.packed (v) VALUES (REPEAT('p', 255)), (REPEAT('q', 255))",
        ...Array.from({ length: 12 }, () => 'INSERT INTO {db}.packed (v) SELECT v FROM {db}.packed'),
      ]),
    );
    await equalEverywhere();
    const [rows] = await ask<{ n: number }>('SELECT COUNT(*) AS n FROM odd.packed');
    expect(rows?.[0]?.n).toBe(8192);
  });

  test('binlog files that end under load', async () => {
    const before = await cluster.converged();
    const writers = await Writers.start(
      cluster,
      4,
      before.nodes.map((node) => node.rw),
      'odd.rotated',
    );
    try {
      await writers.firstAckAfter(Date.now(), 10_000);
      await privileged(async (connection) => {
        for (let i = 0; i < 40; i += 1) {
          await connection.query('FLUSH BINARY LOGS');
          await writers.firstAckAfter(Date.now(), 10_000);
        }
      });
      await writers.firstAckAfter(Date.now(), 10_000);
    } finally {
      await writers.stop();
    }
    await equalEverywhere();
    expect(writers.errors).toEqual([]);
    expect((await cluster.status()).epoch).toBe(before.epoch);
    for (const { id } of before.nodes) expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
  });

  test('what is written with sql_log_bin off is noticed and said', async () => {
    await privileged((connection) =>
      run(connection, [
        'CREATE TABLE {db}.unlogged (id INT PRIMARY KEY)',
        'SET sql_log_bin = 0',
        'SET sql_log_bin = 1',
      ]),
    );
    const { id } = await cluster.master();
    await eventually('a warning in status', 60_000, async () => {
      const { warnings } = await cluster.status();
      return warnings.some((each) => each.includes(`node ${id}`) && each.includes('sql_log_bin'));
    });
    await equalEverywhere();
  });

  test('events run on the master only, and keep their state over three failovers', async () => {
    await session((connection) =>
      run(connection, [
        'CREATE TABLE {db}.ticks (id BIGINT AUTO_INCREMENT PRIMARY KEY, e VARCHAR(20), server INT, at DATETIME(6))',
        ...['runs', 'stopped', 'late'].map(
          (name) =>
            `CREATE EVENT {db}.${name} ON SCHEDULE EVERY 1 SECOND DO INSERT INTO {db}.ticks (e, server, at) VALUES ('${name}', @@server_id, NOW(6))`,
        ),
        "CREATE EVENT {db}.never ON SCHEDULE EVERY 1 SECOND DISABLE COMMENT 'ENABLE me' DO INSERT INTO {db}.ticks (e) VALUES ('never')",
        'ALTER EVENT {db}.stopped DISABLE',
      ]),
    );
    const statesOf = async (id: number): Promise<Record<string, string>> => {
      const rows = await cluster.adminQuery<{ n: string; s: string; d: string }>(
        id,
        "SELECT EVENT_NAME AS n, STATUS AS s, DEFINER AS d FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'odd'",
      );
      for (const { d } of rows) expect(d).toBe('root@%');
      return Object.fromEntries(rows.map(({ n, s }) => [n, s]));
    };
    const servers: number[] = [];
    for (let turn = 0; turn <= 3; turn += 1) {
      const status = await cluster.converged();
      const { id } = await cluster.master();
      const expected = {
        runs: 'ENABLED',
        late: turn < 2 ? 'ENABLED' : 'DISABLED',
        stopped: 'DISABLED',
        never: 'DISABLED',
      };
      await eventually(`events as they were, on node ${id}`, 20_000, async () => {
        const states = await statesOf(id);
        if (JSON.stringify(Object.entries(states).sort()) === JSON.stringify(Object.entries(expected).sort()))
          return true;
        throw new Error(JSON.stringify(states));
      });
      for (const node of status.nodes) {
        if (node.id !== id) expect(Object.values(await statesOf(node.id)).join()).toMatch(/^(\w*SIDE_DISABLED,?){4}$/);
      }
      const [server] = await cluster.adminQuery<{ s: number }>(id, 'SELECT @@server_id AS s');
      servers.push(server?.s as number);
      await eventually('the event runs here', 20_000, async () => {
        const [row] = await cluster.adminQuery<{ n: number }>(
          id,
          `SELECT COUNT(*) AS n FROM odd.ticks WHERE e = 'runs' AND server = ${server?.s} AND at > NOW(6) - INTERVAL 5 SECOND`,
        );
        return (row?.n ?? 0) >= 2;
      });
      if (turn === 1) await session((connection) => connection.query('ALTER EVENT odd.late DISABLE'));
      if (turn === 3) break;
      await cluster.killMysqld(id);
      await eventually('failover', 20_000, async () => {
        const now = await cluster.status();
        return now.epoch > status.epoch && now.master !== null;
      });
    }
    const ticks = await session(async (connection) => {
      await connection.query('DROP EVENT runs');
      const [rows] = await connection.query('SELECT e, server, UNIX_TIMESTAMP(at) AS at FROM ticks ORDER BY at');
      return rows as { e: string; server: number; at: string }[];
    });
    // Never twice: no second in which one server ran it and another one as well.
    const ranBy = new Map<number, Set<number>>();
    for (const { server, at } of ticks.filter(({ e }) => e === 'runs')) {
      const second = Math.floor(Number(at));
      ranBy.set(second, (ranBy.get(second) ?? new Set()).add(server));
    }
    expect([...ranBy.values()].filter((by) => by.size > 1)).toEqual([]);
    expect(ticks.filter(({ e }) => e === 'never')).toEqual([]);
    expect(new Set(servers).size).toBeGreaterThan(1);
    await equalEverywhere();
  });
});
