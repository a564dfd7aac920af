import { createConnection, type Socket } from 'node:net';
import { PhxError } from '../base/errors.ts';
import { AUTH_PLUGIN, FAST_AUTH_OK, FULL_AUTH, scrambleCachingSha2, scrambleNative } from '../mysql/auth.ts';
import { CAPABILITY } from '../mysql/capabilities.ts';
import { COMMAND, encodeBinlogDumpGtid, encodeQuery } from '../mysql/command.ts';
import { encodeHandshakeResponse, parseAuthSwitch, parseHandshake } from '../mysql/handshake.ts';
import { encodePacket, PacketReader } from '../mysql/packet.ts';
import { isErr, isOk, parseErr } from '../mysql/result.ts';
import { type QueryResult, ResultReader } from '../mysql/result-reader.ts';
import type { ConnectSource, SourceConnection } from './source-connection.ts';

const MAX_PACKET_BYTES = 0x4000_0000;
const CLIENT_CAPABILITIES =
  CAPABILITY.LONG_PASSWORD |
  CAPABILITY.LONG_FLAG |
  CAPABILITY.PROTOCOL_41 |
  CAPABILITY.TRANSACTIONS |
  CAPABILITY.SECURE_CONNECTION |
  CAPABILITY.PLUGIN_AUTH;

type Waiter = Readonly<{ resolve(payload: Buffer): void; reject(error: Error): void }>;

/**
 * One connection to the local mysqld over its unix socket: log in, set session variables, then play the replica.
 * The socket is local, so a full caching_sha2_password exchange may send the password as it is (manual: 8.4.1.2).
 * Errors: MYSQL_AUTH (refused), MYSQL_DOWN (cannot connect, connection lost), MYSQL_PROTOCOL.
 */
export class MysqldSource implements SourceConnection {
  readonly #socket: Socket;
  readonly #reader = new PacketReader({ maxPayloadBytes: MAX_PACKET_BYTES });
  readonly #waiters: Waiter[] = [];
  /** Packets nobody has asked for yet: mysqld sends "fast auth ok" and OK in one segment. */
  readonly #inbox: Buffer[] = [];
  #lastSequence = -1;
  #onPacket: ((payload: Buffer) => void) | null = null;
  #closed: Error | null = null;
  readonly #closeListeners: ((error: Error) => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#fail(new PhxError('MYSQL_DOWN', `read mysqld: ${error.message}`)));
    socket.on('close', () => this.#fail(new PhxError('MYSQL_DOWN', 'mysqld closed the connection')));
  }

  /** Connects and logs in. The caller bounds the time by `signal`. */
  static async open(
    options: Readonly<{ socketPath: string; user: string; password: string; signal: AbortSignal }>,
  ): Promise<MysqldSource> {
    const socket = createConnection({ path: options.socketPath });
    const connection = new MysqldSource(socket);
    const abort = (): void => connection.destroy(new PhxError('TIMEOUT', 'log in to mysqld: no answer in time'));
    options.signal.addEventListener('abort', abort, { once: true });
    try {
      if (options.signal.aborted) abort();
      await connection.#logIn(options.user, options.password);
      return connection;
    } catch (error) {
      connection.destroy();
      throw error;
    } finally {
      options.signal.removeEventListener('abort', abort);
    }
  }

  get alive(): boolean {
    return this.#closed === null;
  }

