import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import { type HostPort, kill, type NodeStatus, TestCluster } from '../../support/cluster.ts';
import { eventually } from '../../support/wait.ts';

/** A log that is purged after a megabyte, and copies slow enough to be met in the middle. */
const CONFIG = `
[log]
keep_gib = 0.001
cap_gib = 0.5

[recovery]
clone_max_mib_per_s = 8
`;

describe('a node whose data is of no use comes back by itself', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await TestCluster.start({ config: CONFIG });
    const { rw } = await cluster.master();
    await cluster.sql(rw, 'CREATE DATABASE data; CREATE TABLE data.t (id INT PRIMARY KEY, v LONGBLOB)');
    for (let id = 0; id < 10; id += 1) await cluster.sql(rw, 'INSERT INTO data.t VALUES (?, RANDOM_BYTES(1024))', [id]);
    await cluster.converged();
  });
  afterAll(async () => {
    await cluster?.destroy();
  });

  const slave = async (): Promise<NodeStatus> => {
    await cluster.converged();
    return (await cluster.slaves())[0] as NodeStatus;
  };
  const setAside = (id: number): readonly string[] =>
    readdirSync(cluster.nodeDir(id)).filter((name) => name.startsWith('mysql.set-aside-'));
  const equal = async (): Promise<void> => {
    await cluster.converged();
    expect(new Set(await cluster.checksums('data')).size).toBe(1);
  };
  const purgedAt = async ({ host, port }: HostPort): Promise<string> => {
    const clusterSecret = readFileSync(join(cluster.dir, 'cluster.secret'), 'utf8').trim();
    await using client = createBinlogsvrClient(`${host}:${port}`, { clusterSecret, tls: null });
    return (await client.status(1000)).view.purged ?? '';
  };
  const reason = async (id: number, words: RegExp, timeoutMs = 40_000): Promise<string> =>
    eventually(`node ${id} says ${words}`, timeoutMs, async () => {
      const { reason: said, state } = await cluster.node(id);
      if (words.test(said)) return said;
      throw new Error(`${state}: ${said}`);
    });

  /** Its MySQL commits what no log holds: written with super_read_only off, and let through by a clean SHUTDOWN. */
  async function diverge(node: NodeStatus, row: number): Promise<void> {
    const [writer, stopper] = [await cluster.admin(node.id), await cluster.admin(node.id)];
    for (const each of [writer, stopper]) each.on('error', () => {});
    // The agent would be faster.
    kill(node.pids.agent, 'SIGSTOP');
    try {
      await writer.query('SET GLOBAL super_read_only = OFF');
      writer.query("INSERT INTO data.t VALUES (?, 'nobody agreed')", [row]).catch(() => {});
      await eventually('it waits for its ack', 5000, async () => {
        const [rows] = await stopper.query(
          "SELECT 1 FROM performance_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%' AND info LIKE 'INSERT%'",
        );
        return (rows as unknown[]).length > 0;
      });
      stopper.query('SHUTDOWN').catch(() => {});
      await eventually('mysqld ended', 20_000, () => !existsSync(`/proc/${node.pids.mysqld}/cmdline`));
    } finally {
      kill(node.pids.agent, 'SIGCONT');
      writer.destroy();
      stopper.destroy();
    }
  }

  test('diverged: out of service at once, its data set aside, cloned from the other slave', async () => {
    const node = await slave();
    const other = (await cluster.slaves()).find(({ id }) => id !== node.id) as NodeStatus;
    await diverge(node, 1000);
    await reason(node.id, /not in the log|clones from node/);
    expect(await reason(node.id, /clones from node \d: \d+ % \(/)).toContain(`clones from node ${other.id}`);
    const during = await cluster.node(node.id);
    expect(during.state).toBe('recovering');
    await equal();
    expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 10 }]);
    const [aside, ...more] = setAside(node.id);
    expect(more).toEqual([]);
    expect(readFileSync(join(cluster.nodeDir(node.id), aside ?? '', 'REASON'), 'utf8')).toMatch(/not in the log/);
    expect(existsSync(join(cluster.nodeDir(node.id), 'run', 'reprovision.json'))).toBe(false);
  });

  test.each([
    ['the recipient’s mysqld', async (node: NodeStatus) => cluster.killMysqld(node.id)],
    ['the recipient’s agent', async (node: NodeStatus) => kill((await cluster.node(node.id)).pids.agent)],
    ['the whole recipient', async (node: NodeStatus) => cluster.killNode(node.id)],
    [
      'the donor’s mysqld',
      async (node: NodeStatus) => {
        const donor = /clones from node (\d)/.exec((await cluster.node(node.id)).reason)?.[1];
        await cluster.killMysqld(Number(donor));
      },
    ],
  ])('%s is killed in the middle of a clone: it begins again', async (_, strike) => {
    const node = await slave();
    await diverge(node, 2000);
    await reason(node.id, /clones from node \d: [1-9]\d? % /);
    await strike(node);
    await equal();
    expect(setAside(node.id)).toHaveLength(1);
    expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 10 }]);
  });

  test('without a healthy donor its data stays where it is', async () => {
    const node = await slave();
    const before = statSync(join(cluster.nodeDir(node.id), 'mysql')).ino;
    const others = (await cluster.status()).nodes.filter(({ id }) => id !== node.id);
    const [aside] = setAside(node.id);
    const thaw = (): void => {
      for (const { pids } of others) kill(pids.agent, 'SIGCONT');
    };
    onTestFinished(thaw);
    for (const { pids } of others) {
      kill(pids.agent, 'SIGSTOP');
      kill(pids.mysqld);
    }
    await diverge(node, 3000);
    expect(await reason(node.id, /its data stays as it is/)).toMatch(/nobody else is known to have it: node \d/);
    expect((await cluster.node(node.id)).state).toBe('failed');
    expect(statSync(join(cluster.nodeDir(node.id), 'mysql')).ino).toBe(before);
    expect(setAside(node.id)).toEqual(aside === undefined ? [] : [aside]);
    thaw();
    await equal();
    expect(setAside(node.id)).not.toContain(aside);
  });

  test('data and log wiped, and the start of the log purged everywhere: it is a voter with equal data again', async () => {
    const node = await slave();
    const { rw } = await cluster.master();
    for (let id = 100; id < 108; id += 1) {
      await cluster.sql(rw, 'INSERT INTO data.t VALUES (?, REPEAT(RANDOM_BYTES(1024), 1024))', [id]);
    }
    await cluster.converged();
    await eventually('the start of the log is purged everywhere', 60_000, async () => {
      const purged = await Promise.all((await cluster.status()).nodes.map(({ rpc }) => purgedAt(rpc)));
      return purged.every((set) => set !== '');
    });
    const manager = JSON.parse(readFileSync(join(cluster.dir, 'run', 'manager.json'), 'utf8')) as { pid: number };
    kill(manager.pid, 'SIGSTOP');
    try {
      await cluster.killNode(node.id);
      for (const name of ['mysql', 'store']) rmSync(join(cluster.nodeDir(node.id), name), { recursive: true });
    } finally {
      kill(manager.pid, 'SIGCONT');
    }
    await reason(node.id, /clones from node/, 60_000);
    await equal();
    expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 18 }]);
    expect((await cluster.node(node.id)).reason).toBe('');
  });
});
