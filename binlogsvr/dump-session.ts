import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { LinkedAbort } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { AUTH_PLUGIN, FAST_AUTH_OK, verifyCachingSha2 } from '../mysql/auth.ts';
import { encodeHeartbeat } from '../mysql/binlog-event.ts';
import { CAPABILITY } from '../mysql/capabilities.ts';
import { COMMAND, parseBinlogDump, parseBinlogDumpGtid, parseRegisterReplica } from '../mysql/command.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import { encodeAuthMoreData, encodeAuthSwitch, encodeHandshake, parseHandshakeResponse } from '../mysql/handshake.ts';
import { encodePacket, PacketReader } from '../mysql/packet.ts';
import { encodeEof, encodeErr, encodeOk, encodeResultSet } from '../mysql/result.ts';
import { answerQuery, type DumpFacts } from './dump-queries.ts';
import type { DumpServerOptions } from './dump-server.ts';
import { type DumpStart, DumpStream, dumpFileName } from './dump-stream.ts';
import { frameEvent } from './event-frame.ts';

export type DumpAccount = Readonly<{ user: string; password: string }>;

/** A client says little before it dumps; what is longer is not a replica. */
const COMMAND_BYTES_MAX = 4 * 1024 * 1024;
const LOGIN_TIMEOUT_MS = 10_000;
const HEARTBEAT_DEFAULT_MS = 30_000;
const HEARTBEAT_MIN_MS = 10;
const DUMP_NON_BLOCK = 0x01;

const SERVER_CAPABILITIES =
  CAPABILITY.LONG_PASSWORD |
  CAPABILITY.LONG_FLAG |
  CAPABILITY.CONNECT_WITH_DB |
  CAPABILITY.PROTOCOL_41 |
  CAPABILITY.TRANSACTIONS |
  CAPABILITY.SECURE_CONNECTION |
  CAPABILITY.MULTI_RESULTS |
  CAPABILITY.PLUGIN_AUTH |
  CAPABILITY.PLUGIN_AUTH_LENENC_CLIENT_DATA |
  CAPABILITY.CONNECT_ATTRS;

/**
 * One client of the dump server.
 *
 *   greeting ─► login ─► commands (queries, REGISTER_REPLICA) ─► dump until either side leaves
 *                 └── wrong account: ERR 1045
 */
export class DumpSession {
  readonly #socket: Socket;
  readonly #id: number;
  readonly #options: DumpServerOptions;
  readonly #refuse: boolean;
  readonly #reader = new PacketReader({ maxPayloadBytes: COMMAND_BYTES_MAX });
  readonly #gone = new AbortController();
  readonly #variables = new Map<string, string>();
  #wake: (() => void) | null = null;
  #user = '';

  constructor(socket: Socket, id: number, options: DumpServerOptions, refuse: boolean) {
    this.#socket = socket;
    this.#id = id;
    this.#options = options;
    this.#refuse = refuse;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => this.close());
    socket.on('close', () => this.close());
  }

  get name(): string {
    return `${this.#user || 'unauthenticated'}#${this.#id}`;
  }

