import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPool, type Pool, type PoolOptions, type RowDataPacket } from 'mysql2/promise';
import { initialiseDatadir } from '../../agent/host/datadir.ts';
import { renderMyCnf, type UserSettings } from '../../agent/my-cnf.ts';
import { mysqldCommand, mysqldEnv } from '../../agent/mysqld-command.ts';
import { INTERNAL_ACCOUNTS } from '../../base/accounts.ts';
import type { MysqlInstall } from '../../base/mysql-install.ts';
import { silentLogger } from '../../base/ports.ts';
import { dyingWithUs } from '../../base/run-command.ts';
import { defaultCacheDir } from '../../deploy/cache-dir.ts';
import { findMysqld } from '../../deploy/mysql-provision.ts';
import { eventually } from './wait.ts';

export const TEST_AGENT_PASSWORD = 'test agent password';
export const TEST_SYNC_PASSWORD = 'test sync password';

const START_MS_MAX = 60_000;
const DIR_PREFIX = 'phx-mysqld-';

const install = await findMysqld({ env: process.env, progress: (line) => console.log(`[provision] ${line}`) });
export const testMysqlInstall = (): MysqlInstall => install;

export type TestMysqldOptions = Readonly<{
  /** Shown in error messages and in the name of its folder. */
  name?: string;
  /** As a user's [mysqld] section. */
  settings?: UserSettings;
  /** Lines after everything else, so pinned settings too can be overruled. */
  cnfOverrides?: readonly string[];
  serverId?: number;
}>;

/** Ids of servers made by this process, from a range nodes do not use. */
let nextServerId = 100_000 + (process.pid % 10_000) * 100;

/**
 * A real mysqld with the cluster's my.cnf: it starts with offline_mode, super_read_only and semi-sync on, without a client
 * that acks, so commits wait until the test says otherwise. It dies with the test process and leaves nothing behind.
 */
export async function startTestMysqld(options: TestMysqldOptions = {}): Promise<TestMysqld> {
  removeOrphans();
  const dir = mkdtempSync(join(tmpdir(), `${DIR_PREFIX}${process.pid}-${options.name ?? 'server'}-`));
  const server = new TestMysqld(dir, await freePort(), options);
  try {
    await initialiseDatadir({
      install,
      datadir: server.datadir,
      templateDir: join(defaultCacheDir(process.env), 'templates'),
      agentAccount: { user: INTERNAL_ACCOUNTS.agent, password: TEST_AGENT_PASSWORD },
      syncAccount: { user: INTERNAL_ACCOUNTS.sync, password: TEST_SYNC_PASSWORD },
      ...(options.settings === undefined ? {} : { settings: options.settings }),
      log: silentLogger,
    });
    await server.start();
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

export class TestMysqld implements AsyncDisposable {
  readonly dir: string;
  readonly datadir: string;
  readonly socket: string;
  readonly port: number;
  readonly serverId: number;
  readonly #options: TestMysqldOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #pool: Pool | null = null;

  /** Use startTestMysqld. */
  constructor(dir: string, port: number, options: TestMysqldOptions) {
    this.dir = dir;
    this.datadir = join(dir, 'data');
    this.socket = join(dir, 's.sock');
    this.port = port;
    nextServerId += 1;
    this.serverId = options.serverId ?? nextServerId;
    this.#options = options;
  }

  /** 0 while it does not run. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get errorLog(): string {
    const file = join(this.dir, 'error.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Starts it (again, after stop or kill9) and waits until the agent's account can log in. */
  async start(): Promise<void> {
    const cnf = join(this.dir, 'my.cnf');
    const { settings, cnfOverrides = [] } = this.#options;
    const text = renderMyCnf({
      version: install.version,
      datadir: this.datadir,
      socket: this.socket,
      pidFile: join(this.dir, 'pid'),
      errorLog: join(this.dir, 'error.log'),
      port: this.port,
      bindAddress: '127.0.0.1',
      serverId: this.serverId,
      reportHost: '127.0.0.1',
      runAsRoot: process.getuid?.() === 0,
      settings: { innodb_buffer_pool_size: '64M', innodb_redo_log_capacity: '32M', ...settings },
    });
    writeFileSync(cnf, [text, ...cnfOverrides, ''].join('\n'));
    const { file, args } = mysqldCommand(install, cnf);
    const [launcher, ...rest] = dyingWithUs([file, ...args]);
    const output = openSync(join(this.dir, 'output.log'), 'a');
    const child = spawn(launcher as string, rest, {
      env: mysqldEnv(process.env),
      cwd: this.dir,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once('error', () => resolve());
      child.once('exit', () => {
        if (this.#child === child) this.#child = null;
        resolve();
      });
    });
    this.#pool = createPool(this.connectionOptions());
    await eventually(`mysqld ${this.dir} accepts connections`, START_MS_MAX, async () => {
      if (this.#child === null) return 'ended';
      await this.query('SELECT 1');
      return 'ready';
    }).then((state) => {
      if (state === 'ended') throw new Error(`mysqld ${this.dir} ended at start: ${this.errorLog.slice(-3000)}`);
    });
  }

  /** For a connection of one's own as the agent. */
  connectionOptions(): PoolOptions {
    return {
      socketPath: this.socket,
      user: INTERNAL_ACCOUNTS.agent,
      password: TEST_AGENT_PASSWORD,
      multipleStatements: true,
      connectionLimit: 24,
    };
  }

  /** As the agent, one of several connections; rows of the last statement that gave any. */
  async query<Row = Record<string, unknown>>(sql: string): Promise<Row[]> {
    if (this.#pool === null) throw new Error(`mysqld ${this.dir} does not run`);
    const [result] = await this.#pool.query<RowDataPacket[] | RowDataPacket[][]>(sql);
    if (!Array.isArray(result)) return [];
    const sets = (result as unknown[]).filter((each) => Array.isArray(each)) as Row[][];
    const several = result.some((each) => Array.isArray(each) || 'affectedRows' in each);
    return several ? (sets.at(-1) ?? []) : (result as Row[]);
  }

  async kill9(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** A clean shutdown. With commits waiting for an ack it commits them. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end('SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    this.#child?.kill(signal);
    await this.#exited;
    const pool = this.#pool;
    this.#pool = null;
    await pool?.end().catch(() => {}); // its connections may have died with the server
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Folders of test processes that are gone: each is some 150 MB. */
function removeOrphans(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(new RegExp(`^${DIR_PREFIX}(\\d+)-`).exec(name)?.[1] ?? 0);
    if (pid === 0 || existsSync(`/proc/${pid}`)) continue;
    rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}
