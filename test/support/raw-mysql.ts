import { createConnection, type Socket } from 'node:net';
import { clearPassword, FULL_AUTH, scrambleCachingSha2 } from '../../mysql/auth.ts';
import { CHARSET_UTF8MB4, CLIENT_CAPABILITIES } from '../../mysql/capabilities.ts';
import { encodeQuery } from '../../mysql/command.ts';
import { encodeHandshakeResponse, isAuthMoreData, parseAuthMoreData, parseHandshake } from '../../mysql/handshake.ts';
import { encodePacket, PacketReader } from '../../mysql/packet.ts';
import { isErr, parseErr } from '../../mysql/result.ts';
import { type QueryResult, ResultReader } from '../../mysql/result-reader.ts';

/**
 * A connection to a mysqld over its unix socket, made only of our codecs, that keeps the bytes both sides sent since the
 * last `cut`. For recording fixtures and for tests that need packets as they are.
 */
export class RawMysql {
  readonly #socket: Socket;
  readonly #reader = new PacketReader();
  readonly #waiting: { resolve: (payload: Buffer) => void; reject: (error: Error) => void }[] = [];
  readonly #ready: Buffer[] = [];
  #received: Buffer[] = [];
  #sent: Buffer[] = [];
  #sequence = 0;
  #closed: Error | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk);
      this.#reader.push(chunk);
      for (let packet = this.#reader.next(); packet !== null; packet = this.#reader.next()) {
        this.#sequence = packet.sequence;
        const waiter = this.#waiting.shift();
        if (waiter === undefined) this.#ready.push(packet.payload);
        else waiter.resolve(packet.payload);
      }
    });
    const fail = (error: Error): void => {
      this.#closed ??= error;
      for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#closed);
    };
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('mysqld closed the connection')));
  }

  static async open(path: string, user: string, password: string): Promise<RawMysql> {
    const connection = new RawMysql(createConnection({ path }));
    const greeting = parseHandshake(await connection.next());
    connection.send(
      encodeHandshakeResponse({
        user,
        authResponse: scrambleCachingSha2(password, greeting.scramble),
        plugin: 'caching_sha2_password',
        capabilities: CLIENT_CAPABILITIES,
        charset: CHARSET_UTF8MB4,
        maxPacket: 0x4000_0000,
        attributes: { _client_name: 'fixture' },
      }),
      connection.#sequence + 1,
    );
    for (;;) {
      const answer = await connection.next();
      if (isErr(answer)) throw new Error(parseErr(answer).message);
      if (!isAuthMoreData(answer)) return connection;
      if (parseAuthMoreData(answer)[0] === FULL_AUTH)
        connection.send(clearPassword(password), connection.#sequence + 1);
    }
  }

  /** The next payload the server sends. */
  next(): Promise<Buffer> {
    const ready = this.#ready.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  send(payload: Uint8Array, sequence = 0): void {
    const packet = encodePacket(payload, sequence);
    this.#sent.push(packet);
    this.#socket.write(packet);
  }

  async query(sql: string): Promise<QueryResult> {
    this.send(encodeQuery(sql));
    const reader = new ResultReader({ deprecateEof: false });
    for (;;) {
      const result = reader.push(await this.next());
      if (result !== null) return result;
    }
  }

  /** Runs statements; an error is thrown. */
  async run(...statements: readonly string[]): Promise<void> {
    for (const sql of statements) {
      const result = await this.query(sql);
      if (result.kind === 'err') throw new Error(`${sql}: ${result.err.message}`);
    }
  }

  async rows(sql: string): Promise<readonly (readonly (string | null)[])[]> {
    const result = await this.query(sql);
    if (result.kind !== 'rows') throw new Error(`${sql}: ${JSON.stringify(result)}`);
    return result.rows;
  }

  /** What was received and sent since the last cut. */
  cut(): { server: Buffer; client: Buffer } {
    const bytes = { server: Buffer.concat(this.#received), client: Buffer.concat(this.#sent) };
    this.#received = [];
    this.#sent = [];
    return bytes;
  }

  close(): void {
    this.#socket.destroy();
  }
}