  close(): void {
    if (this.#gone.signal.aborted) return;
    this.#gone.abort();
    this.#socket.destroy();
    this.#wake?.();
  }

  /** Serves the client until it leaves; rejects with the reason when it was thrown out. */
  async run(): Promise<void> {
    try {
      if (this.#refuse) {
        this.#send(encodeErr({ errno: 1040, sqlState: '08004', message: 'Too many connections' }), 0);
        return;
      }
      const cancel = this.#options.clock.after(LOGIN_TIMEOUT_MS, () => this.close());
      try {
        await this.#logIn();
      } finally {
        cancel();
      }
      await this.#commands();
    } catch (error) {
      if (!this.#gone.signal.aborted) throw error;
    } finally {
      this.#socket.end();
      this.#gone.abort();
    }
  }

  async #logIn(): Promise<void> {
    const { account, serverVersion } = this.#options;
    const nonce = randomNonce();
    this.#send(
      encodeHandshake({
        serverVersion,
        connectionId: this.#id,
        scramble: nonce,
        authPlugin: AUTH_PLUGIN.CACHING_SHA2,
        capabilities: SERVER_CAPABILITIES,
        charset: 255,
        status: 2,
      }),
      0,
    );
    let packet = await this.#next();
    const response = parseHandshakeResponse(packet.payload);
    this.#user = response.user;
    let proof: Uint8Array = response.authResponse;
    if (response.plugin !== AUTH_PLUGIN.CACHING_SHA2) {
      this.#send(encodeAuthSwitch({ plugin: AUTH_PLUGIN.CACHING_SHA2, scramble: nonce }), packet.sequence + 1);
      packet = await this.#next();
      proof = packet.payload;
    }
    if (response.user !== account.user || !verifyCachingSha2(account.password, nonce, proof)) {
      const message = `Access denied for user '${response.user}' (using password: ${proof.length > 0 ? 'YES' : 'NO'})`;
      this.#send(encodeErr({ errno: 1045, sqlState: '28000', message }), packet.sequence + 1);
      throw new PhxError('MYSQL_AUTH', `log in: wrong account or password for '${response.user}'`);
    }
    this.#send(encodeAuthMoreData(Buffer.from([FAST_AUTH_OK])), packet.sequence + 1);
    this.#send(encodeOk({}), packet.sequence + 2);
  }

