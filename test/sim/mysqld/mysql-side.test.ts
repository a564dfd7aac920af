import { describe, expect, it } from 'vitest';
import { type NodeId, nodeId } from '../../../base/brands.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import { LogChecker } from '../checkers/log.ts';
import { Kernel } from '../kernel.ts';
import { SimNetwork } from '../network.ts';
import { SimNode } from '../node.ts';
import { Machine, SimProcess } from '../process.ts';
import { Tally } from '../tally.ts';
import { MysqlSide } from './mysql-side.ts';

const NETWORK = { delayMs: [0.1, 0.5], lossChance: 0, duplicateChance: 0, lateChance: 0, lateMsMax: 0 } as const;
const DISK = { syncMs: [0.2, 1], slowChance: 0, slowMsMax: 0, failChance: 0 } as const;
const RPC = { delayMs: [0.1, 0.4], requestLost: 0, replyLost: 0 } as const;

type Full = Readonly<{ node: SimNode; side: MysqlSide }>;

/** Nodes with everything, and no faults but those a test makes. */
class Cluster {
  readonly kernel: Kernel;
  readonly nodes: readonly Full[];
  readonly client: SimProcess;
  readonly acked = new Map<string, string>();
  #writes = 0;

  constructor(size: number, seed: number) {
    const kernel = new Kernel(seed, { trace: true });
    const tally = new Tally();
    const ids: readonly NodeId[] = Array.from({ length: size }, (_, i) => nodeId(i + 1));
    const network = new SimNetwork(kernel, NETWORK, tally);
    const context = {
      kernel,
      network,
      tally,
      log: new LogChecker(),
      nodes: ids,
      lease: DEFAULT_LEASE,
      diskProfile: DISK,
    };
    this.kernel = kernel;
    this.client = new SimProcess(kernel, 'client', new Machine(kernel, 'client'));
    this.nodes = ids.map((id) => {
      const node = new SimNode(context, id);
      const random = kernel.fork();
      const side = new MysqlSide({ kernel, node, nodes: ids, random, lease: DEFAULT_LEASE, rpc: () => RPC, tally });
      return { node, side };
    });
    for (const { node } of this.nodes) node.power();
  }

  async until(what: string, holds: () => boolean, ms = 30_000): Promise<void> {
    const end = this.kernel.now + ms;
    while (!holds()) {
      if (this.kernel.now > end)
        throw new Error(`${what}: not within ${ms} ms\n${this.kernel.traceLines.slice(-60).join('\n')}`);
      await this.kernel.runUntil(this.kernel.now + 5);
    }
  }

  /** The one that says it serves writes. */
  get master(): Full | undefined {
    return this.nodes.find(({ node }) => node.server?.services.agentReport?.servingWrites === true);
  }

  async masterServes(): Promise<Full> {
    await this.until('a master serves writes', () => this.master !== undefined);
    return this.master as Full;
  }

