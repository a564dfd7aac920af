import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Connection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kill, TestCluster } from '../../support/cluster.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';

describe('losing more than one node may', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await TestCluster.start();
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  test('un-acknowledged commits of a killed master are gone after it rejoins, rows and DDL', async () => {
    const before = await cluster.converged();
    const master = before.nodes.find((node) => node.id === before.master)!;
    await cluster.sql(
      master.rw,
      'CREATE DATABASE ua; CREATE TABLE ua.t (id INT PRIMARY KEY); INSERT INTO ua.t VALUES (1)',
    );
    const a = await cluster.connect(master.rw, 'ua');
    const b = await cluster.connect(master.rw, 'ua');
    const admin = await cluster.admin(master.id);
    for (const each of [a, b, admin]) each.on('error', () => {});
    let acknowledged = 0;
    // With its binlogsvr (and so sync) frozen, nothing can be acknowledged any more.
    kill(master.pids.binlogsvr, 'SIGSTOP');
    try {
      a.query('INSERT INTO t VALUES (666)').then(
        () => (acknowledged += 1),
        () => {},
      );
      b.query('CREATE TABLE ghost (id INT PRIMARY KEY)').then(
        () => (acknowledged += 1),
        () => {},
      );
      await eventually('both wait in mysqld', 5000, async () => (await waitingCommits(admin)) >= 2);
      // Only when its epoch is over is it sure that what sync may still hold will never be taken.
      await eventually('failover', 20_000, async () => {
        const status = await cluster.status();
        return status.epoch > before.epoch && status.master !== null;
      });
      kill(master.pids.mysqld);
    } finally {
      kill(master.pids.binlogsvr, 'SIGCONT');
    }
    for (const each of [a, b, admin]) each.destroy();
    const after = await cluster.converged();
    expect(acknowledged).toBe(0);
    for (const node of after.nodes) {
      expect(await cluster.adminQuery(node.id, 'SELECT id FROM ua.t')).toEqual([{ id: 1 }]);
      const ghosts = await cluster.adminQuery(
        node.id,
        "SELECT 1 FROM information_schema.tables WHERE table_name='ghost'",
      );
      expect(ghosts).toEqual([]);
    }
    expect(new Set(after.nodes.map((node) => node.gtidExecuted)).size).toBe(1);
  });

  test('two of three nodes dead: no write is acknowledged; when one returns, service resumes', async () => {
    const before = await cluster.converged();
    const [first, second] = before.nodes.filter((node) => node.id !== before.master);
    const master = before.nodes.find((node) => node.id === before.master)!;
    const session = await cluster.connect(master.rw, 'ua');
    session.on('error', () => {});
    // Frozen rather than killed: nothing may restart them behind our back, and to the others they are dead.
    const frozen = [first!, second!].map((node) => [
      node.pids.supervisor,
      node.pids.binlogsvr,
      node.pids.agent,
      node.pids.mysqld,
    ]);
    for (const pid of frozen.flat()) kill(pid, 'SIGSTOP');
    try {
      let acknowledged = 0;
      session.query('INSERT INTO t VALUES (2)').then(
        () => (acknowledged += 1),
        () => {},
      );
      const late = cluster.sql(master.rw, 'INSERT INTO ua.t VALUES (3)').then(
        () => (acknowledged += 1),
        () => {},
      );
      // Longer than the lease and the takeover together.
      await eventually('no master in status', 15_000, async () => (await cluster.status()).master === null);
      await Promise.race([late, new Promise((resolve) => setTimeout(resolve, 9000))]);
      expect(acknowledged).toBe(0);
    } finally {
      for (const pid of frozen[0]!) kill(pid, 'SIGCONT');
    }
    await eventually('service resumes with two of three', 30_000, async () => {
      await cluster.sql(first!.rw, 'INSERT IGNORE INTO ua.t VALUES (4)');
      return true;
    });
    for (const pid of frozen[1]!) kill(pid, 'SIGCONT');
    session.destroy();
    await cluster.converged();
    expect(new Set(await cluster.checksums('ua')).size).toBe(1);
  });

  test('whole cluster kill -9 at once under load, then start: nothing acknowledged is lost, a master within 15 s', async () => {
    const { nodes } = await cluster.converged();
    const writers = await Writers.start(
      cluster,
      4,
      nodes.map((node) => node.rw),
      'crash.rows',
    );
    await writers.firstAckAfter(Date.now() + 1000, 15_000);
    await cluster.killAll();
    await writers.stop();
    const startedAt = Date.now();
    const resumed = cluster.resume();
    await eventually('a master', 15_000, async () => (await cluster.status()).master !== null);
    console.log(`master ${Date.now() - startedAt} ms after cluster start`);
    await resumed;
    await cluster.converged();
    for (const { id } of nodes) expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
    expect(new Set(await cluster.checksums('crash')).size).toBe(1);
  });

  test('a former master restored from an older state receives its own transactions again (protocol-findings 2)', async () => {
    const status = await cluster.converged();
    const old = status.nodes.find((node) => node.id === status.master)!;
    await cluster.cli(['cluster', 'stop']);
    const data = join(cluster.dir, `node-${old.id}`, 'mysql');
    cpSync(data, `${data}.older`, { recursive: true });
    await cluster.resume();
    // Make the same node master again, so that what it misses later are transactions of its own.
    await eventually('node is master again', 60_000, async () => {
      const now = await cluster.status();
      if (now.master === old.id) return true;
      if (now.master !== null && now.nodes.every((node) => node.state === 'master' || node.state === 'slave')) {
        await cluster.killMysqld(now.master);
      }
      return false;
    });
    const at = (await cluster.master()).rw;
    await cluster.sql(at, 'CREATE DATABASE own; CREATE TABLE own.t (id INT PRIMARY KEY)');
    for (let i = 0; i < 50; i += 1) await cluster.sql(at, 'INSERT INTO own.t VALUES (?)', [i]);
    await cluster.converged();
    await cluster.cli(['cluster', 'stop']);
    rmSync(data, { recursive: true });
    cpSync(`${data}.older`, data, { recursive: true });
    rmSync(`${data}.older`, { recursive: true });
    await cluster.resume();
    const after = await cluster.converged();
    for (const node of after.nodes) {
      expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM own.t')).toEqual([{ n: 50 }]);
    }
  });
});

/** Sessions inside a commit that waits for an ack, their own or their group leader's; asked over one open connection. */
async function waitingCommits(admin: Connection): Promise<number> {
  const [rows] = await admin.query(
    "SELECT state, info FROM performance_schema.processlist WHERE command = 'Query' AND info NOT LIKE '%processlist%'",
  );
  const busy = rows as { state: string; info: string }[];
  const waiting = busy.filter(({ state }) => /^waiting for (semi-sync ack|handler commit)/i.test(state));
  if (waiting.length < 2) throw new Error(JSON.stringify(busy));
  return waiting.length;
}
