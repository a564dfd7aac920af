import type { SimProcess } from '../process.ts';
import type { Writes } from './binlog-bytes.ts';
import { Connection } from './connection.ts';
import type { ScriptedMysqld } from './mysqld.ts';

/** The connection broke: whether what was under way has been done, nobody can say. */
export class LostConnection extends Error {
  override readonly name = 'LostConnection';
}

/**
 * A session of an application. Rejections: LostConnection (outcome unknown), SqlError (definitely not done).
 */
export class ClientSession {
  readonly #connection: Connection;

  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  static async open(mysqld: ScriptedMysqld, client: SimProcess): Promise<ClientSession> {
    const lost = (): Error => new LostConnection('lost connection to MySQL server during query');
    return new ClientSession(await Connection.open(mysqld, client, { name: 'app', privileged: false }, lost));
  }

  get alive(): boolean {
    return !this.#connection.closed;
  }

  onClose(listener: () => void): void {
    this.#connection.onClose(listener);
  }

  /** One transaction; resolves when its COMMIT returns. */
  write(writes: Writes): Promise<void> {
    const connection = this.#connection;
    return connection.ask(() => connection.mysqld.write(writes, { alive: () => connection.known }));
  }

  /** What is committed: waiting transactions are not. */
  read(key: string): Promise<string | undefined> {
    const { mysqld } = this.#connection;
    return this.#connection.ask(() => mysqld.process.io('statement', mysqld.times.statement(), () => mysqld.read(key)));
  }

  /** ANALYZE ... UPDATE HISTOGRAM, FLUSH STATUS: gets past super_read_only, gets a GTID, waits for an ack (protocol-findings 14). */
  writeThrough(): Promise<void> {
    return this.#connection.ask(() => this.#connection.mysqld.write({}, { through: true }));
  }

  /** CREATE USER, GRANT: nobody can log in until it returns (protocol-findings 13). */
  writeAcl(writes: Writes): Promise<void> {
    return this.#connection.ask(() => this.#connection.mysqld.write(writes, { acl: true }));
  }

  close(): void {
    this.#connection.close();
  }
}
