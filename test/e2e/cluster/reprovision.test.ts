import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import { type HostPort, kill, type NodeStatus, TestCluster } from '../../support/cluster.ts';
import { count, FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

/** A log that is purged after a megabyte, and copies slow enough to be met in the middle. */
const CONFIG = `
[log]
keep_gib = 0.001
cap_gib = 0.5

[recovery]
clone_max_mib_per_s = 5
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
    await cluster.converged(120_000);
    expect(new Set(await cluster.checksums('data')).size).toBe(1);
  };
  const purgedAt = async ({ host, port }: HostPort): Promise<string> => {
    const clusterSecret = readFileSync(join(cluster.dir, 'cluster.secret'), 'utf8').trim();
    await using client = createBinlogsvrClient(`${host}:${port}`, { clusterSecret, tls: null });
    return (await client.status(1000)).view.purged ?? '';
  };
  /** Why this node ever got new data. */
  const reasonsOf = (id: number): readonly string[] =>
    readFileSync(join(cluster.nodeDir(id), 'log', 'agent.log'), 'utf8')
      .split('\n')
      .filter((line) => line.includes('"msg":"re-provisioned"'));
  const reason = async (id: number, words: RegExp, timeoutMs = 40_000): Promise<string> =>
    eventually(`node ${id} says ${words}`, timeoutMs, async () => {
      const { reason: said, state } = await cluster.node(id);
      if (words.test(said)) return said;
      throw new Error(`${state}: ${said}`);
    });

  /** Its MySQL commits what no log holds: written with super_read_only off, and let through by a clean SHUTDOWN. `unseen`: before its agent looks. */
  async function diverge(node: NodeStatus, row: number, unseen = (): void => {}): Promise<void> {
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
      unseen();
    } finally {
      kill(node.pids.agent, 'SIGCONT');
      writer.destroy();
      stopper.destroy();
    }
  }

  test('diverged: its data set aside, cloned from the other slave', async () => {
    const node = await slave();
    const other = (await cluster.slaves()).find(({ id }) => id !== node.id) as NodeStatus;
    await diverge(node, 1000);
    expect(await reason(node.id, /clones from node \d: \d+ % \(/)).toContain(`clones from node ${other.id}`);
    await equal();
    expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 10 }]);
    const [aside, ...more] = setAside(node.id);
    expect(more).toEqual([]);
    expect(readFileSync(join(cluster.nodeDir(node.id), aside ?? '', 'REASON'), 'utf8')).toMatch(/not in the log/);
    expect(existsSync(join(cluster.nodeDir(node.id), 'run', 'reprovision.json'))).toBe(false);
  });

  const strikes: readonly [string, (node: NodeStatus) => Promise<void>][] = [
    ['the whole recipient', async (node) => cluster.killNode(node.id)],
    ['the recipient’s mysqld', async (node) => cluster.killMysqld(node.id)],
    ['the recipient’s agent', async (node) => kill((await cluster.node(node.id)).pids.agent)],
    [
      'the donor’s mysqld',
      async (node) => {
        const donor = /clones from node (\d)/.exec((await cluster.node(node.id)).reason)?.[1];
        await cluster.killMysqld(Number(donor));
      },
    ],
  ];
  test.each(strikes.slice(0, count(strikes.length, 0)))(
    '%s is killed in the middle of a clone: it begins again',
    async (_, strike) => {
      const node = await slave();
      await diverge(node, 2000);
      await reason(node.id, /clones from node \d: [1-9]\d? % /);
      await strike(node);
      await equal();
      expect(setAside(node.id)).toHaveLength(1);
      expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 10 }]);
    },
  );

  /** As somebody does it who may do everything, with the agent looking away. */
  async function tamper(node: NodeStatus, statements: string): Promise<void> {
    kill(node.pids.agent, 'SIGSTOP');
    try {
      await cluster.adminQuery(node.id, statements);
    } finally {
      kill(node.pids.agent, 'SIGCONT');
    }
  }

  const tamperings: readonly [string, string, RegExp][] = [
    [
      'a row that was changed behind the log’s back',
      'SET SESSION sql_log_bin = 0; SET GLOBAL super_read_only = OFF; DELETE FROM data.t WHERE id = 5; SET GLOBAL super_read_only = ON',
      /cannot be applied to this node's data: applier error 1032/,
    ],
    [
      'RESET BINARY LOGS',
      'STOP REPLICA; RESET BINARY LOGS AND GTIDS; START REPLICA',
      /does not count as executed any more/,
    ],
  ];
  test.each(tamperings.slice(0, count(tamperings.length, 0)))(
    '%s on a slave: noticed, and cloned',
    async (_, statements, words) => {
      const node = await slave();
      const { rw } = await cluster.master();
      await tamper(node, statements);
      await cluster.sql(rw, "UPDATE data.t SET v = CONCAT(v, 'x') WHERE id = 5");
      await eventually('re-provisioned', 60_000, () => reasonsOf(node.id).some((text) => words.test(text)));
      await equal();
    },
  );

  test.runIf(FULL)('a replication channel of somebody else: gone with the mysqld that had it', async () => {
    const node = await slave();
    const other = (await cluster.slaves()).find(({ id }) => id !== node.id) as NodeStatus;
    await cluster.adminQuery(
      node.id,
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${other.mysql.port}, SOURCE_USER = 'x', SOURCE_AUTO_POSITION = 1 FOR CHANNEL 'theirs'`,
    );
    await eventually('the channel is gone', 40_000, async () => {
      const rows = await cluster.adminQuery(
        node.id,
        'SELECT CHANNEL_NAME AS c FROM performance_schema.replication_connection_status',
      );
      return rows.every(({ c }) => c === '');
    });
    await equal();
    expect((await cluster.node(node.id)).pids.mysqld).not.toBe(node.pids.mysqld);
  });

  test.runIf(FULL)('without a healthy donor its data stays where it is, and nobody reads it', async () => {
    const node = await slave();
    const before = statSync(join(cluster.nodeDir(node.id), 'mysql')).ino;
    const others = (await cluster.status()).nodes.filter(({ id }) => id !== node.id);
    const [aside] = setAside(node.id);
    const thaw = (): void => {
      for (const { pids } of others) kill(pids.agent, 'SIGCONT');
    };
    onTestFinished(thaw);
    await diverge(node, 3000, () => {
      for (const { pids } of others) {
        kill(pids.agent, 'SIGSTOP');
        kill(pids.mysqld);
      }
    });
    expect(await reason(node.id, /its data stays as it is/)).toMatch(/nobody else is known to have it: node \d/);
    expect((await cluster.node(node.id)).state).toBe('failed');
    await expect(cluster.sql(node.ro, 'SELECT COUNT(*) FROM data.t'), 'nobody may read it').rejects.toThrow();
    expect(statSync(join(cluster.nodeDir(node.id), 'mysql')).ino).toBe(before);
    expect(setAside(node.id)).toEqual(aside === undefined ? [] : [aside]);
    thaw();
    await equal();
    expect(setAside(node.id)).not.toContain(aside);
  });

  test.runIf(FULL)(
    'data and log wiped, and the start of the log purged everywhere: it is a voter with equal data again',
    async () => {
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
        mkdirSync(join(cluster.nodeDir(node.id), 'mysql')); // as a new disk is mounted there
      } finally {
        kill(manager.pid, 'SIGCONT');
      }
      await reason(node.id, /clones from node/, 60_000);
      await equal();
      expect(await cluster.adminQuery(node.id, 'SELECT COUNT(*) AS n FROM data.t')).toEqual([{ n: 18 }]);
      expect((await cluster.node(node.id)).reason).toBe('');
    },
  );
});
