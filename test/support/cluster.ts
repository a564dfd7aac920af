import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Connection, createConnection } from 'mysql2/promise';
import { INTERNAL_ACCOUNTS, internalPassword } from '../../base/accounts.ts';
import { systemClock } from '../../base/system-clock.ts';
import { existingCluster, statusSourceOf } from '../../cli/cluster-dir.ts';
import { StatusCollector } from '../../cli/status-collector.ts';
import { eventually } from './wait.ts';

const run = promisify(execFile);
export const BIN = fileURLToPath(new URL('../../bin/phxsql.js', import.meta.url));

const STATUS_MS = 5000;

export type HostPort = Readonly<{ host: string; port: number }>;

/** The shape of `phxsql status --json` (issue: "status --json is an interface"). */
export type Status = Readonly<{
  cluster: string;
  epoch: number;
  master: number | null;
  lease: Readonly<{ holder: number | null; remainingMs: number }>;
  gtid: string;
  chosenIndex: number;
  flow: Readonly<{
    delayMs: number;
    candidate: number | null;
    candidateLagMs: number | null;
    predictedFailoverMs: number | null;
  }> | null;
  warnings: readonly string[];
  nodes: readonly NodeStatus[];
}>;
export type NodeStatus = Readonly<{
  id: number;
  state: 'master' | 'slave' | 'recovering' | 'failed' | 'down';
  reason: string;
  reachable: boolean;
  rw: HostPort;
  ro: HostPort;
  dump: HostPort;
  rpc: HostPort;
  mysql: HostPort;
  gtidExecuted: string;
  executedIndex: number;
  chosenIndex: number;
  lagMs: number;
  pids: Readonly<{
    supervisor: number | null;
    mysqld: number | null;
    binlogsvr: number | null;
    agent: number | null;
    sync: number | null;
    proxy: readonly number[];
  }>;
}>;

/** Moves every port above or below those the kernel gives to outgoing connections (32768-60999). Two files may run at once. */
let portOffset =
  Number(process.env['PHXSQL_TEST_PORT_OFFSET'] ?? 7000) + 2000 * (Number(process.env['VITEST_POOL_ID'] ?? 1) - 1);

/** A cluster started as a user starts it, in a directory of its own, on ports of its own. */
export class TestCluster implements AsyncDisposable {
  readonly dir: string;
  #env: NodeJS.ProcessEnv;
  readonly offset: number;
  /** For the cluster.json it was made by: others may add and remove nodes. */
  #collector: { readonly written: string; readonly asks: StatusCollector } | null = null;

  private constructor(dir: string, offset: number) {
    this.dir = dir;
    this.offset = offset;
    this.#env = { ...process.env, PHXSQL_ROOT_PASSWORD: 'test root password' };
  }

  /** `config`: tables for the configuration of every node. `env`: beside ours, of every process started after the first start. */
  static async start(
    options: Readonly<{
      nodes?: 3 | 5;
      keepOnFailure?: boolean;
      config?: string;
      env?: (dir: string) => NodeJS.ProcessEnv;
    }> = {},
  ): Promise<TestCluster> {
    const cluster = new TestCluster(mkdtempSync(join(tmpdir(), 'phx-e2e-')), TestCluster.nextOffset());
    try {
      const nodes = ['--nodes', String(options.nodes ?? 3)];
      const ports = ['--port-offset', String(cluster.offset)];
      const settings = options.config === undefined ? [] : ['--settings', cluster.#settingsFile(options.config)];
      await cluster.cli(['cluster', 'start', ...nodes, ...ports, ...settings, '--detach']);
      if (options.env !== undefined) {
        await cluster.cli(['cluster', 'stop']);
        cluster.#env = { ...cluster.#env, ...options.env(cluster.dir) };
        await cluster.resume();
      }
    } catch (error) {
      await cluster.cli(['cluster', 'stop']).catch(() => {});
      throw new Error(`cluster did not start (logs kept in ${cluster.dir}): ${String(error)}`);
    }
    return cluster;
  }

  #settingsFile(text: string): string {
    const file = `${this.dir}.settings.toml`;
    writeFileSync(file, text);
    return file;
  }

  nodeDir(id: number): string {
    return join(this.dir, `node-${id}`);
  }

  /** Ports nobody else of these tests has. */
  static nextOffset(): number {
    portOffset += 100;
    return portOffset;
  }

