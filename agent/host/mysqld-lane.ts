import { type Connection, createConnection } from 'mysql2/promise';
import { withDeadline } from '../../base/async.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import type { Row } from '../mysqld-admin.ts';

/** A login over the local socket takes about 2 ms. */
const CONNECT_MS_MAX = 2_000;

export type MysqlLogin = Readonly<{ socket: string; user: string; password: string }>;

/**
 * One connection to the local mysqld for one statement at a time, opened when needed and kept: while an ACL statement
 * waits for its ack nobody can log in, so what is open already must not be given up lightly (protocol-findings 13). A
 * statement that misses its deadline keeps the lane busy until it ends; `destroy` gives it up.
 */
export class MysqldLane {
  readonly #login: MysqlLogin;
  readonly #clock: Clock;
  #connection: Connection | null = null;
  #opening: Promise<Connection> | null = null;
  #busy = false;
  #generation = 0;

  constructor(login: MysqlLogin, clock: Clock) {
    this.#login = login;
    this.#clock = clock;
  }

  get busy(): boolean {
    return this.#busy;
  }

  get open(): boolean {
    return this.#connection !== null;
  }

  /** Rejects with MYSQL_DOWN (cannot be reached), MYSQL_AUTH, or TIMEOUT. */
  async connect(deadlineMs = CONNECT_MS_MAX): Promise<void> {
    await withDeadline(this.#clock, deadlineMs, 'log in to mysqld', this.#open());
  }

  /**
   * Runs `statements` in one round trip and hands back the rows of each (none for one that has no result). An error of
   * the server is rejected as it is (see `sqlErrno`); a broken connection as MYSQL_DOWN; no answer as TIMEOUT.
   */
  async run(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]> {
    if (this.#busy) throw new PhxError('BUSY', 'ask mysqld: the statement before has not ended');
    this.#busy = true;
    const generation = this.#generation;
    const work = this.#query(statements).finally(() => {
      if (generation === this.#generation) this.#busy = false;
    });
    return await withDeadline(this.#clock, deadlineMs, `mysqld: ${excerpt(statements)}`, work);
  }

  /** Drops the connection; a statement under way goes on in the server, unheard. */
  destroy(): void {
    this.#generation += 1;
    this.#busy = false;
    this.#connection?.destroy();
    this.#connection = null;
    this.#opening = null;
  }

  async #query(statements: readonly string[]): Promise<readonly (readonly Row[])[]> {
    const connection = await this.#open();
    try {
      const [result] = await connection.query(statements.join(';\n'));
      const results = (statements.length === 1 ? [result] : result) as unknown[];
      return results.map((each) => (Array.isArray(each) ? (each as Row[]) : []));
    } catch (error) {
      if (sqlErrno(error) !== null) throw error;
      if (connection === this.#connection) this.destroy();
      throw new PhxError('MYSQL_DOWN', `ask mysqld: ${reasonOf(error)}`, { cause: error });
    }
  }

  #open(): Promise<Connection> {
    if (this.#connection !== null) return Promise.resolve(this.#connection);
    const generation = this.#generation;
    this.#opening ??= this.#logIn().then(
      (connection) => {
        if (generation !== this.#generation) {
          connection.destroy();
          throw new PhxError('CANCELLED', 'log in to mysqld: given up');
        }
        connection.on('error', () => {
          if (this.#connection === connection) this.destroy();
        });
        this.#connection = connection;
        this.#opening = null;
        return connection;
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#opening = null;
        throw error;
      },
    );
    return this.#opening;
  }

  async #logIn(): Promise<Connection> {
    const { socket, user, password } = this.#login;
    try {
      return await createConnection({
        socketPath: socket,
        user,
        password,
        multipleStatements: true,
        supportBigNumbers: true,
        bigNumberStrings: true,
        dateStrings: true,
        connectTimeout: CONNECT_MS_MAX,
      });
    } catch (error) {
      const denied = sqlErrno(error) === 1045;
      throw new PhxError(denied ? 'MYSQL_AUTH' : 'MYSQL_DOWN', `log in to mysqld as ${user}: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  }
}

/** Number of an error the server itself sent, else null. */
export function sqlErrno(error: unknown): number | null {
  const { errno, sqlState } = (error ?? {}) as { errno?: unknown; sqlState?: unknown };
  return typeof errno === 'number' && typeof sqlState === 'string' ? errno : null;
}

const ER_CON_COUNT_ERROR = 1040;

/** All connections are taken, those mysqld keeps for its administrators too. */
export function isAtConnectionLimit(error: unknown): boolean {
  return error instanceof PhxError && sqlErrno(error.cause) === ER_CON_COUNT_ERROR;
}

/** The verb only: statements may hold passwords. */
function excerpt(statements: readonly string[]): string {
  return statements
    .map((text) => text.trim().split(/\s+/).slice(0, 3).join(' '))
    .slice(0, 3)
    .join('; ');
}
