import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { BIN, kill, type NodeStatus, TestCluster } from '../../support/cluster.ts';
import { PlainServer } from '../../support/plain-server.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

/** Longer than the lease and the takeover together. */
const NOBODY_TAKES_OVER_MS = 6000;

/** Those of protocol-findings that no other test runs against real servers. */
describe.runIf(FULL)('what went wrong in drafts of the protocol', () => {
  let cluster: TestCluster;
  let row = 0;
  beforeAll(async () => {
    cluster = await TestCluster.start();
    const { rw } = await cluster.master();
    await cluster.sql(
      rw,
      `CREATE DATABASE f; CREATE TABLE f.t (id INT PRIMARY KEY, v VARCHAR(20));
       CREATE USER app@'%' IDENTIFIED BY 'app'; GRANT SELECT, INSERT ON f.* TO app@'%'`,
    );
    await cluster.converged();
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const masterAndSlave = async (): Promise<[NodeStatus, NodeStatus]> => {
    const { nodes, master } = await cluster.converged();
    return [nodes.find(({ id }) => id === master) as NodeStatus, nodes.find(({ id }) => id !== master) as NodeStatus];
  };
  const write = async (): Promise<number> => {
    const { rw } = await cluster.master();
    row += 1;
    await cluster.sql(rw, 'INSERT INTO f.t VALUES (?, ?)', [row, 'by the log']);
    return row;
  };
  const equal = async (): Promise<void> => {
    await cluster.converged(120_000);
    expect(new Set(await cluster.checksums('f')).size).toBe(1);
  };
  const reprovisioned = (id: number, words: RegExp): Promise<true> =>
    eventually(`node ${id} re-provisioned because of ${words}`, 90_000, async () => {
      const log = readFileSync(join(cluster.nodeDir(id), 'log', 'agent.log'), 'utf8').split('\n');
      if (log.some((line) => line.includes('"msg":"re-provisioned"') && words.test(line))) return true;
      const { state, reason } = await cluster.node(id);
      throw new Error(`${state}: ${reason}`);
    });

  test('20: a slave attaches again soon after its binlogsvr died', async () => {
    const [, slave] = await masterAndSlave();
    kill(slave.pids.binlogsvr);
    const id = await write();
    await eventually('the row is there', 8000, async () => {
      const rows = await cluster.adminQuery(slave.id, `SELECT 1 FROM f.t WHERE id = ${id}`);
      return rows.length === 1;
    });
    expect((await cluster.node(slave.id)).pids.mysqld).toBe(slave.pids.mysqld);
  });

  test('24: an application user makes a histogram on a slave: it stays electable', async () => {
    const before = await cluster.converged();
    const [, slave] = await masterAndSlave();
    const app = await createConnection({ ...slave.mysql, user: 'app', password: 'app' });
    app.on('error', () => {});
    app.query('ANALYZE TABLE f.t UPDATE HISTOGRAM ON v WITH 4 BUCKETS').catch(() => {});
    await eventually('the slave was restarted', 30_000, async () => {
      const now = await cluster.node(slave.id);
      return now.pids.mysqld !== slave.pids.mysqld && now.state === 'slave';
    });
    app.destroy();
    await equal();
    expect((await cluster.status()).epoch).toBe(before.epoch);
  });

  test('27: FLUSH TABLES WITH READ LOCK on the master holds writes up, and nobody takes over', async () => {
    const before = await cluster.converged();
    const [master] = await masterAndSlave();
    const backup = await cluster.admin(master.id);
    await backup.query('FLUSH TABLES WITH READ LOCK');
    const written = write();
    for (const end = Date.now() + NOBODY_TAKES_OVER_MS; Date.now() < end; ) {
      expect(await cluster.status()).toMatchObject({ epoch: before.epoch, master: master.id });
    }
    await backup.query('UNLOCK TABLES');
    await written;
    backup.destroy();
    await equal();
    expect(await cluster.status()).toMatchObject({ epoch: before.epoch, master: master.id });
  });

  test('4: nobody ends the wait for acks by a statement: RESTART and UNINSTALL PLUGIN are refused', async () => {
    const [master] = await masterAndSlave();
    for (const statement of ['RESTART', 'UNINSTALL PLUGIN rpl_semi_sync_source']) {
      await expect(cluster.adminQuery(master.id, statement), statement).rejects.toThrow();
    }
    await write();
    expect((await cluster.node(master.id)).pids.mysqld).toBe(master.pids.mysqld);
  });

  test('PURGE BINARY LOGS on the master, then its death: it follows with what is left', async () => {
    const before = await cluster.converged();
    const [master] = await masterAndSlave();
    await cluster.adminQuery(master.id, 'FLUSH BINARY LOGS');
    await write();
    await cluster.adminQuery(master.id, 'FLUSH BINARY LOGS');
    const [first] = await cluster.adminQuery<{ File: string }>(master.id, 'SHOW BINARY LOG STATUS');
    await cluster.adminQuery(master.id, `PURGE BINARY LOGS TO '${first?.File}'`);
    await cluster.killMysqld(master.id);
    await eventually('failover', 20_000, async () => (await cluster.status()).epoch > before.epoch);
    await write();
    await equal();
  });

  test('RESET BINARY LOGS AND GTIDS on the master: another takes over, its data is taken anew', async () => {
    const before = await cluster.converged();
    const [master] = await masterAndSlave();
    await cluster.adminQuery(master.id, 'RESET BINARY LOGS AND GTIDS');
    await eventually('failover', 20_000, async () => (await cluster.status()).epoch > before.epoch);
    await write();
    await reprovisioned(master.id, /./);
    await equal();
  });

  test('10: another transaction under a number of the log, committed by a clean SHUTDOWN', async () => {
    const [master, slave] = await masterAndSlave();
    const gtid = await nextOwn(master);
    const [writer, stopper] = [await cluster.admin(slave.id), await cluster.admin(slave.id)];
    for (const each of [writer, stopper]) each.on('error', () => {});
    kill(slave.pids.agent, 'SIGSTOP');
    try {
      await writer.query('STOP REPLICA; SET GLOBAL super_read_only = OFF');
      writer.query(`SET GTID_NEXT = '${gtid}'; INSERT INTO f.t VALUES (-1, 'not in the log')`).catch(() => {});
      await waitsForAck(stopper);
      await write();
      expect(GtidSet.parse((await cluster.status()).gtid).contains(gtid)).toBe(true);
      stopper.query('SHUTDOWN').catch(() => {});
      await eventually('mysqld ended', 20_000, () => !existsSync(`/proc/${slave.pids.mysqld}/cmdline`));
    } finally {
      kill(slave.pids.agent, 'SIGCONT');
      for (const each of [writer, stopper]) each.destroy();
    }
    await reprovisioned(slave.id, /with another content than the log/);
    await equal();
    expect(await cluster.adminQuery(slave.id, 'SELECT id FROM f.t WHERE id < 0')).toEqual([]);
  });

  test('a data directory from elsewhere in the place of its own: set aside, and taken anew', async () => {
    const home = mkdtempSync(join(tmpdir(), 'phx-e2e-foreign-'));
    const foreign = await PlainServer.make(home);
    onTestFinished(async () => {
      await foreign.kill();
      rmSync(home, { recursive: true, force: true });
    });
    await foreign.start(['--gtid-mode=ON', '--enforce-gtid-consistency=ON']);
    await foreign.query('CREATE DATABASE theirs', 'CREATE TABLE theirs.t (id INT PRIMARY KEY)');
    await foreign.stop();
    const [, slave] = await masterAndSlave();
    const manager = JSON.parse(readFileSync(join(cluster.dir, 'run', 'manager.json'), 'utf8')) as { pid: number };
    const data = join(cluster.nodeDir(slave.id), 'mysql');
    kill(manager.pid, 'SIGSTOP');
    try {
      await cluster.killNode(slave.id);
      await eventually('its mysqld is gone', 10_000, () => !existsSync(`/proc/${slave.pids.mysqld}/cmdline`));
      rmSync(data, { recursive: true });
      renameSync(foreign.datadir, data);
    } finally {
      kill(manager.pid, 'SIGCONT');
    }
    await reprovisioned(slave.id, /data directory of another cluster/);
    await equal();
    const aside = readdirSync(cluster.nodeDir(slave.id)).filter((name) => name.startsWith('mysql.set-aside-'));
    expect(aside.some((name) => existsSync(join(cluster.nodeDir(slave.id), name, 'theirs')))).toBe(true);
  });

  test('21: one node alone serves reads, and no writes', async () => {
    const rows = await write();
    const [, slave] = await masterAndSlave();
    await cluster.cli(['cluster', 'stop']);
    const alone = runNode(cluster, slave.id);
    try {
      await eventually('it serves reads', 40_000, async () => {
        const [read] = await cluster.sql<{ n: number }>(slave.ro, 'SELECT MAX(id) AS n FROM f.t');
        return read?.n === rows;
      });
      await expect(cluster.sql(slave.rw, 'INSERT INTO f.t VALUES (0, NULL)')).rejects.toThrow(/no master/i);
    } finally {
      await alone.stop();
    }
    await cluster.resume();
    await write();
    await equal();
  });

  /** The next number the server will give to a transaction of its own. */
  async function nextOwn(node: NodeStatus): Promise<string> {
    const [found] = await cluster.adminQuery<{ uuid: string; executed: string }>(
      node.id,
      'SELECT @@server_uuid AS uuid, @@global.gtid_executed AS executed',
    );
    const { uuid, executed } = found as { uuid: string; executed: string };
    return `${uuid}:${(GtidSet.parse(executed).intervalsOf(uuid).at(-1) ?? 0) + 1}`;
  }
});

async function waitsForAck(admin: Connection): Promise<void> {
  await eventually('it waits for its ack', 5000, async () => {
    const [rows] = await admin.query(
      "SELECT 1 FROM performance_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%' AND info LIKE '%INSERT%'",
    );
    return (rows as unknown[]).length > 0;
  });
}

/** One node as a host of its own runs it. */
function runNode(cluster: TestCluster, id: number): { stop(): Promise<void> } {
  const config = join(cluster.nodeDir(id), 'node.toml');
  const child: ChildProcess = spawn(process.execPath, [BIN, 'node', '--config', config], { stdio: 'ignore' });
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  return {
    async stop() {
      child.kill('SIGTERM');
      await eventually('the node ended', 40_000, () => ended);
    },
  };
}