  /** One that was made in another way. */
  static at(dir: string, offset: number): TestCluster {
    return new TestCluster(dir, offset);
  }

  /** Runs `phxsql ARGS --dir DIR`; rejects on a non-zero exit with what it printed. */
  async cli(args: readonly string[], timeoutMs = 180_000): Promise<string> {
    const { stdout } = await run(process.execPath, [BIN, ...args, '--dir', this.dir], {
      env: this.#env,
      timeout: timeoutMs,
      maxBuffer: 1 << 24,
    });
    return stdout;
  }

  /** As `phxsql status --json` prints it, with no process of its own: tests ask many times a second. */
  async status(): Promise<Status> {
    const written = readFileSync(join(this.dir, 'cluster.json'), 'utf8');
    if (this.#collector?.written !== written) {
      await this.#collector?.asks.close();
      const source = statusSourceOf(this.dir, existingCluster(this.dir));
      this.#collector = { written, asks: new StatusCollector(source, systemClock) };
    }
    // Tests share two cores with what they test: a node that is late is not down.
    return (await this.#collector.asks.collect(STATUS_MS)) as Status;
  }

  /** By a process, as others script against it. The exit code tells whether there is a master; the JSON comes either way. */
  async statusByCommand(): Promise<Status> {
    const text = await this.cli(['status', '--json', '--timeout', '5'], 10_000).catch(
      (error: { stdout?: string }) => error.stdout ?? '',
    );
    return JSON.parse(text) as Status;
  }

  resume(): Promise<string> {
    return this.cli(['cluster', 'start', '--detach']);
  }

  async node(id: number): Promise<NodeStatus> {
    const status = await this.status();
    const node = status.nodes.find((each) => each.id === id);
    if (node === undefined) throw new Error(`no node ${id} in status`);
    return node;
  }

  async master(timeoutMs = 30_000): Promise<NodeStatus> {
    return eventually('a master', timeoutMs, async () => {
      const status = await this.status();
      return status.nodes.find((node) => node.id === status.master);
    });
  }

  async slaves(): Promise<NodeStatus[]> {
    const status = await this.status();
    return status.nodes.filter((node) => node.id !== status.master);
  }

  /** As a user, root if no other, through a proxy port. */
  async connect(
    at: HostPort,
    database?: string,
    user: Readonly<{ user: string; password: string }> = { user: 'root', password: 'test root password' },
  ): Promise<Connection> {
    return createConnection({
      host: at.host,
      port: at.port,
      ...user,
      connectTimeout: 15_000,
      multipleStatements: true,
      ...(database === undefined ? {} : { database }),
    });
  }

  async sql<T = Record<string, unknown>>(at: HostPort, statement: string, values: unknown[] = []): Promise<T[]> {
    const connection = await this.connect(at);
    try {
      const [rows] = await connection.query(statement, values);
      return rows as T[];
    } finally {
      connection.destroy();
    }
  }

  /** As the agent's all-powerful account, over the local socket of a node's mysqld. */
  async admin(id: number): Promise<Connection> {
    const secret = readFileSync(join(this.dir, 'cluster.secret'), 'utf8').trim();
    return createConnection({
      socketPath: await this.socketOf(id),
      user: INTERNAL_ACCOUNTS.agent,
      password: internalPassword(secret, 'agent'),
      multipleStatements: true,
    });
  }

  async adminQuery<T = Record<string, unknown>>(id: number, statement: string): Promise<T[]> {
    const connection = await this.admin(id);
    try {
      const [rows] = await connection.query(statement);
      return rows as T[];
    } finally {
      connection.destroy();
    }
  }

  async socketOf(id: number): Promise<string> {
    const { pids } = await this.node(id);
    const argv = readFileSync(`/proc/${pids.mysqld}/cmdline`, 'utf8').split('\0');
    const file = argv.find((each) => each.startsWith('--defaults-file='))?.slice('--defaults-file='.length) ?? '';
    const line = readFileSync(file, 'utf8').match(/^socket\s*=\s*(.+)$/m);
    if (line?.[1] === undefined) throw new Error(`no socket in ${file}`);
    return line[1].trim().replace(/^"|"$/g, '');
  }

  /** Everything of a node at once, as a power cut does. */
  async killNode(id: number): Promise<void> {
    const pids = await this.#pids(id);
    for (const pid of [pids.supervisor, pids.mysqld, pids.binlogsvr, pids.agent, pids.sync, ...pids.proxy]) kill(pid);
  }

  async killMysqld(id: number): Promise<void> {
    kill((await this.#pids(id)).mysqld);
  }

  /** Asked again until the node says them: on a busy machine one status may not reach it, and nothing would be killed. */
  #pids(id: number): Promise<NodeStatus['pids']> {
    return eventually(`the pids of node ${id}`, 20_000, async () => {
      const { pids } = await this.node(id);
      return pids.supervisor !== null && pids.mysqld !== null && pids;
    });
  }

  /** Every process of the cluster at once, its manager included. */
  async killAll(): Promise<void> {
    const pids = await this.processes();
    for (const pid of pids) kill(pid);
    await eventually('all processes gone', 10_000, async () => (await this.processes()).length === 0);
  }

  /** What plays the init system of the nodes' machines: starts a node again whose supervisor died. */
  get managerPid(): number {
    const file = readFileSync(join(this.dir, 'run', 'manager.json'), 'utf8');
    return (JSON.parse(file) as { pid: number }).pid;
  }

  /** Pids of every process whose command line names this cluster's directory, or one below it. */
  async processes(dir = this.dir): Promise<number[]> {
    const { readdirSync } = await import('node:fs');
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map(Number).filter((pid) => pid !== process.pid && this.owns(pid, dir));
  }

  /** Is this still a process of ours? What a status said a moment ago may have died since, and its number be another's. */
  owns(pid: number, dir = this.dir): boolean {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dir);
    } catch {
      return false;
    }
  }