  /** One transaction of its own key, tried on whoever is master until it is acknowledged. */
  async write(): Promise<void> {
    for (let acked = false; !acked; ) {
      this.#writes += 1;
      const [key, value] = [`k${this.#writes}`, String(this.#writes)];
      const { side } = await this.masterServes();
      let ended = false;
      const session = side.mysqld.connect(this.client);
      const write = session.then((open) => open.write({ [key]: value }).finally(() => open.close()));
      write.then(
        () => {
          acked = true;
        },
        () => {
          ended = true;
        },
      );
      await this.until('a write ends', () => acked || ended);
      if (acked) this.acked.set(key, value);
      else await this.kernel.runUntil(this.kernel.now + 50);
    }
  }

  /** Its MySQL executed what the log does not hold: it says so and serves nothing. */
  poisoned({ node, side }: Full): boolean {
    const report = node.server?.services.agentReport;
    const bad = report?.role === 'failed' && report.reason.includes('transactions that are not in the log');
    return bad && !report.servingReads && side.mysqld.listening?.offlineMode === true;
  }

  async allEqual(mayPoison: boolean): Promise<void> {
    await this.until('every MySQL holds what was acknowledged, and the same', () => {
      const sound = this.nodes.filter((full) => !(mayPoison && this.poisoned(full)));
      const sets = sound.map(({ side }) => side.mysqld.listening?.executed.toString());
      return sets.every((set) => set !== undefined && set === sets[0]);
    });
    const rows = new Set<string>();
    for (const { side } of this.nodes.filter((full) => !(mayPoison && this.poisoned(full)))) {
      rows.add(JSON.stringify([...side.mysqld.disk.engine.rows].sort()));
      for (const [key, value] of this.acked) expect(side.mysqld.disk.engine.rows.get(key)).toBe(value);
    }
    expect(rows.size).toBe(1);
  }
}

describe('production agent and sync over a scripted mysqld', () => {
  it('one node founds its cluster, is elected, opens, and its writes are acknowledged by the log', async () => {
    const cluster = new Cluster(1, 1);
    for (let n = 0; n < 10; n += 1) await cluster.write();
    const { node, side } = await cluster.masterServes();
    expect(node.server?.services.replica.state.gtidSet.toString()).toBe(side.mysqld.listening?.executed.toString());
    expect(side.mysqld.disk.engine.rows.get('mysql.user root@%')).toBe('N');
  });

  it('the same seed is the same run', async () => {
    const run = async (seed: number): Promise<string> => {
      const cluster = new Cluster(3, seed);
      for (let n = 0; n < 3; n += 1) await cluster.write();
      return cluster.kernel.digest;
    };
    expect(await run(5)).toBe(await run(5));
    expect(await run(6)).not.toBe(await run(5));
  });

  /** `mayPoison`: waiting commits are let through without the log (design 9.6, 9.7). */
  const FAULTS: readonly (readonly [what: string, mayPoison: boolean, strike: (full: Full) => void])[] = [
    ['mysqld is killed', false, ({ side }) => side.mysqld.kill()],
    [
      'mysqld is killed while commits wait',
      false,
      ({ node, side }) => {
        node.processes.get('binlogsvr')?.kill();
        side.mysqld.kill();
      },
    ],
    ['somebody shuts mysqld down', true, ({ side }) => side.mysqld.terminate()],
    ['binlogsvr dies', false, ({ node }) => node.processes.get('binlogsvr')?.kill()],
    ['the agent dies', false, ({ node }) => node.processes.get('agent')?.kill()],
    ['mysqld hangs', false, ({ side }) => side.mysqld.freeze(12_000)],
    ['the whole node hangs', false, ({ node }) => node.freeze(6_000)],
    ['its disk stalls', false, ({ side }) => side.mysqld.stallDisk(8_000)],
    ['semi-sync is switched off', true, ({ side }) => side.mysqld.change('rpl_semi_sync_source_enabled', 'OFF')],
    [
      'the supervisor dies and mysqld is an orphan',
      false,
      ({ node, side }) => {
        side.mysqld.orphan();
        node.processes.get('agent')?.kill();
      },
    ],
    [
      'the power fails',
      false,
      ({ node, side }) => {
        node.cutPower(true);
        side.powerCut();
        node.power();
      },
    ],
  ];
  it.each(FAULTS)('three nodes lose nothing and go on when, on the master, %s', async (_, mayPoison, strike) => {
    for (let seed = 1; seed <= 4; seed += 1) {
      const cluster = new Cluster(3, seed);
      for (let n = 0; n < 8; n += 1) await cluster.write();
      const master = await cluster.masterServes();
      // One write is under way, in whatever state.
      const under = cluster.client;
      master.side.mysqld
        .connect(under)
        .then((open) => open.write({ under: 'way' }))
        .catch(() => {});
      await cluster.kernel.runUntil(cluster.kernel.now + seed * 0.3);
      strike(master);
      await cluster.kernel.runUntil(cluster.kernel.now + 300);
      for (let n = 0; n < 5; n += 1) await cluster.write();
      await cluster.allEqual(mayPoison);
    }
  });

  it('an epoch that ends while the accounts of a first master wait for their acks is left at once', async () => {
    const cluster = new Cluster(3, 1);
    const opening = () => cluster.nodes.find(({ node }) => node.server?.services.agentReport?.role === 'promoting');
    await cluster.until(
      'somebody makes the accounts',
      () => (opening()?.side.mysqld.listening?.commits.semiSync.waiting ?? 0) > 0,
    );
    const { node } = opening() as Full;
    const begun = cluster.kernel.now;
    node.processes.get('binlogsvr')?.freeze(5_000);
    await cluster.until('it follows', () => node.server?.services.agentReport?.role === 'replica');
    // One statement alone would wait for 10 s.
    expect(cluster.kernel.now - begun).toBeLessThan(9_000);
    await cluster.allEqual(false);
  });

  it('a snapshot of a master with a commit waiting is restored after others went on (protocol-findings 10)', async () => {
    let cuts = 0;
    for (let seed = 1; seed <= 6; seed += 1) {
      const cluster = new Cluster(3, seed);
      for (let n = 0; n < 5; n += 1) await cluster.write();
      const { node, side } = await cluster.masterServes();
      node.processes.get('binlogsvr')?.kill();
      side.mysqld
        .connect(cluster.client)
        .then((open) => open.write({ waits: String(seed) }))
        .catch(() => {});
      await cluster.kernel.runUntil(cluster.kernel.now + 5);
      const snapshot = side.mysqld.disk.snapshot();
      node.cutPower(true);
      side.powerCut();
      for (let n = 0; n < 5; n += 1) await cluster.write();
      side.mysqld.disk.restore(snapshot);
      side.mysqld.onCut = () => {
        cuts += 1;
      };
      node.power();
      for (let n = 0; n < 5; n += 1) await cluster.write();
      await cluster.allEqual(false);
    }
    expect(cuts).toBeGreaterThan(0);
  });
});
