import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type HostPort, type NodeStatus, TestCluster } from '../../support/cluster.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

const APP = { user: 'app', password: 'app password' };

describe.runIf(FULL)('XA transactions that are prepared when the master changes', () => {
  let cluster: TestCluster;
  let ids = 0;
  // A cluster each: a mysqld that is killed after it executed XA transactions loses their GTIDs (docs/TESTING.md, still open).
  beforeEach(async () => {
    cluster = await TestCluster.start();
    const { rw } = await cluster.master();
    await cluster.sql(rw, 'CREATE DATABASE xa; CREATE TABLE xa.t (id INT PRIMARY KEY, v TEXT)');
    await cluster.sql(rw, "CREATE USER app@'%' IDENTIFIED BY 'app password'; GRANT SELECT, INSERT ON xa.* TO app@'%'");
    await cluster.converged();
  });
  afterEach(async () => {
    await cluster?.destroy();
  });

  /** Prepared and acknowledged on the master; on every node by then. Answers with its xid and the row it adds. */
  async function prepare(
    options: Readonly<{ compressed?: boolean }> = {},
  ): Promise<Readonly<{ xid: string; id: number }>> {
    ids += 1;
    const xid = `'trx ${ids}','branch',7`;
    const { rw, id: master } = await cluster.master();
    // A client may not say it for itself.
    await cluster.adminQuery(
      master,
      `SET GLOBAL binlog_transaction_compression = ${options.compressed ? 'ON' : 'OFF'}`,
    );
    const client = await cluster.connect(rw);
    try {
      await client.query(`XA START ${xid}`);
      await client.query("INSERT INTO xa.t VALUES (?, REPEAT('prepared ', 100))", [ids]);
      await client.query(`XA END ${xid}`);
      await client.query(`XA PREPARE ${xid}`);
    } finally {
      client.destroy();
    }
    await cluster.converged(120_000);
    return { xid, id: ids };
  }

  const preparedOn = async (node: number): Promise<number> => (await cluster.adminQuery(node, 'XA RECOVER')).length;
  const log = (node: number): string => readFileSync(join(cluster.nodeDir(node), 'log', 'agent.log'), 'utf8');

  /** Through the RW port of a node that is not the master. */
  async function resolve(how: 'COMMIT' | 'ROLLBACK', xid: string): Promise<void> {
    const [other] = await cluster.slaves();
    await cluster.sql((other as { rw: HostPort }).rw, `XA ${how} ${xid}`);
  }

  /** All nodes have it or none has, with equal GTIDs, and nothing stays prepared. */
  const expectOnAll = (id: number, there: boolean, timeoutMs = 120_000): Promise<boolean> =>
    eventually('all nodes are equal', timeoutMs, async () => {
      const { nodes } = await cluster.converged(timeoutMs);
      for (const node of nodes) {
        expect(await preparedOn(node.id), `prepared on node ${node.id}`).toBe(0);
        expect(await cluster.adminQuery(node.id, `SELECT COUNT(*) AS n FROM xa.t WHERE id = ${id}`)).toEqual([
          { n: there ? 1 : 0 },
        ]);
      }
      expect(new Set(await cluster.checksums('xa')).size).toBe(1);
      return true;
    });
  /** Nodes that had to take new data. */
  const setAside = (): readonly string[] =>
    [1, 2, 3].flatMap((id) => readdirSync(cluster.nodeDir(id)).filter((name) => name.startsWith('mysql.set-aside-')));

  async function newMaster(epoch: number): Promise<number> {
    return eventually('a new master', 40_000, async () => {
      const status = await cluster.status();
      if (status.epoch > epoch && status.master !== null) return status.master;
      throw new Error(status.nodes.map((node) => `${node.id} ${node.state} ${node.reason}`).join('; '));
    });
  }

  const failovers = [
    ["the master's mysqld", 'COMMIT', false],
    ["every process of the master's node", 'COMMIT', true],
    ["the master's mysqld", 'ROLLBACK', true],
    ["every process of the master's node", 'ROLLBACK', false],
  ] as const;
  test.each(failovers)('kill -9 of %s, then XA %s (compressed: %s)', async (what, how, compressed) => {
    const { xid, id } = await prepare({ compressed });
    const before = await cluster.status();
    const master = before.master as number;
    expect(await preparedOn(master)).toBe(1);
    const said = [1, 2, 3].map((node) => log(node).length);
    await (what === "the master's mysqld" ? cluster.killMysqld(master) : cluster.killNode(master));
    const next = await newMaster(before.epoch);
    expect(log(next).slice(said[next - 1])).toMatch(
      /XA transactions are prepared .*log_replica_updates=ON before it stands/,
    );
    // Who restarted for it and was not elected does so once more.
    await eventually('it is prepared on every node', 120_000, async () => {
      await cluster.converged(120_000);
      for (const { id: node } of before.nodes) expect(await preparedOn(node), `prepared on node ${node}`).toBe(1);
      return true;
    });
    await resolve(how, xid);
    await expectOnAll(id, how === 'COMMIT');
    expect(setAside()).toEqual([]);
  });

  test('a switchover: the successor restarts before the master is closed', async () => {
    const { xid, id } = await prepare();
    const [slave] = await cluster.slaves();
    const to = (slave as { id: number }).id;
    await cluster.cli(['switchover', String(to), '--timeout', '60']);
    expect((await cluster.master()).id).toBe(to);
    expect(log(to)).toMatch(/log_replica_updates=ON before it takes over/);
    await resolve('COMMIT', xid);
    await expectOnAll(id, true);
    expect(setAside()).toEqual([]);
  });

  test('without one that is prepared nobody restarts: the next master runs as it ran', async () => {
    const before = await cluster.converged();
    const master = before.master as number;
    await cluster.killMysqld(master);
    const next = await newMaster(before.epoch);
    const was = before.nodes.find(({ id }) => id === next);
    expect((await cluster.node(next)).pids.mysqld === was?.pids.mysqld || next === master).toBe(true);
    await cluster.converged();
  });

  test('one that wrote nothing and is prepared on a slave is in no log: a restart rolls it back', async () => {
    const [slave] = await cluster.slaves();
    const { ro, id, pids } = slave as NodeStatus;
    const app = await cluster.connect(ro, undefined, APP);
    for (const statement of ["XA START 'read'", 'SELECT COUNT(*) FROM xa.t', "XA END 'read'", "XA PREPARE 'read'"]) {
      await app.query(statement);
    }
    app.destroy();
    await eventually('another mysqld', 60_000, async () => {
      const now = (await cluster.node(id)).pids.mysqld;
      return now !== null && now !== pids.mysqld;
    });
    await cluster.healthy();
    expect(await preparedOn(id)).toBe(0);
    expect(setAside()).toEqual([]);
  });

  test.todo('and that slave comes back with new data (docs/TESTING.md, still open: the copy lacks GTIDs)');
  test('XA COMMIT by a user on a slave is noticed, and its data set aside', async () => {
    const { xid } = await prepare();
    const [slave] = await cluster.slaves();
    const { ro, id: node } = slave as NodeStatus;
    const app = await cluster.connect(ro, undefined, APP);
    const port = (await cluster.node(node)).mysql.port;
    const [rows] = await app.query('SELECT @@port AS port');
    expect(rows).toEqual([{ port }]);
    await app.query(`XA COMMIT ${xid}`);
    app.destroy();
    await eventually('it is noticed', 60_000, async () => {
      const said = (await cluster.node(node)).reason;
      if (/resolved here alone|clones|re-provision/.test(said)) return true;
      throw new Error(said);
    });
    await eventually('its data was set aside', 120_000, () =>
      readdirSync(cluster.nodeDir(node)).some((name) => name.startsWith('mysql.set-aside-')),
    );
    const aside = readdirSync(cluster.nodeDir(node)).find((name) => name.startsWith('mysql.set-aside-')) as string;
    expect(existsSync(join(cluster.nodeDir(node), aside, 'REASON'))).toBe(true);
  });
});
