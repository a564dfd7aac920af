import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';
import { mysqldEnv } from '../../agent/mysqld-command.ts';
import { dyingWithUs, runCommand } from '../../base/run-command.ts';
import { testMysqlInstall } from './mysqld.ts';
import { eventually } from './wait.ts';

/** A MySQL server as somebody else runs it: none of the cluster's settings, root without a password on its socket. */
export class PlainServer {
  readonly datadir: string;
  readonly #socket: string;
  readonly #common: readonly string[];
  #child: ChildProcess | null = null;

  private constructor(home: string) {
    this.datadir = join(home, 'data');
    this.#socket = join(home, 's');
    const { command, baseArgs } = testMysqlInstall();
    const user = process.getuid?.() === 0 ? ['--user=root'] : [];
    this.#common = dyingWithUs([...command, '--no-defaults', ...baseArgs, ...user, `--datadir=${this.datadir}`]);
  }

  static async make(home: string): Promise<PlainServer> {
    mkdirSync(home, { recursive: true });
    const server = new PlainServer(home);
    const args = ['--initialize-insecure', '--innodb-redo-log-capacity=32M'];
    const { code, stderr } = await runCommand([...server.#common, ...args], { env: mysqldEnv(process.env) });
    if (code !== 0) throw new Error(`initialise: ${stderr.slice(-2000)}`);
    return server;
  }

  async start(settings: readonly string[]): Promise<void> {
    const [file, ...args] = [
      ...this.#common,
      `--socket=${this.#socket}`,
      `--pid-file=${this.#socket}.pid`,
      '--skip-networking',
      '--mysqlx=OFF',
      '--secure-file-priv=NULL',
      '--innodb-redo-log-capacity=32M',
      ...settings,
    ];
    const child = spawn(file as string, args, { stdio: 'ignore', env: mysqldEnv(process.env) });
    child.once('exit', () => {
      if (this.#child === child) this.#child = null;
    });
    this.#child = child;
    await eventually('the plain server answers', 120_000, async () => {
      await this.query('SELECT 1');
      return true;
    });
  }

  /** In one session; the rows of the last statement. */
  async query<Row = Record<string, unknown>>(...statements: readonly string[]): Promise<Row[]> {
    const connection = await createConnection({ socketPath: this.#socket, user: 'root' });
    try {
      let rows: unknown = [];
      for (const statement of statements) [rows] = await connection.query(statement);
      return rows as Row[];
    } finally {
      connection.destroy();
    }
  }

  /** In order. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    child.kill(signal);
    await eventually('the plain server ends', 120_000, () => this.#child === null);
  }
}
