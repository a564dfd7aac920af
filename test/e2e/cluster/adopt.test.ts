import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BIN, TestCluster } from '../../support/cluster.ts';
import { PlainServer } from '../../support/plain-server.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

const ROWS = 10_000;
const GTIDS = ['--gtid-mode=ON', '--enforce-gtid-consistency=ON'];
const run = promisify(execFile);

describe('an existing server becomes node 1 of a cluster', () => {
  let home = '';
  let server: PlainServer;
  let cluster: TestCluster | null = null;

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'phx-e2e-adopt-'));
    server = await PlainServer.make(home);
  });
  afterAll(async () => {
    await server?.kill();
    await cluster?.destroy();
    rmSync(home, { recursive: true, force: true });
  });

  const equal = () =>
    eventually('equal checksums', 60_000, async () => new Set(await cluster!.checksums('shop')).size === 1);

  const adopt = async (): Promise<string> => {
    const offset = TestCluster.nextOffset();
    const dir = join(home, 'cluster');
    const args = ['init', '--adopt', '--datadir', server.datadir, '--dir', dir, '--port-offset', String(offset)];
    const { stderr } = await run(process.execPath, [BIN, ...args], { timeout: 200_000 });
    cluster = TestCluster.at(dir, offset);
    return stderr;
  };
  /** What it says; nothing is left behind, and the server is as it was. */
  const refused = async (): Promise<string> => {
    const before = readdirSync(server.datadir).filter((name) => /binlog|auto\.cnf/.test(name));
    const { code, stderr } = await adopt().then(
      (said) => ({ code: 0, stderr: said }),
      (error: { code: number; stderr: string }) => error,
    );
    expect(code, stderr).toBe(1);
    expect(existsSync(join(home, 'cluster'))).toBe(false);
    expect(readdirSync(server.datadir).filter((name) => /binlog|auto\.cnf|phxsql/.test(name))).toEqual(before);
    return stderr;
  };

  test('refused, with what to do: it runs; it was not stopped in order', async () => {
    await server.start(GTIDS);
    await server.query('CREATE DATABASE shop', 'CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM');
    expect(await refused()).toMatch(/its server runs \(process \d+\)[\s\S]*hint: stop it in order first/);
    await server.kill();
    expect(await refused()).toMatch(/it was not stopped in order[\s\S]*hint: start it with its own configuration/);
  });

  test('refused, with what to do: a table that is not InnoDB', async () => {
    await server.start(GTIDS);
    await server.stop();
    expect(await refused()).toMatch(/not InnoDB: shop\.old \(MyISAM\)[\s\S]*hint: ALTER TABLE/);
  });

  test('refused, with what to do: gtid_mode OFF', async () => {
    await server.start(['--gtid-mode=OFF_PERMISSIVE', '--enforce-gtid-consistency=ON']);
    await server.query('ALTER TABLE shop.old ENGINE=InnoDB');
    await server.stop();
    expect(await refused()).toMatch(/a transaction without GTID[\s\S]*hint: turn GTIDs on/);
  });

  test(`with ${ROWS} rows it is adopted: they are there, its accounts work, none can go around the log`, async () => {
    await server.start(GTIDS);
    await server.query(
      'USE shop',
      'SET SESSION cte_max_recursion_depth = 100000',
      'CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(64))',
      `INSERT INTO shop.t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROWS})
         SELECT i, SHA2(i, 224) FROM n`,
      "CREATE USER root@'%' IDENTIFIED BY 'test root password'",
      "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
    );
    const [own] = await server.query<{ gtids: string; uuid: string }>(
      'SELECT @@gtid_executed AS gtids, @@server_uuid AS uuid',
    );
    await server.stop();
    const said = await adopt();
    expect(said).toMatch(/takes from 'root'@'%' what would go around the log: .*SUPER/);
    expect(existsSync(server.datadir)).toBe(false);
    expect(readdirSync(join(home, 'cluster', 'node-1', 'adopted-binlogs'))).toContain('binlog.index');

    await cluster!.resume();
    const { nodes, master, gtid } = await cluster!.converged();
    expect({ master, nodes: nodes.length }).toEqual({ master: 1, nodes: 1 });
    // Its own history and more: the marker, which no other server has.
    const start = own!.gtids.replaceAll('\n', '');
    expect(gtid).not.toBe(start);
    expect(gtid.startsWith(start.split(':')[0]!)).toBe(true);
    const [row] = await cluster!.sql(nodes[0]!.rw, 'SELECT COUNT(*) AS n, @@server_uuid AS uuid FROM shop.t');
    expect(row).toEqual({ n: ROWS, uuid: own!.uuid });
    await cluster!.sql(nodes[0]!.rw, 'INSERT INTO shop.t VALUES (0, ?)', ['by a client of the cluster']);
    for (const statement of ['SET SESSION sql_log_bin=0', 'SHUTDOWN', "UPDATE mysql.user SET Host='x'"]) {
      await expect(cluster!.sql(nodes[0]!.rw, statement), statement).rejects.toThrow(/denied/i);
    }
  });

  test.runIf(FULL)('two nodes join: they take its data by themselves and are equal', async () => {
    for (const id of [2, 3]) {
      await cluster!.cli(['member', 'add', '--timeout', '150']);
      await cluster!.converged();
      const [row] = await eventually(`the rows of node ${id}`, 60_000, () =>
        cluster!.adminQuery<{ n: number }>(id, 'SELECT COUNT(*) AS n FROM shop.t'),
      );
      expect(row?.n).toBe(ROWS + 1);
    }
    await equal();
    // And it survives the adopted server.
    await cluster!.killNode(1);
    const master = await cluster!.master(60_000);
    await cluster!.sql(master.rw, 'INSERT INTO shop.t VALUES (-1, ?)', ['after it']);
    await cluster!.converged();
    await equal();
  });
});