  async #commands(): Promise<void> {
    for (;;) {
      const { payload } = await this.#next();
      switch (payload[0]) {
        case COMMAND.QUIT:
          return;
        case COMMAND.PING:
        case COMMAND.INIT_DB:
          this.#send(encodeOk({}), 1);
          break;
        case COMMAND.QUERY:
          this.#answer(payload.subarray(1).toString());
          break;
        case COMMAND.REGISTER_REPLICA:
          parseRegisterReplica(payload);
          this.#send(encodeOk({}), 1);
          break;
        case COMMAND.BINLOG_DUMP: {
          const { file, position, flags } = parseBinlogDump(payload);
          return this.#dump({ kind: 'file', name: file, position }, flags);
        }
        case COMMAND.BINLOG_DUMP_GTID: {
          const { gtidSet, flags } = parseBinlogDumpGtid(payload);
          return this.#dump({ kind: 'gtid', has: GtidSet.decode(gtidSet) }, flags);
        }
        default:
          this.#send(encodeErr({ errno: 1047, sqlState: '08S01', message: 'Unknown command' }), 1);
      }
    }
  }

  #answer(sql: string): void {
    const answer = answerQuery(sql, this.#variables, this.#facts());
    if (answer.kind === 'ok') this.#send(encodeOk({}), 1);
    else if (answer.kind === 'error') this.#send(encodeErr(answer), 1);
    else {
      this.#socket.write(
        encodeResultSet(
          [...answer.columns],
          answer.rows.map((row) => [...row]),
          1,
          { deprecateEof: false },
        ),
      );
    }
  }

  #facts(): DumpFacts {
    const { state } = this.#options.source;
    return {
      serverId: this.#options.serverId,
      serverUuid: this.#options.serverUuid,
      serverVersion: this.#options.serverVersion,
      file: state.file === null ? '' : dumpFileName(state.file.epoch, state.file.name),
      position: 4,
      gtidSet: state.gtidSet,
      nowWallMs: this.#options.clock.wall(),
    };
  }

  async #dump(start: DumpStart, flags: number): Promise<void> {
    const checksum = this.#variables.get('source_binlog_checksum') ?? this.#variables.get('master_binlog_checksum');
    if (checksum === undefined) {
      this.#fatal(
        'the log holds CRC32 checksums: SET @source_binlog_checksum = @@global.binlog_checksum before the dump',
      );
      return;
    }
    // mysqlbinlog says NONE: what is made here then comes without, what is in the log keeps its own.
    const made = { serverId: this.#options.serverId, crc: checksum.toUpperCase() === 'CRC32' };
    let sequence = 1;
    let sentAt = this.#options.clock.now();
    const send = async (events: readonly Buffer[]): Promise<void> => {
      const packets: Buffer[] = [];
      for (const event of events) {
        const framed = frameEvent(event, sequence);
        sequence = framed.next;
        packets.push(...framed.packets);
      }
      this.#socket.cork();
      let room = true;
      for (const packet of packets) room = this.#socket.write(packet);
      this.#socket.uncork();
      if (!room) await once(this.#socket, 'drain', { signal: this.#gone.signal });
      sentAt = this.#options.clock.now();
    };
    const periodMs = this.#heartbeatMs();
    // Also while the log goes on with nothing to send: of a large transaction nothing is before all of it is there.
    const beat = async (stream: DumpStream): Promise<void> => {
      if (this.#options.clock.now() - sentAt < periodMs) return;
      sentAt = this.#options.clock.now();
      const { file, position } = stream.at;
      if (file !== '') await send([encodeHeartbeat({ file, logPos: position, ...made })]);
    };
    try {
      const { source, totals } = this.#options;
      const stream = await DumpStream.open(source, start, totals === undefined ? made : { ...made, totals });
      this.#options.log.info('dump started', { client: this.name, from: describe(start) });
      for (;;) {
        for await (const events of stream.events()) {
          if (events.length > 0) await send(events);
          else await beat(stream);
        }
        if ((flags & DUMP_NON_BLOCK) !== 0) {
          this.#send(encodeEof(), sequence & 0xff);
          return;
        }
        await this.#news(stream, sentAt + periodMs - this.#options.clock.now());
        await beat(stream);
      }
    } catch (error) {
      if (this.#gone.signal.aborted) return;
      this.#fatal(reasonOf(error), sequence & 0xff);
      throw error;
    }
  }

  #heartbeatMs(): number {
    const asked = this.#variables.get('source_heartbeat_period') ?? this.#variables.get('master_heartbeat_period');
    return Math.max(HEARTBEAT_MIN_MS, asked === undefined ? HEARTBEAT_DEFAULT_MS : Number(asked) / 1e6);
  }

  /** Until something new is applied, `ms` at the most. */
  async #news(stream: DumpStream, ms: number): Promise<void> {
    using timeout = new LinkedAbort(this.#gone.signal);
    const cancel = this.#options.clock.after(Math.max(0, ms), () => timeout.abort());
    try {
      await stream.wait(timeout.signal);
    } catch (error) {
      if (this.#gone.signal.aborted || !timeout.signal.aborted) throw error;
    } finally {
      cancel();
    }
  }

  #fatal(message: string, sequence = 1): void {
    this.#send(encodeErr({ errno: 1236, sqlState: 'HY000', message }), sequence);
  }

  #send(payload: Uint8Array, sequence: number): void {
    if (!this.#gone.signal.aborted) this.#socket.write(encodePacket(payload, sequence & 0xff));
  }

  #receive(chunk: Buffer): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#options.log.warn('dump client sent garbage', { client: this.name, reason: reasonOf(error) });
      this.close();
      return;
    }
    this.#wake?.();
  }

  async #next(): Promise<{ sequence: number; payload: Buffer }> {
    for (;;) {
      const packet = this.#reader.next();
      if (packet !== null) return packet;
      if (this.#gone.signal.aborted) throw new PhxError('CANCELLED', 'client left');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }
}

/** 20 bytes without 0 and '$', as servers send them: some clients take the nonce for a string. */
function randomNonce(): Buffer {
  return Buffer.from(
    randomBytes(20)
      .map((byte) => 33 + (byte % 90))
      .map((byte) => (byte === 36 ? 37 : byte)),
  );
}

function describe(start: DumpStart): string {
  return start.kind === 'gtid' ? `after ${start.has.toString() || 'nothing'}` : `${start.name}:${start.position}`;
}
