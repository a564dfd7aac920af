import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SwitchoverResult } from '../../../cli/commands/switchover.ts';
import { TestCluster } from '../../support/cluster.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { longestGap, Writers } from '../../support/writers.ts';

describe('a planned switchover under a 4-thread insert load', () => {
  let cluster: TestCluster;
  let writers: Writers;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    const { nodes } = await cluster.converged();
    writers = await Writers.start(
      cluster,
      4,
      nodes.map((node) => node.rw),
    );
  });
  afterAll(async () => {
    await writers?.stop();
    await cluster?.destroy();
  });

  const switchover = async (...args: string[]): Promise<SwitchoverResult> =>
    JSON.parse(
      await cluster
        .cli(['switchover', ...args, '--json'], 60_000)
        .catch((error: { stdout?: string }) => error.stdout ?? Promise.reject(error)),
    ) as SwitchoverResult;

  test('loses nothing, and the old master follows with the same mysqld', async () => {
    const before = await cluster.healthy();
    const began = Date.now();
    const result = await switchover();
    expect(result).toMatchObject({ result: 'done', from: before.master, epoch: before.epoch + 1 });
    await writers.firstAckAfter(Date.now(), 10_000);
    const gapMs = longestGap(writers.ackTimes.filter((at) => at >= began - 500));
    const after = await cluster.healthy();
    expect(after).toMatchObject({ master: result.to, epoch: before.epoch + 1 });
    for (const { id, pids } of before.nodes) {
      expect(after.nodes.find((node) => node.id === id)?.pids.mysqld).toBe(pids.mysqld);
      const { lost, invented } = await writers.check(id);
      expect(invented).toEqual([]);
      if (id === after.master) expect(lost).toEqual([]);
    }
    expect(result.timeline).toMatchObject({ kind: 'switchover', from: result.from, to: result.to });
    console.log(
      `write gap ${gapMs} ms`,
      JSON.stringify(result.timeline?.accounts.map(({ side, ms }) => ({ side, ms }))),
    );
    const shown = JSON.parse(await cluster.cli(['status', '--last-failover', '--json', '--timeout', '10']));
    expect(shown).toMatchObject({ epoch: after.epoch, from: result.from, to: result.to });
  });

  test.runIf(FULL)('to a named node; the sessions that are cut hear nothing but a lost connection', async () => {
    const before = await cluster.healthy();
    const to = before.nodes.find(({ id }) => id !== before.master)!.id;
    const seen = writers.errors.length;
    expect(await switchover(String(to))).toMatchObject({ result: 'done', to });
    await writers.firstAckAfter(Date.now(), 10_000);
    expect(writers.errors.slice(seen).filter((error) => !LOST.test(error))).toEqual([]);
  });

  test('is refused to the master itself', async () => {
    const before = await cluster.healthy();
    const result = await switchover(String(before.master));
    expect(result.result).toBe('refused');
    expect(result.reason).toMatch(/master already/);
  });

  test.runIf(FULL)('is refused while the successor lags: nothing is closed', async () => {
    const before = await cluster.healthy();
    const slave = before.nodes.find(({ id }) => id !== before.master)!.id;
    const seen = writers.errors.length;
    const holder = await cluster.admin(slave);
    await holder.query('LOCK TABLES kills.acked READ'); // its applier waits
    const result = await switchover(String(slave), '--timeout', '3');
    holder.destroy();
    expect(result.result).toBe('refused');
    expect(result.reason).toMatch(/nothing was done: node \d .*ms behind, at most 250/);
    expect((await cluster.status()).epoch).toBe(before.epoch);
    expect(writers.errors.slice(seen)).toEqual([]);
  });

  test('is undone when a statement holds up super_read_only, and the master goes on', async () => {
    const before = await cluster.healthy();
    const master = before.master as number;
    await cluster.sql(before.nodes[0]!.rw, 'CREATE TABLE IF NOT EXISTS kills.slow (v INT)');
    // As the agent's account: spared when sessions are killed.
    const [holder, admin] = [await cluster.admin(master), await cluster.admin(master)];
    await admin.query("DO GET_LOCK('let it end', 0)");
    const held = holder.query("INSERT INTO kills.slow SELECT GET_LOCK('let it end', 60)");
    await eventually('it runs', 10_000, async () => {
      const [rows] = await admin.query(
        "SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_INFO LIKE 'INSERT INTO kills.slow%'",
      );
      return (rows as unknown[]).length > 0;
    });
    const result = await switchover();
    expect(result).toMatchObject({ result: 'refused', to: master, epoch: before.epoch });
    expect(result.reason).toMatch(/undone, node \d goes on as master: .*[Ll]ock wait timeout/);
    await writers.firstAckAfter(Date.now(), 10_000);
    await admin.query("DO RELEASE_LOCK('let it end')");
    await held;
    for (const connection of [holder, admin]) connection.destroy();
    const after = await cluster.healthy();
    expect(after).toMatchObject({ master, epoch: before.epoch });
    expect(after.nodes.map(({ pids }) => pids.mysqld)).toEqual(before.nodes.map(({ pids }) => pids.mysqld));
  });

  test('nothing acknowledged is lost and all three are equal', async () => {
    await writers.stop();
    await cluster.converged();
    for (const { id } of (await cluster.status()).nodes)
      expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
    expect(new Set(await cluster.checksums('kills')).size).toBe(1);
  });
});

/** What a client hears whose session ends under it; never an error of mysqld that looks like an answer. */
const LOST = /closed|ECONNRESET|EPIPE|Server shutdown in progress|read-write session is over|no longer|lost/i;

test.runIf(FULL)('all nodes are restarted one after the other under load, the master after a switchover', async () => {
  await using cluster = await TestCluster.start();
  const before = await cluster.converged();
  const writers = await Writers.start(
    cluster,
    2,
    before.nodes.map((node) => node.rw),
  );
  await cluster.cli(['node', 'restart', '--all', '--timeout', '60'], 200_000);
  const after = await cluster.healthy();
  await writers.stop();
  for (const { id, pids } of before.nodes) {
    const now = after.nodes.find((node) => node.id === id)!.pids;
    expect(now.supervisor).not.toBe(pids.supervisor);
    expect(now.mysqld).not.toBe(pids.mysqld);
  }
  await cluster.converged();
  for (const { id } of after.nodes) expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
  console.log(`longest silence ${longestGap(writers.ackTimes)} ms, rows ${writers.acked.size}`);
});
