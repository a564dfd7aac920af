import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster } from '../../support/cluster.ts';
import { count } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { longestGap, median, Writers } from '../../support/writers.ts';

const REPETITIONS = count(20, 2);
const MYSQLD_KILL_MS_MAX = 2000;
const NODE_KILL_MS_MAX = 5000;

describe('killing the master under a 4-thread insert load', () => {
  let cluster: TestCluster;
  let writers: Writers;
  const gaps: Record<'mysqld' | 'node', number[]> = { mysqld: [], node: [] };

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

  for (let i = 1; i <= REPETITIONS; i += 1) {
    const kind = i % 2 === 1 ? 'mysqld' : 'node';
    test(`kill -9 of ${kind === 'mysqld' ? "the master's mysqld" : "every process of the master's node"} (${i} of ${REPETITIONS})`, async () => {
      const before = await cluster.healthy();
      const victim = before.master as number;
      await writers.firstAckAfter(Date.now(), 10_000);
      const killedAt = Date.now();
      await (kind === 'mysqld' ? cluster.killMysqld(victim) : cluster.killNode(victim));
      await eventually('a new epoch', 20_000, async () => {
        const { epoch, master, nodes } = await cluster.status();
        if (epoch > before.epoch && master !== null) return true;
        throw new Error(`epoch ${epoch}: ${nodes.map((n) => `${n.id} ${n.state} ${n.reason}`).join('; ')}`);
      });
      // The first row acknowledged after the longest silence since the kill.
      await writers.firstAckAfter(Date.now(), 20_000);
      gaps[kind].push(longestGap(writers.ackTimes.filter((at) => at >= killedAt - 1000)));
      const after = await cluster.healthy();
      expect(after.nodes.find((node) => node.id === victim)?.state).toMatch(/slave|master/);
      for (const node of after.nodes) {
        // Rows go on arriving: compare only what was acknowledged before this look.
        const { lost, invented } = await writers.check(node.id);
        expect(invented).toEqual([]);
        if (node.id === after.master) expect(lost).toEqual([]);
      }
    });
  }

  test('nothing acknowledged is lost, all three are equal, and service was back in time', async () => {
    await writers.stop();
    await cluster.converged();
    for (const { id } of (await cluster.status()).nodes)
      expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
    expect(new Set(await cluster.checksums('kills')).size).toBe(1);
    console.log(
      `write gaps ms: mysqld ${gaps.mysqld.join(' ')}; node ${gaps.node.join(' ')}; rows acknowledged ${writers.acked.size}`,
    );
    expect(median(gaps.mysqld)).toBeLessThanOrEqual(MYSQLD_KILL_MS_MAX);
    expect(median(gaps.node)).toBeLessThanOrEqual(NODE_KILL_MS_MAX);
  });
});
