import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import type { MemberList } from '../../../cli/member/list.ts';
import { processesOf } from '../../../cli/processes.ts';
import { kill, TestCluster } from '../../support/cluster.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';

const ADDED: readonly number[] = [4, 5];

describe.runIf(FULL)('nodes come and go under a 4-thread insert load', () => {
  let cluster: TestCluster;
  let writers: Writers;
  let host = '';

  beforeAll(async () => {
    cluster = await TestCluster.start();
    host = mkdtempSync(join(tmpdir(), 'phx-e2e-host-'));
    const { nodes } = await cluster.converged();
    writers = await Writers.start(
      cluster,
      4,
      nodes.map((node) => node.rw),
      'members.rows',
      20,
    );
  });
  afterAll(async () => {
    await writers?.stop();
    await cluster?.destroy();
    // Its node, if the test broke off before it was removed.
    for (const { pid } of processesOf(host)) kill(pid);
    rmSync(host, { recursive: true, force: true });
  });

  /** `phxsql member ARGS --json`, and the longest time no insert was acknowledged meanwhile. */
  async function member(...args: readonly string[]): Promise<{ list: MemberList; stallMs: number }> {
    await writers.firstAckAfter(Date.now(), 10_000);
    const from = Date.now();
    const list = JSON.parse(
      await cluster.cli(['member', ...args, '--timeout', '120', '--json'], 125_000),
    ) as MemberList;
    await writers.firstAckAfter(Date.now(), 10_000);
    const times = writers.ackTimes.filter((at) => at >= from - 500);
    const stallMs = Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));
    console.log(`member ${args.join(' ')}: ${Date.now() - from} ms, longest write stall ${stallMs} ms`);
    return { list, stallMs };
  }

  /** A status that this node answered: on a busy machine one may not reach it. */
  const told = (id: number) =>
    eventually(`node ${id} in the status`, 60_000, async () => {
      const node = await cluster.node(id);
      return node.reachable && node;
    });
  const ids = (list: MemberList): readonly number[] => list.members.map(({ node }) => node);

  test.each(ADDED)('member add: node %i joins, votes, and serves reads through its own port', async (id) => {
    const { list, stallMs } = await member('add');
    expect(list.members.at(-1)).toMatchObject({ node: id, kind: 'voter', voting: true });
    expect(list.voters).toBe(id);
    expect(stallMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
    const status = await cluster.healthy();
    expect(status.nodes.map((node) => node.id)).toEqual(Array.from({ length: id }, (_, i) => i + 1));
    const added = await told(id);
    const [own] = await cluster.adminQuery<{ uuid: string }>(id, 'SELECT @@server_uuid AS uuid');
    const [read] = await cluster.sql<{ uuid: string; n: number }>(
      added.ro,
      'SELECT @@server_uuid AS uuid, COUNT(*) AS n FROM members.rows',
    );
    expect(read?.uuid).toBe(own?.uuid);
    expect(read?.n).toBeGreaterThan(0);
    // Through its read-write port, too, the master is reached.
    await cluster.sql(added.rw, 'CREATE DATABASE IF NOT EXISTS members_by_the_new');
  });

  test('a host of its own joins by its configuration file, as a witness, and leaves', async () => {
    copyFileSync(join(cluster.dir, 'cluster.secret'), join(host, 'secret'));
    const base = readFileSync(join(cluster.dir, 'node-2', 'node.toml'), 'utf8');
    const known = base.slice(base.indexOf('[[nodes]]'), base.indexOf('[[nodes]]', base.indexOf('[[nodes]]') + 1));
    const port = (first: number): number => first + cluster.offset + 80;
    const ports = { rw: 54321, ro: 54322, dump: 6000, rpc: 17000, mysql: 11111, http: 18080 };
    const own = Object.entries(ports).map(([what, first]) => `${what} = ${port(first)}`);
    const file = join(host, 'node.toml');
    const head = 'cluster = "local"\nnode = 9\ndata_dir = "data"\nsecret_file = "secret"\n';
    writeFileSync(
      file,
      `${head}[[nodes]]\nid = 9\nhost = "127.0.0.1"\n${own.join('\n')}\n${known}\n[join]\nkind = "witness"\n`,
    );
    const { list } = await member('add', '--config', file);
    expect(list.members.find(({ node }) => node === 9)).toMatchObject({ kind: 'witness', voting: true });
    const witness = await told(9);
    expect(witness).toMatchObject({ state: 'witness', reason: '', pids: { mysqld: null, agent: null } });
    // Its proxies lead to the master and to slaves like any other's.
    await cluster.sql(witness.rw, 'CREATE DATABASE IF NOT EXISTS members_by_the_witness');
    await cluster.sql(witness.ro, 'SELECT COUNT(*) FROM members.rows');
    const { list: after } = await member('remove', '9', '--config', file);
    expect(ids(after)).toEqual([1, 2, 3, 4, 5]);
    await eventually(
      'its processes are gone',
      20_000,
      () => witness.pids.supervisor !== null && !isAlive(witness.pids.supervisor),
    );
  });

  test("member remove of the master's node: it hands over, its node is stopped, nothing acknowledged is lost", async () => {
    const before = await cluster.healthy();
    const victim = before.nodes.find(({ id }) => id === before.master)!;
    const { list, stallMs } = await member('remove', String(victim.id));
    expect(ids(list)).toEqual([1, 2, 3, ...ADDED].filter((id) => id !== victim.id));
    expect(stallMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
    const after = await cluster.healthy();
    expect(after.epoch).toBeGreaterThan(before.epoch);
    expect(ids({ ...list })).toEqual(after.nodes.map(({ id }) => id));
    for (const pid of [victim.pids.supervisor, victim.pids.mysqld, ...victim.pids.proxy]) {
      expect(pid === null || isAlive(pid)).toBe(false);
    }
    expect(await writers.check(after.master as number)).toEqual({ lost: [], invented: [] });
  });

  test('member replace: a new node takes the seat of a dead one', async () => {
    const before = await cluster.healthy();
    const dead = before.nodes.find(({ id }) => id !== before.master)!;
    // Its manager would start it again.
    const file = join(cluster.dir, `node-${dead.id}`, 'node.toml');
    renameSync(file, `${file}.gone`);
    await cluster.killNode(dead.id);
    const { list, stallMs } = await member('replace', String(dead.id));
    expect(list.members.at(-1)).toMatchObject({ node: 6, kind: 'voter', voting: true });
    expect(ids(list)).not.toContain(dead.id);
    expect(list.voters).toBe(4);
    expect(stallMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
    await cluster.healthy();
  });

  test('cluster stop and start resume with these members; all are equal and nothing acknowledged is lost', async () => {
    await writers.stop();
    const before = await cluster.converged();
    await cluster.cli(['cluster', 'stop']);
    await cluster.resume();
    const after = await cluster.converged();
    expect(after.nodes.map(({ id }) => id)).toEqual(before.nodes.map(({ id }) => id));
    for (const { id } of after.nodes) expect(await writers.check(id)).toEqual({ lost: [], invented: [] });
    await eventually('equal checksums', 60_000, async () => new Set(await cluster.checksums('members')).size === 1);
    console.log(`rows acknowledged ${writers.acked.size}`);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
