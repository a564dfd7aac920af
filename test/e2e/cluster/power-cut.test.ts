import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Bank } from '../../support/bank.ts';
import { TestCluster } from '../../support/cluster.ts';
import { cutAllPower, cutPowerOfNode } from '../../support/power-cut/cluster-power.ts';
import { type CutReport, PowerCutDisk, powerCutUnavailable } from '../../support/power-cut/disk.ts';
import type { Mercy } from '../../support/power-cut/losses.ts';
import { RunLog } from '../../support/run-log.ts';
import { FULL } from '../../support/tier.ts';

const CUTS_OF_ONE = Number(process.env['PHXSQL_POWER_CUTS'] ?? 10);
const CUTS_OF_ALL = CUTS_OF_ONE;
const SEED = Number(process.env['PHXSQL_POWER_SEED'] ?? Date.now() % 1_000_000);
const SERVED_MS_MAX = 60_000;
const HEALTHY_MS_MAX = 120_000;
/** Native AIO passes the calls that are written down by. */
const CONFIG = '[mysqld]\ninnodb_use_native_aio = false';

if (powerCutUnavailable !== null) console.log(`power cuts are not tested: ${powerCutUnavailable}`);

/**
 * OS crashes: mysqld and the store on disks that keep what was synced and, every other time, pages of the rest by chance
 * (test/support/power-cut). Slaves run with what the agent sets there: no binlog of their own, redo log flushed once a second.
 */
describe.runIf(FULL && powerCutUnavailable === null)('power cuts under a bank-transfer load', () => {
  const log = new RunLog('power cuts', SEED);
  const taken = { lost: 0, torn: 0, names: 0 };
  let disk: PowerCutDisk;
  let cluster: TestCluster;
  let bank: Bank;
  const said = (): string[] => bank.errors.slice(-10).map((error) => `client: ${error}`);
  const mercyOf = (i: number): Mercy => (i % 4 < 2 ? 'none' : 'some');

  beforeAll(async () => {
    cluster = await TestCluster.start({
      config: CONFIG,
      env: (dir) => {
        disk = new PowerCutDisk(dir);
        return disk.env;
      },
    });
    bank = await Bank.open(cluster, 2, SEED);
    await bank.serves(performance.now(), 'each', SERVED_MS_MAX);
  });
  afterAll(async () => {
    await bank?.stop();
    await cluster?.destroy();
    disk?.[Symbol.dispose]();
  });

  const note = (report: CutReport): void => {
    taken.lost += report.lost;
    taken.torn += report.torn;
    taken.names += report.names;
    const { changes, lost, torn, names, files } = report;
    log.note(`of ${changes} changes ${lost} lost, ${torn} torn, ${names} names; ${files.join(' ').slice(0, 300)}`);
  };
  const allWell = async (): Promise<void> => {
    const { master, nodes } = await cluster.healthy(HEALTHY_MS_MAX);
    await bank.serves(performance.now(), 'each', SERVED_MS_MAX);
    for (const { id } of nodes) await bank.heldBy(id, SERVED_MS_MAX);
    expect(bank.faults).toEqual([]);
    log.note(`well: master ${master}, ${bank.book.acknowledged} transfers acknowledged`);
  };

  test('slaves run without a binlog of what they replicate and without a flush per commit', async () => {
    for (const { id } of await cluster.slaves()) {
      const [row] = await cluster.adminQuery(
        id,
        'SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS flush, @@GLOBAL.log_replica_updates AS logged',
      );
      expect(row).toEqual({ flush: 2, logged: 0 });
    }
  });

  for (let i = 1; i <= CUTS_OF_ONE; i += 1) {
    const role = i % 2 === 1 ? 'master' : 'slave';
    test(`power cut of the ${role}'s machine (${i} of ${CUTS_OF_ONE})`, async () => {
      const work = async (): Promise<void> => {
        const status = await cluster.healthy(HEALTHY_MS_MAX);
        const node = status.nodes.find(({ state }) => state === role)?.id as number;
        const at = performance.now();
        log.note(`power of node ${node}, disk keeps of the unsynced: ${mercyOf(i)}`);
        note(await cutPowerOfNode(cluster, disk, node, { mercy: mercyOf(i), seed: SEED + i }));
        await bank.serves(at, 'any', SERVED_MS_MAX);
        await allWell();
      };
      await log.step(`cut ${i}, ${role}`, work, said);
    });
  }

  for (let i = 1; i <= CUTS_OF_ALL; i += 1) {
    test(`power cut of all machines at once (${i} of ${CUTS_OF_ALL})`, async () => {
      const work = async (): Promise<void> => {
        for (const report of await cutAllPower(cluster, disk, { mercy: mercyOf(i), seed: SEED + 100 + i }))
          note(report);
        await cluster.resume();
        await allWell();
      };
      await log.step(`cut ${i} of all`, work, said);
    });
  }

  test('nothing acknowledged is lost, all nodes are equal, and the disks did lose something', async () => {
    await bank.stop();
    await log.step('the end', async () => {
      const { nodes } = await cluster.converged(HEALTHY_MS_MAX);
      expect(bank.faults).toEqual([]);
      for (const { id } of nodes) expect(await bank.check(id), `node ${id}`).toEqual([]);
      expect(new Set(nodes.map(({ gtidExecuted }) => gtidExecuted)).size).toBe(1);
      expect(new Set(await cluster.checksums('bank')).size).toBe(1);
    });
    console.log(
      `power cuts: ${CUTS_OF_ONE} of one node, ${CUTS_OF_ALL} of all; seed ${SEED}; ${taken.lost} changes lost, ${taken.torn} torn, ${taken.names} names; ${bank.book.acknowledged} transfers acknowledged`,
    );
    expect(taken.lost).toBeGreaterThan(CUTS_OF_ONE + CUTS_OF_ALL);
  });
});
