import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, createConnection } from 'mysql2/promise';
import { delay } from '../../base/async.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import type { MysqlInstall } from '../../base/mysql-install.ts';
import type { Clock } from '../../base/ports.ts';
import { type CommandResult, dyingWithUs, runCommand } from '../../base/run-command.ts';
import type { Row } from '../mysqld-admin.ts';
import { mysqldEnv } from '../mysqld-command.ts';

/** Crash recovery of a large server takes minutes; one that was stopped in order opens in seconds. */
const START_MS_MAX = 600_000;
const POLL_MS = 50;

export type OfflineServerOptions = Readonly<{
  install: MysqlInstall;
  datadir: string;
  /** Beside the socket and whether nobody else may come in. */
  args: readonly string[];
  clock: Clock;
}>;

/**
 * A mysqld on somebody's data directory that nobody else can reach: no network, a socket in a folder of our own, no grants
 * needed to enter (FLUSH PRIVILEGES brings the others' back). It dies with us; `stop` ends it in order.
 */
export class OfflineServer implements AsyncDisposable {
  readonly #work: string;
  readonly #connection: Connection;
  readonly #ended: Promise<CommandResult>;
  readonly #abort: AbortController;
  #stopped = false;

  private constructor(work: string, connection: Connection, ended: Promise<CommandResult>, abort: AbortController) {
    this.#work = work;
    this.#connection = connection;
    this.#ended = ended;
    this.#abort = abort;
  }

  /** Throws MYSQL_UNSUITABLE with what mysqld said. */
  static async start({ install, datadir, args, clock }: OfflineServerOptions): Promise<OfflineServer> {
    const work = await mkdtemp(join(tmpdir(), 'phxsql-offline-'));
    const socket = join(work, 's');
    const abort = new AbortController();
    const argv = dyingWithUs([
      ...install.command,
      '--no-defaults',
      ...install.baseArgs,
      ...(process.getuid?.() === 0 ? ['--user=root'] : []),
      `--datadir=${datadir}`,
      `--socket=${socket}`,
      `--pid-file=${join(work, 'pid')}`,
      '--skip-networking',
      '--skip-grant-tables',
      '--secure-file-priv=NULL',
      '--loose-mysqlx=OFF',
      '--skip-replica-start',
      '--persisted-globals-load=OFF',
      '--log-error-verbosity=2',
      ...args,
    ]);
    const ended = runCommand(argv, { env: mysqldEnv(process.env), signal: abort.signal });
    ended.catch(() => {}); // told where it matters
    let result: CommandResult | null = null;
    void ended.then(
      (end) => {
        result = end;
      },
      () => {},
    );
    const deadline = clock.now() + START_MS_MAX;
    try {
      for (;;) {
        const connection = await createConnection({ socketPath: socket, user: 'root' }).catch(() => null);
        if (connection !== null) return new OfflineServer(work, connection, ended, abort);
        if (result !== null) throw refused(datadir, result);
        if (clock.now() > deadline) throw new PhxError('TIMEOUT', `open ${datadir}: mysqld does not answer`);
        await delay(clock, POLL_MS);
      }
    } catch (error) {
      abort.abort();
      await ended.catch(() => {});
      await rm(work, { recursive: true, force: true });
      throw error;
    }
  }

  async query(statement: string): Promise<readonly Row[]> {
    const [rows] = await this.#connection.query(statement);
    return Array.isArray(rows) ? (rows as Row[]) : [];
  }

  /** Clean: everything is in the data files. Throws MYSQL_UNSUITABLE if it did not end so. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    await this.#connection.query('SHUTDOWN');
    this.#connection.destroy();
    const { code, signal, stderr } = await this.#ended;
    await rm(this.#work, { recursive: true, force: true });
    if (code !== 0) {
      throw new PhxError(
        'MYSQL_UNSUITABLE',
        `stop mysqld: it ended with ${signal ?? `status ${code}`}: ${stderr.slice(-500)}`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stopped) return;
    await this.stop().catch(async () => {
      this.#abort.abort();
      await this.#ended.catch((error: unknown) => reasonOf(error));
      await rm(this.#work, { recursive: true, force: true });
    });
  }
}

function refused(datadir: string, { code, signal, stderr }: CommandResult): PhxError {
  const errors = stderr.split('\n').filter((line) => line.includes('[ERROR]'));
  const reason = (errors.length === 0 ? stderr.trim().split('\n').slice(-3) : errors.slice(0, 3)).join(' | ');
  return new PhxError(
    'MYSQL_UNSUITABLE',
    `open ${datadir}: mysqld ended with ${signal ?? `status ${code}`}: ${reason}`,
    {
      hint: 'settings that are decided when a data directory is made (lower_case_table_names, innodb_page_size, …) go into [mysqld] of the node configuration: --config FILE',
    },
  );
}
