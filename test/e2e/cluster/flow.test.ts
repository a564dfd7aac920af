import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Status, TestCluster } from '../../support/cluster.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';

const ROWS = 500_000;

describe.runIf(FULL)('bounded time until another node is master', { timeout: 900_000 }, () => {
  let cluster: TestCluster;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    const { nodes } = await cluster.converged();
    await cluster.sql(nodes[0]!.rw, 'CREATE DATABASE flow');
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const slavesOf = ({ nodes, master }: Status) => nodes.filter(({ id }) => id !== master);
  /** Once `holds` does; it is told what status says. */
  const flowThat = (what: string, timeoutMs: number, holds: (flow: NonNullable<Status['flow']>) => boolean) =>
    eventually(what, timeoutMs, async () => {
      const { flow } = await cluster.status();
      if (flow !== null && holds(flow)) return flow;
      throw new Error(JSON.stringify(flow));
    });

  test('status says who could take over, and how soon', async () => {
    await cluster.healthy();
    const flow = await flowThat('a prediction', 20_000, ({ predictedFailoverMs }) => predictedFailoverMs !== null);
    expect(flow).toMatchObject({ delayMs: 0, candidate: expect.any(Number) });
    expect(flow.predictedFailoverMs).toBeGreaterThan(3_000);
    expect(flow.predictedFailoverMs).toBeLessThan(8_000);
  });

  test('commits are delayed while no candidate keeps up, within the bound, and not any more when one does', async () => {
    const before = await cluster.healthy();
    const writers = await Writers.start(cluster, 4, [before.nodes[0]!.rw], 'flow.rows');
    // As the agent itself: those sessions are not killed.
    const locks = await Promise.all(slavesOf(before).map(({ id }) => cluster.admin(id)));
    try {
      await writers.firstAckAfter(Date.now(), 10_000);
      for (const lock of locks) await lock.query('LOCK TABLES flow.rows READ');
      const flow = await flowThat('the longest delay', 30_000, ({ delayMs }) => delayMs === 500);
      expect(flow.candidateLagMs).toBeGreaterThan(1_000);
      const since = writers.ackTimes.length;
      await writers.firstAckAfter(Date.now() + 5_000, 15_000);
      // Two groups of commits may take turns, each let through twice a second.
      const rate = (writers.ackTimes.length - since) / 5;
      expect(rate).toBeGreaterThan(1);
      expect(rate).toBeLessThan(40);
      for (const lock of locks) await lock.query('UNLOCK TABLES');
      await flowThat('no delay', 30_000, ({ delayMs }) => delayMs === 0);
    } finally {
      for (const lock of locks) lock.destroy();
      await writers.stop();
    }
    expect(writers.errors).toEqual([]);
    const after = await cluster.converged();
    expect(after.epoch).toBe(before.epoch);
    expect(new Set(await cluster.checksums('flow')).size).toBe(1);
  });

  test.each([
    ['LOCK TABLES', 'LOCK TABLES flow.rows READ', 'INSERT INTO flow.rows VALUES (?, 1, NULL)'],
    ['FLUSH TABLES WITH READ LOCK', 'FLUSH TABLES WITH READ LOCK', 'INSERT INTO flow.rows VALUES (?, 2, NULL)'],
    ['a read before a DDL', 'BEGIN; SELECT * FROM flow.rows LIMIT 1', 'ALTER TABLE flow.rows COMMENT = ?'],
    ['locked rows', 'BEGIN; SELECT * FROM flow.rows FOR SHARE', 'UPDATE flow.rows SET pad = ? LIMIT 5'],
  ])('a session of a client on a slave that keeps its applier waiting is killed: %s', async (name, holds, change) => {
    const status = await cluster.converged();
    const [slave] = slavesOf(status);
    const reader = await cluster.connect(slave!.mysql);
    const killed = new Promise((resolve) => reader.on('error', resolve));
    await reader.query(holds);
    const master = await cluster.master();
    await cluster.sql(master.rw, change, [String(9_000 + name.length)]);
    await killed;
    reader.destroy();
    await cluster.converged();
    const log = readFileSync(join(cluster.nodeDir(slave!.id), 'log', 'agent.log'), 'utf8');
    const line = log.split('\n').findLast((each) => each.includes('keeps the applier waiting'));
    expect(line).toContain('"user":"root"');
    expect(line).toContain(holds.split('; ').at(-1)!.slice(0, 20));
  });

  test('after a DELETE of 500,000 rows without a primary key service is back within the predicted time', async () => {
    const before = await cluster.converged();
    const at = before.nodes.find(({ id }) => id === before.master)!.rw;
    await cluster.sql(
      at,
      `CREATE TABLE flow.keyless (a INT, b VARCHAR(20)); SET cte_max_recursion_depth = ${ROWS};
       INSERT INTO flow.keyless WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < ${ROWS})
       SELECT n, CONCAT('row ', n) FROM s`,
    );
    await eventually('the warning', 90_000, async () => {
      const { warnings } = await cluster.status();
      return warnings.some((each) => each.includes('flow.keyless'));
    });
    await cluster.converged(180_000);
    const deleteBegan = Date.now();
    await cluster.sql(at, 'DELETE FROM flow.keyless');
    const deleted = Date.now();
    const { predictedFailoverMs, ...flow } = await flowThat(
      'a prediction',
      60_000,
      (each) => each.predictedFailoverMs !== null,
    );
    const saidAt = Date.now();
    await cluster.killNode(before.master as number);
    const [other] = slavesOf(before);
    await eventually('writes go on', 300_000, async () => {
      await cluster.sql(other!.rw, 'CREATE TABLE IF NOT EXISTS flow.after (id INT PRIMARY KEY)');
      return true;
    });
    const tookMs = Date.now() - saidAt;
    console.log(
      `DELETE took ${deleted - deleteBegan} ms; predicted ${predictedFailoverMs} ms (${JSON.stringify(flow)}, said after ${saidAt - deleted} ms), took ${tookMs} ms`,
    );
    expect(tookMs).toBeLessThanOrEqual(predictedFailoverMs as number);
    await cluster.converged(300_000); // the other slaves look for each of those rows too
    expect(new Set(await cluster.checksums('flow')).size).toBe(1);
  });
});
