import type { Connection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { kill, type NodeStatus, TestCluster } from '../../support/cluster.ts';
import { Crowd } from '../../support/crowd.ts';
import { type Fault, GreyFaults } from '../../support/grey.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';

/** The bounds of docs/ARCHITECTURE.md, "Grey failures". */
const LEASE_ENDS_MS_MAX = 8_000;
const PROXY_REPLACED_MS_MAX = 10_000;
const SUPERVISOR_ENDED_MS_MAX = 40_000;
const READERS_END_MS_MAX = 12_000;
const MAX_CONNECTIONS = 40;

/** Fewer than that is enough to fill them up. */
const GREEDY = MAX_CONNECTIONS + 10;

describe.runIf(FULL)('the master is alive and does not work', () => {
  let cluster: TestCluster;
  let writers: Writers;
  let grey: GreyFaults;

  beforeAll(async () => {
    cluster = await TestCluster.start({ config: `[mysqld]\nmax_connections = ${MAX_CONNECTIONS}` });
    const { nodes } = await cluster.converged();
    const ports = nodes.map((node) => node.rw);
    writers = await Writers.start(cluster, 3, ports, 'grey.acked', 10);
    grey = new GreyFaults(cluster, () => writers);
  });
  afterAll(async () => {
    await writers?.stop();
    await cluster?.destroy();
  });

  type Pick = (pids: NodeStatus['pids']) => number | null;
  const frozen = (pick: Pick): Fault => ({ inflict: ({ pids }) => kill(pick(pids), 'SIGSTOP') });
  const frozenAndThawed = (pick: Pick): Fault => ({
    ...frozen(pick),
    heal: ({ pids }) => kill(pick(pids), 'SIGCONT'),
  });

  test('SIGSTOP of its mysqld', async () => {
    await grey.failsOver(
      'mysqld frozen',
      LEASE_ENDS_MS_MAX,
      frozen(({ mysqld }) => mysqld),
    );
  });

  test('SIGSTOP of its agent, which thaws when another is master', async () => {
    await grey.failsOver(
      'agent frozen',
      LEASE_ENDS_MS_MAX,
      frozenAndThawed(({ agent }) => agent),
    );
  });

  test('SIGSTOP of its agent for good: its supervisor replaces it', async () => {
    const after = await grey.failsOver(
      'agent frozen for good',
      LEASE_ENDS_MS_MAX,
      frozen(({ agent }) => agent),
    );
    expect(after.nodes.every(({ pids }) => pids.agent !== null)).toBe(true);
  });

  test('SIGSTOP of its binlogsvr and sync, which thaw when another is master', async () => {
    await grey.failsOver(
      'binlogsvr frozen',
      LEASE_ENDS_MS_MAX,
      frozenAndThawed(({ binlogsvr }) => binlogsvr),
    );
  });

  test('SIGSTOP of its binlogsvr and sync for good: their supervisor replaces them', async () => {
    await grey.failsOver(
      'binlogsvr frozen for good',
      LEASE_ENDS_MS_MAX,
      frozen(({ binlogsvr }) => binlogsvr),
    );
  });

  test('SIGSTOP of its proxy: replaced, and nobody else notices', async () => {
    const { before, master } = await grey.victim();
    for (const pid of master.pids.proxy) kill(pid, 'SIGSTOP');
    const began = Date.now();
    // Of those that hang, and of those that come anew: all of them at this node's port.
    await eventually('a write through the port of the frozen proxy', PROXY_REPLACED_MS_MAX, async () => {
      await cluster.sql(master.rw, 'SELECT 1');
      return true;
    });
    console.log(`proxy frozen: replaced after ${Date.now() - began} ms (at most ${PROXY_REPLACED_MS_MAX})`);
    const after = await grey.comesBack(master.id);
    expect(after.epoch).toBe(before.epoch);
    const now = after.nodes.find(({ id }) => id === master.id)!;
    expect(now.pids.proxy.filter((pid) => master.pids.proxy.includes(pid))).toEqual([]);
    expect(now.pids.mysqld).toBe(master.pids.mysqld);
  });

  test('SIGSTOP of its supervisor: the node ends and starts again', async () => {
    const { master } = await grey.victim();
    kill(master.pids.supervisor, 'SIGSTOP');
    await eventually('another supervisor', SUPERVISOR_ENDED_MS_MAX, async () => {
      const { supervisor } = (await cluster.node(master.id)).pids;
      return supervisor !== null && supervisor !== master.pids.supervisor;
    });
    await writers.firstAckAfter(Date.now(), 10_000);
    await grey.comesBack(master.id);
  });

  test('clients have used up its connections: 1040 for them, and for nobody of ours', async () => {
    const { before, master } = await grey.victim();
    await using crowd = new Crowd(cluster, master.rw, GREEDY);
    await eventually('mysqld refuses clients', 30_000, () =>
      crowd.refused.some((error) => /1040|Too many/.test(error)),
    );
    await writers.firstAckAfter(Date.now(), 10_000);

    kill(master.pids.agent);
    await eventually('another agent, of the same master', 30_000, async () => {
      const node = await cluster.node(master.id);
      if (node.pids.agent !== null && node.pids.agent !== master.pids.agent && node.state === 'master') return true;
      throw new Error(`${node.state} ${node.reason}`);
    });
    await writers.firstAckAfter(Date.now(), 10_000);
    const held = await cluster.status();
    expect(held).toMatchObject({ master: master.id, epoch: before.epoch });
    expect(await cluster.node(master.id)).toMatchObject({ pids: { mysqld: master.pids.mysqld } });

    // sync's connections are gone with it, and clients take what becomes free.
    kill(master.pids.binlogsvr);
    await writers.firstAckAfter(Date.now() + 500, 20_000);
    await cluster.cli(['switchover'], 60_000);
    await writers.firstAckAfter(Date.now(), 10_000);
    await crowd[Symbol.asyncDispose]();
    await grey.comesBack(master.id);
  });

  test('a statement that ignores KILL: its mysqld is killed when the node is no master any more', async () => {
    await cluster.sql((await cluster.master()).rw, 'CREATE TABLE IF NOT EXISTS grey.slow (v INT)');
    const { before, master } = await grey.victim();
    // As the agent's account: sessions of that one are never killed.
    const holder = await cluster.admin(master.id);
    holder.on('error', () => {});
    const held = holder.query('INSERT INTO grey.slow SELECT SLEEP(600)').then(
      () => 'ended',
      (error: Error) => error.message,
    );
    kill(master.pids.agent, 'SIGSTOP');
    try {
      await eventually('another master', 20_000, async () => {
        const { epoch, master: now } = await cluster.status();
        return epoch > before.epoch && now !== null;
      });
    } finally {
      kill(master.pids.agent, 'SIGCONT');
    }
    expect(await held).toMatch(/closed|lost/i);
    holder.destroy();
    await grey.comesBack(master.id);
  });

  test('readers on both slaves block what the log holds, and the master is gone', async () => {
    await cluster.sql((await cluster.master()).rw, 'CREATE TABLE IF NOT EXISTS grey.blocked (v INT)');
    const readers: Connection[] = [];
    const block = async (master: NodeStatus): Promise<void> => {
      for (const { id, mysql } of (await cluster.healthy()).nodes) {
        if (id === master.id) continue;
        const reader = await cluster.connect(mysql);
        reader.on('error', () => {});
        await reader.query('LOCK TABLES grey.blocked READ');
        readers.push(reader);
      }
      await cluster.sql(master.rw, 'ALTER TABLE grey.blocked ADD COLUMN w INT');
    };
    const signal = ({ pids: { supervisor, binlogsvr, agent, mysqld } }: NodeStatus, name: NodeJS.Signals): void => {
      for (const pid of [supervisor, binlogsvr, agent, mysqld]) kill(pid, name);
    };
    await grey.failsOver('readers block the slaves', LEASE_ENDS_MS_MAX + READERS_END_MS_MAX, {
      inflict: async (master) => {
        await block(master);
        signal(master, 'SIGSTOP');
      },
      heal: (master) => signal(master, 'SIGCONT'),
    });
    expect(readers).toHaveLength(2);
    for (const reader of readers) reader.destroy();
  });

  test('a replication channel that is not ours, on the master', async () => {
    const { before, master } = await grey.victim();
    const admin = await cluster.admin(master.id);
    admin.on('error', () => {});
    await admin.query(
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='x', SOURCE_PASSWORD='x' FOR CHANNEL 'other'`,
    );
    await eventually('another epoch', 20_000, async () => (await cluster.status()).epoch > before.epoch);
    admin.destroy();
    await grey.comesBack(master.id);
    const channels = 'SELECT CHANNEL_NAME AS name FROM performance_schema.replication_connection_configuration';
    for (const { name } of await cluster.adminQuery<{ name: string }>(master.id, channels)) expect(name).toBe('');
  });

  test('nothing acknowledged is lost and all three are equal', async () => {
    await grey.allEqual('grey');
  });
});
