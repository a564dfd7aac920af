import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../../base/prng.ts';
import { Bank } from '../../support/bank.ts';
import { kill, TestCluster } from '../../support/cluster.ts';
import { pickVictim, type Victim } from '../../support/kill-schedule.ts';
import { RunLog } from '../../support/run-log.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

const KILLS = Number(process.env['PHXSQL_KILLS'] ?? 100);
const SEED = Number(process.env['PHXSQL_KILL_SEED'] ?? Date.now() % 1_000_000);
/** So many kills may fall together with what the ones before left behind; then all three nodes have to be well again. */
const KILLS_IN_A_ROW = 5;
const SERVED_MS_MAX = 60_000;
const HEALTHY_MS_MAX = 120_000;

/**
 * Any process of any node dies, again and again, while a bank moves money; nobody helps. (Where a node's supervisor dies, all of
 * the node dies with it, and the cluster's manager starts it again, as an init system does: no process of the node is left
 * that could.) Takes some minutes: only in test:full.
 */
describe.runIf(FULL)('random kills under a bank-transfer load', () => {
  const log = new RunLog('random kills', SEED);
  const random = new Prng(SEED);
  const killed = new Map<string, number>();
  let cluster: TestCluster;
  let bank: Bank;
  const said = (): string[] => bank.errors.slice(-10).map((error) => `client: ${error}`);

  beforeAll(async () => {
    cluster = await TestCluster.start();
    bank = await Bank.open(cluster, 2, SEED);
    await bank.serves(performance.now(), 'each', SERVED_MS_MAX);
  });
  afterAll(async () => {
    await bank?.stop();
    await cluster?.destroy();
  });

  const killOne = async (): Promise<void> => {
    const victim = await eventually(
      'somebody to kill',
      SERVED_MS_MAX,
      async (): Promise<Victim | null> => pickVictim(await cluster.status(), random),
    );
    for (const pid of victim.pids) kill(pid);
    const at = performance.now();
    const what = `${victim.kind} of node ${victim.node}`;
    log.note(`killed ${what} (${victim.pids.join(' ')})`);
    killed.set(victim.kind, (killed.get(victim.kind) ?? 0) + 1);
    await bank.serves(at, 'any', SERVED_MS_MAX);
    expect(bank.faults, what).toEqual([]);
  };

  test(`${KILLS} kills, seed ${SEED}: service comes back after each, and all three nodes do`, async () => {
    for (let i = 1; i <= KILLS; i += 1) {
      await log.step(`kill ${i} of ${KILLS}`, killOne, said);
      if (i % KILLS_IN_A_ROW !== 0 && i !== KILLS) continue;
      await log.step(
        `all three well after kill ${i}`,
        async () => {
          const { master, epoch } = await cluster.healthy(HEALTHY_MS_MAX);
          await bank.serves(performance.now(), 'each', SERVED_MS_MAX);
          log.note(`well: master ${master}, epoch ${epoch}, ${bank.book.acknowledged} transfers acknowledged`);
        },
        said,
      );
    }
  });

  test('nothing acknowledged is lost, nothing is there that was not sent, the total is what it was, all nodes are equal', async () => {
    await bank.stop();
    await log.step('the end', async () => {
      const { nodes } = await cluster.converged(HEALTHY_MS_MAX);
      expect(nodes.map(({ state }) => state).sort()).toEqual(['master', 'slave', 'slave']);
      expect(bank.faults).toEqual([]);
      const executed = new Set<unknown>();
      for (const { id } of nodes) {
        expect(await bank.check(id), `node ${id}`).toEqual([]);
        const [row] = await cluster.adminQuery(id, 'SELECT @@GLOBAL.gtid_executed AS executed');
        executed.add(row?.['executed']);
      }
      expect(executed.size).toBe(1);
      expect(new Set(await cluster.checksums('bank')).size).toBe(1);
    });
    const kinds = [...killed].map(([kind, n]) => `${kind} ${n}`).join(', ');
    console.log(
      `kills: ${kinds}; seed ${SEED}; ${bank.book.acknowledged} transfers acknowledged, ${bank.reads} reads checked`,
    );
    expect(bank.book.acknowledged).toBeGreaterThan(KILLS);
    expect(bank.reads).toBeGreaterThan(KILLS);
  });
});
