import { PhxError } from '../base/errors.ts';
import { EVENT_HEADER_BYTES } from './binlog-event.ts';
import { asBuffer, ByteReader } from './byte-reader.ts';
import { u64le } from './lenenc.ts';

const MAGIC = 0xef;
const ACK_WANTED = 0x1;
const HEADER_BYTES = 2;
/** Where an event's own size is. */
const EVENT_SIZE_AT = 9;

export type DumpPacket = Readonly<{
  /** A view of the payload. */
  event: Buffer;
  ackRequested: boolean;
  hasHeader: boolean;
}>;

export type Ack = Readonly<{ file: string; position: number }>;

/**
 * Reads one packet of a dump: `00 | [EF | flags] | event`. ERR and EOF packets are the caller's (result.ts).
 *
 * The header is there if the event's size field, found two bytes further on, equals the bytes left. Its first byte
 * proves nothing: a plain event begins with EF for one second in every 256 (protocol-findings 9). A real 9.7 source
 * sends the header with every packet once the replica asked for semi-sync: artificial events and heartbeats too
 * (testdata/dump-semi-sync), and also while rpl_semi_sync_source_enabled is OFF; then no packet asks for an ack. So a
 * packet without it means that the source has no semi-sync plugin or did not hear us ask: MYSQL_PROTOCOL. That commits
 * wait for acks does not follow from the header: only `ackRequested` at the end of a new transaction shows it.
 */
export function parseDumpPacket(payload: Uint8Array, options: Readonly<{ semiSync: boolean }>): DumpPacket {
  const bytes = asBuffer(payload);
  if (bytes[0] !== 0) {
    throw new PhxError('MYSQL_PROTOCOL', `read dump packet: begins with ${bytes[0] ?? 'nothing'}, not 0`);
  }
  if (!options.semiSync) {
    if (!eventFills(bytes, 1)) throw new PhxError('MYSQL_PROTOCOL', 'read dump packet: not exactly one event');
    return { event: bytes.subarray(1), ackRequested: false, hasHeader: false };
  }
  if (bytes[1] === MAGIC && eventFills(bytes, 1 + HEADER_BYTES)) {
    return { event: bytes.subarray(1 + HEADER_BYTES), ackRequested: (bytes[2]! & ACK_WANTED) !== 0, hasHeader: true };
  }
  if (eventFills(bytes, 1)) {
    throw new PhxError('MYSQL_PROTOCOL', 'read dump packet: an event without semi-sync header', {
      hint: 'is the semisync_source plugin loaded on the source?',
    });
  }
  throw new PhxError('MYSQL_PROTOCOL', 'read dump packet: not exactly one event');
}

function eventFills(bytes: Buffer, at: number): boolean {
  return bytes.length >= at + EVENT_HEADER_BYTES && bytes.readUInt32LE(at + EVENT_SIZE_AT) === bytes.length - at;
}

/** EF | position u64 | file name: a payload to frame with sequence 0 and to send in one write (the receiver is picky). */
export function encodeAck(file: string, position: number): Buffer {
  return Buffer.concat([Buffer.from([MAGIC]), u64le(position), Buffer.from(file)]);
}

export function parseAck(payload: Uint8Array): Ack {
  const reader = new ByteReader(payload, 'semi-sync ack');
  const magic = reader.u8();
  if (magic !== MAGIC) throw reader.bad(`begins with ${magic}`);
  const position = reader.u64();
  if (reader.remaining === 0) throw reader.bad('no file name');
  return { position, file: reader.text(reader.remaining) };
}