  onClose(listener: (error: Error) => void): void {
    if (this.#closed !== null) listener(this.#closed);
    else this.#closeListeners.push(listener);
  }

  /** Runs one statement; rejects with MYSQL_PROTOCOL if mysqld refuses it. */
  async query(sql: string): Promise<Exclude<QueryResult, { kind: 'err' }>> {
    this.#write(encodeQuery(sql), 0);
    const reader = new ResultReader({ deprecateEof: false });
    for (;;) {
      const result = reader.push(await this.#next());
      if (result?.kind === 'err') throw new PhxError('MYSQL_PROTOCOL', `mysqld refused ${sql}: ${result.err.message}`);
      if (result !== null) return result;
    }
  }

  async ping(): Promise<void> {
    this.#write(Buffer.from([COMMAND.PING]), 0);
    const reply = await this.#next();
    if (!isOk(reply)) throw new PhxError('MYSQL_PROTOCOL', 'mysqld does not answer a ping with OK');
  }

  startDump(options: Readonly<{ serverId: number; gtidSet: Uint8Array; onPacket: (payload: Buffer) => void }>): void {
    this.#onPacket = options.onPacket;
    this.#write(
      encodeBinlogDumpGtid({ flags: 0, serverId: options.serverId, file: '', position: 4, gtidSet: options.gtidSet }),
      0,
    );
  }

  /** One write of one packet, sequence 0: the ack receiver gives up on a split one (design 9.9). */
  sendAck(payload: Uint8Array): void {
    this.#write(payload, 0);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(error: Error = new PhxError('CANCELLED', 'connection closed by us')): void {
    this.#fail(error);
  }

  async #logIn(user: string, password: string): Promise<void> {
    const first = await this.#next();
    if (isErr(first)) throw refused(first);
    const greeting = parseHandshake(first);
    const respond = (plugin: string, nonce: Uint8Array): Uint8Array =>
      plugin === AUTH_PLUGIN.NATIVE ? scrambleNative(password, nonce) : scrambleCachingSha2(password, nonce);
    this.#write(
      encodeHandshakeResponse({
        user,
        authResponse: respond(greeting.authPlugin, greeting.scramble),
        plugin: greeting.authPlugin,
        capabilities: CLIENT_CAPABILITIES,
        charset: 45,
        maxPacket: MAX_PACKET_BYTES,
      }),
      this.#lastSequence + 1,
    );
    for (;;) {
      const reply = await this.#next();
      if (isErr(reply)) throw refused(reply);
      if (isOk(reply)) return;
      if (reply[0] === 0xfe) {
        const change = parseAuthSwitch(reply);
        this.#write(respond(change.plugin, change.scramble), this.#lastSequence + 1);
      } else if (reply[0] === 0x01 && reply[1] === FULL_AUTH) {
        this.#write(Buffer.concat([Buffer.from(password), Buffer.from([0])]), this.#lastSequence + 1);
      } else if (!(reply[0] === 0x01 && reply[1] === FAST_AUTH_OK)) {
        throw new PhxError(
          'MYSQL_PROTOCOL',
          `log in to mysqld: unexpected packet ${reply.subarray(0, 8).toString('hex')}`,
        );
      }
    }
  }

  #next(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const ready = this.#inbox.shift();
      if (ready !== undefined) resolve(ready);
      else if (this.#closed !== null) reject(this.#closed);
      else this.#waiters.push({ resolve, reject });
    });
  }

  #write(payload: Uint8Array, sequence: number): void {
    if (this.#closed === null) this.#socket.write(encodePacket(payload, sequence));
  }

  #receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk);
      for (let packet = this.#reader.next(); packet !== null; packet = this.#reader.next()) {
        this.#lastSequence = packet.sequence;
        this.#deliver(packet.payload);
        if (this.#closed !== null) return;
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #deliver(payload: Buffer): void {
    if (this.#onPacket !== null) this.#onPacket(payload);
    else if (this.#waiters.length > 0) (this.#waiters.shift() as Waiter).resolve(payload);
    else this.#inbox.push(payload);
  }

  #fail(error: Error): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    this.#socket.destroy();
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    for (const listener of this.#closeListeners.splice(0)) listener(error);
  }
}

function refused(payload: Buffer): PhxError {
  const { errno, message } = parseErr(payload);
  return new PhxError('MYSQL_AUTH', `log in to mysqld: ${message} (${errno})`);
}

/** The way to this host's mysqld, as `account`. */
export function mysqldSource(account: Readonly<{ user: string; password: string }>): ConnectSource {
  return (socketPath, signal) => MysqldSource.open({ socketPath, ...account, signal });
}