  /** All nodes up in their roles and close behind the log, which may go on growing. */
  async healthy(timeoutMs = 60_000): Promise<Status> {
    return eventually('all nodes healthy', timeoutMs, async () => {
      const status = await this.status();
      const { master, nodes } = status;
      const well = nodes.every(({ state, lagMs }) => (state === 'master' || state === 'slave') && lagMs < 1000);
      if (master !== null && well) return status;
      throw new Error(nodes.map((n) => `${n.id} ${n.state} lag ${n.lagMs} ${n.reason}`).join('; '));
    });
  }

  /** All nodes up in their roles and every MySQL has executed what the log holds. */
  async converged(timeoutMs = 60_000): Promise<Status> {
    return eventually('convergence', timeoutMs, async () => {
      const status = await this.status();
      const settled = status.nodes.every(
        (node) => (node.state === 'master' || node.state === 'slave') && node.gtidExecuted === status.gtid,
      );
      if (!settled || status.master === null) {
        throw new Error(status.nodes.map((n) => `${n.id} ${n.state} ${n.gtidExecuted} ${n.reason}`).join('; '));
      }
      return status;
    });
  }

  /** CHECKSUM TABLE of every table of `schema`, asked of each mysqld itself. */
  async checksums(schema: string): Promise<string[]> {
    const status = await this.status();
    return Promise.all(
      status.nodes.map(async (node) => {
        const connection = await this.admin(node.id);
        try {
          const [tables] = await connection.query(
            'SELECT table_name AS name FROM information_schema.tables WHERE table_schema=? ORDER BY 1',
            [schema],
          );
          const sums: string[] = [];
          for (const { name } of tables as { name: string }[]) {
            const [rows] = await connection.query('CHECKSUM TABLE ??.??', [schema, name]);
            sums.push(`${name}=${(rows as { Checksum: number }[])[0]?.Checksum}`);
          }
          return sums.join(' ');
        } finally {
          connection.destroy();
        }
      }),
    );
  }

  /** With PHXSQL_TEST_KEEP=1 it is only stopped: for whoever looks for the reason of a failure. */
  async destroy(): Promise<void> {
    await this.#collector?.asks.close();
    this.#collector = null;
    if (process.env['PHXSQL_TEST_KEEP']) {
      await this.cli(['cluster', 'stop']);
      console.log(`kept ${this.dir}`);
      return;
    }
    await this.cli(['cluster', 'destroy', '--yes']);
    rmSync(this.dir, { recursive: true, force: true });
    rmSync(`${this.dir}.settings.toml`, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

export function kill(pid: number | null, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (pid === null || pid <= 0) return;
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Runs a program to its end; rejects unless it exits with 0. */
export function runToEnd(file: string, args: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${file} exited with ${code}: ${output.slice(-3000)}`)),
    );
  });
}
