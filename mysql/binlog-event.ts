import { crc32 } from 'node:zlib';
import { PhxError } from '../base/errors.ts';
import { asBuffer, ByteReader } from './byte-reader.ts';
import type { Gtid } from './gtid.ts';
import { isTag, TAG_LENGTH_MAX, uuidFromBytes } from './gtid.ts';
import { GtidSet } from './gtid-set.ts';
import { u32le, u64le } from './lenenc.ts';

/*
 * Binlog events, version 4:
 *   timestamp u32 | type u8 | server id u32 | size u32 | log pos u32 | flags u16 | post-header and body | [CRC-32 u32]
 * Decoders take a whole event with its checksum and throw BINLOG_CORRUPT on what they cannot read; an event stays a
 * view of the bytes it came in. `withCrc` (default true) says whether the last four bytes are the checksum.
 */

export const EVENT_TYPE = {
  QUERY: 2,
  STOP: 3,
  ROTATE: 4,
  FORMAT_DESCRIPTION: 15,
  XID: 16,
  TABLE_MAP: 19,
  INCIDENT: 26,
  HEARTBEAT: 27,
  IGNORABLE: 28,
  ROWS_QUERY: 29,
  WRITE_ROWS: 30,
  UPDATE_ROWS: 31,
  DELETE_ROWS: 32,
  GTID: 33,
  ANONYMOUS_GTID: 34,
  PREVIOUS_GTIDS: 35,
  TRANSACTION_CONTEXT: 36,
  VIEW_CHANGE: 37,
  XA_PREPARE: 38,
  PARTIAL_UPDATE_ROWS: 39,
  TRANSACTION_PAYLOAD: 40,
  HEARTBEAT_V2: 41,
  GTID_TAGGED: 42,
} as const;

export const EVENT_HEADER_BYTES = 19;
export const EVENT_CRC_BYTES = 4;
/** The server still writes this file (or died doing so). Only in format descriptions, and not covered by their CRC. */
export const EVENT_FLAG_IN_USE = 0x1;
/** Made for the stream, not in any file. */
export const EVENT_FLAG_ARTIFICIAL = 0x20;
/** A replica that does not know the type may skip the event. */
export const EVENT_FLAG_IGNORABLE = 0x80;
export const CHECKSUM_NONE = 0;
export const CHECKSUM_CRC32 = 1;

const TYPE_AT = 4;
const SIZE_AT = 9;
const LOG_POS_AT = 13;
const FLAGS_AT = 17;
const SERVER_VERSION_BYTES = 50;
const FDE_CREATED_AT = EVENT_HEADER_BYTES + 2 + SERVER_VERSION_BYTES;
const FDE_BYTES_MIN = FDE_CREATED_AT + 4 + 1 + 1 + EVENT_CRC_BYTES;

export type EventHeader = Readonly<{
  timestamp: number;
  type: number;
  serverId: number;
  /** Of the whole event, header and checksum included. */
  size: number;
  /** Where the next event begins in its file; wraps at 4 GiB. 0 in artificial events. */
  logPos: number;
  flags: number;
}>;

/** The header at `offset`; throws if the size it claims could not be that of an event. */
export function parseEventHeader(bytes: Uint8Array, offset = 0): EventHeader {
  const reader = new ByteReader(bytes.subarray(offset), 'event header', 'BINLOG_CORRUPT');
  const timestamp = reader.u32();
  const type = reader.u8();
  const serverId = reader.u32();
  const size = reader.u32();
  const logPos = reader.u32();
  const flags = reader.u16();
  if (size < EVENT_HEADER_BYTES) throw reader.bad(`an event of ${size} bytes`);
  return { timestamp, type, serverId, size, logPos, flags };
}

/** Throws BINLOG_CORRUPT unless `event` is one whole event whose CRC-32 is right. */
export function checkEventCrc(event: Uint8Array): void {
  const bytes = asBuffer(event);
  const { type, size, logPos } = parseEventHeader(bytes);
  if (size !== bytes.length || size < EVENT_HEADER_BYTES + EVENT_CRC_BYTES) {
    throw corrupt(`event of type ${type} says ${size} bytes, has ${bytes.length}`);
  }
  const stored = bytes.readUInt32LE(size - EVENT_CRC_BYTES);
  const computed = eventCrc(bytes);
  if (stored !== computed) {
    throw corrupt(
      `event of type ${type} ending at ${logPos}: checksum ${hex(stored)}, its bytes have ${hex(computed)}`,
    );
  }
}

/** CRC-32 of an event, as its last four bytes should be: a format description counts as no longer in use. */
export function eventCrc(event: Uint8Array): number {
  const end = event.length - EVENT_CRC_BYTES;
  if (event[TYPE_AT] !== EVENT_TYPE.FORMAT_DESCRIPTION) return crc32(event.subarray(0, end));
  return crc32(
    event.subarray(FLAGS_AT + 1, end),
    crc32(Uint8Array.of(event[FLAGS_AT]! & ~EVENT_FLAG_IN_USE), crc32(event.subarray(0, FLAGS_AT))),
  );
}

function corrupt(message: string, hint?: string): PhxError {
  return new PhxError('BINLOG_CORRUPT', `read binlog: ${message}`, hint === undefined ? {} : { hint });
}

const hex = (n: number): string => n.toString(16).padStart(8, '0');

/** A reader over what is between header and checksum, after making sure of type and size. */
function bodyOf(event: Uint8Array, types: readonly number[], what: string, withCrc: boolean): ByteReader {
  const header = parseEventHeader(event);
  const end = event.length - (withCrc ? EVENT_CRC_BYTES : 0);
  if (header.size !== event.length || end < EVENT_HEADER_BYTES || !types.includes(header.type)) {
    throw corrupt(`no ${what}: type ${header.type}, ${header.size} bytes said, ${event.length} there`);
  }
  return new ByteReader(event.subarray(EVENT_HEADER_BYTES, end), what, 'BINLOG_CORRUPT');
}

export type FormatDescription = Readonly<{
  serverVersion: string;
  /** Unix time the server started, if this is the first file since; else 0. */
  created: number;
  /** By event type - 1. */
  postHeaderLengths: Uint8Array;
  checksum: number;
  inUse: boolean;
}>;

/** Carries a checksum even if the events after it do not. u16 version = 4 | server version 50 | created u32 | 19 | post-header lengths | checksum algorithm u8 */
export function parseFormatDescription(event: Uint8Array): FormatDescription {
  const reader = bodyOf(event, [EVENT_TYPE.FORMAT_DESCRIPTION], 'format description event', true);
  if (event.length < FDE_BYTES_MIN) throw reader.bad('too short');
  const version = reader.u16();
  if (version !== 4) throw reader.bad(`binlog version ${version}, not 4`);
  const serverVersion = reader.text(SERVER_VERSION_BYTES).replace(/\0.*$/s, '');
  const created = reader.u32();
  const headerBytes = reader.u8();
  if (headerBytes !== EVENT_HEADER_BYTES) throw reader.bad(`event headers of ${headerBytes} bytes`);
  const postHeaderLengths = reader.bytes(reader.remaining - 1);
  const checksum = reader.u8();
  if (checksum !== CHECKSUM_NONE && checksum !== CHECKSUM_CRC32) throw reader.bad(`checksum algorithm ${checksum}`);
  const inUse = (parseEventHeader(event).flags & EVENT_FLAG_IN_USE) !== 0;
  return { serverVersion, created, postHeaderLengths, checksum, inUse };
}

export type Rotate = Readonly<{ file: string; position: number }>;

/** position u64 | name of the next file */
export function parseRotate(event: Uint8Array, withCrc = true): Rotate {
  const reader = bodyOf(event, [EVENT_TYPE.ROTATE], 'rotate event', withCrc);
  const position = reader.u64();
  if (reader.remaining === 0) throw reader.bad('no file name');
  return { position, file: reader.text(reader.remaining) };
}

export type GtidEvent = Readonly<{
  /** null for an anonymous transaction. */
  gtid: Gtid | null;
  /** Logical clock of the file: may run beside everything after this one. */
  lastCommitted: number;
  sequenceNumber: number;
  /** Bytes of the whole transaction from this event's header to the last checksum; 0 if the server is older than 8.0.2. */
  transactionLength: number;
  /** Microseconds since the epoch; 0 if unknown. */
  originalCommitUs: number;
  immediateCommitUs: number;
}>;

const GTID_TYPES = [EVENT_TYPE.GTID, EVENT_TYPE.ANONYMOUS_GTID, EVENT_TYPE.GTID_TAGGED] as const;
const LOGICAL_CLOCK = 2;
const ORIGINAL_FOLLOWS = 1n << 55n;

export function isGtidEvent(type: number): boolean {
  return (GTID_TYPES as readonly number[]).includes(type);
}

export function parseGtidEvent(event: Uint8Array, withCrc = true): GtidEvent {
  const reader = bodyOf(event, GTID_TYPES, 'gtid event', withCrc);
  const type = parseEventHeader(event).type;
  if (type === EVENT_TYPE.GTID_TAGGED) return parseTagged(reader);
  // flags u8 | uuid 16 | gno u64 | 2 | last committed u64 | sequence number u64 |
  // commit time u56 (top bit: the original's u56 follows) | transaction length lenenc | server versions ...
  reader.skip(1);
  const uuid = uuidFromBytes(reader.bytes(16));
  const gno = reader.u64();
  if ((gno === 0) !== (type === EVENT_TYPE.ANONYMOUS_GTID)) throw reader.bad(`transaction number ${gno}`);
  const gtid = gno === 0 ? null : { uuid, tag: '', gno };
  if (reader.u8() !== LOGICAL_CLOCK) throw reader.bad('no logical clock');
  const lastCommitted = reader.u64();
  const sequenceNumber = reader.u64();
  if (reader.remaining < 7) {
    return { gtid, lastCommitted, sequenceNumber, transactionLength: 0, originalCommitUs: 0, immediateCommitUs: 0 };
  }
  const immediate = reader.uint(7);
  const original = (immediate & ORIGINAL_FOLLOWS) === 0n ? immediate : reader.uint(7);
  const immediateCommitUs = Number(immediate & ~ORIGINAL_FOLLOWS);
  const transactionLength = reader.remaining > 0 ? reader.lenenc() : 0;
  return {
    gtid,
    lastCommitted,
    sequenceNumber,
    transactionLength,
    originalCommitUs: Number(original),
    immediateCommitUs,
  };
}

/** Field numbers of the tagged event, each written before its value; some are left out when they equal another. */
const TAGGED_FIELD = {
  flags: 0,
  uuid: 1,
  gno: 2,
  tag: 3,
  lastCommitted: 4,
  sequenceNumber: 5,
  immediateCommit: 6,
  originalCommit: 7,
  transactionLength: 8,
  immediateVersion: 9,
  originalVersion: 10,
  commitGroupTicket: 11,
} as const;

/*
 * MySQL's own message format (libs/mysql/serialization): format version | size of it all | last field that must be
 * understood, plus 1 | (field number | value)*; all numbers of variable length, signed ones zigzag. The uuid is 16 such
 * numbers, so a byte above 127 takes two. Fields unknown to us come last and, not being required, may be ignored.
 */
function parseTagged(reader: ByteReader): GtidEvent {
  const total = reader.remaining;
  const version = reader.varlenNumber();
  if (version !== 1) throw reader.bad(`message format ${version}`);
  const size = reader.varlenNumber();
  const required = reader.varlenNumber();
  if (required > TAGGED_FIELD.commitGroupTicket + 1) throw reader.bad(`field ${required - 1} must be known and is not`);
  if (size !== total) throw reader.bad(`a message of ${size} bytes in ${total}`);
  let uuid = '';
  let gno = 0;
  let tag = '';
  let lastCommitted = 0;
  let sequenceNumber = 0;
  let immediateCommitUs = 0;
  let originalCommitUs: number | null = null;
  let transactionLength = 0;
  let previous = -1;
  while (reader.remaining > 0) {
    const field = reader.varlenNumber();
    if (field <= previous) throw reader.bad(`field ${field} after ${previous}`);
    if (field > TAGGED_FIELD.commitGroupTicket) break;
    previous = field;
    switch (field) {
      case TAGGED_FIELD.uuid:
        uuid = readUuid(reader);
        break;
      case TAGGED_FIELD.gno:
        gno = unzigzag(reader);
        break;
      case TAGGED_FIELD.tag: {
        const length = reader.varlenNumber();
        if (length > TAG_LENGTH_MAX) throw reader.bad(`a tag of ${length} characters`);
        tag = reader.bytes(length).toString('latin1');
        if (tag !== '' && !isTag(tag)) throw reader.bad(`'${tag}' is no tag`);
        break;
      }
      case TAGGED_FIELD.lastCommitted:
        lastCommitted = unzigzag(reader);
        break;
      case TAGGED_FIELD.sequenceNumber:
        sequenceNumber = unzigzag(reader);
        break;
      case TAGGED_FIELD.immediateCommit:
        immediateCommitUs = reader.varlenNumber();
        break;
      case TAGGED_FIELD.originalCommit:
        originalCommitUs = reader.varlenNumber();
        break;
      case TAGGED_FIELD.transactionLength:
        transactionLength = reader.varlenNumber();
        break;
      default:
        reader.varlen();
    }
  }
  if (uuid === '' || gno <= 0) throw reader.bad('no transaction number');
  return {
    gtid: { uuid, tag, gno },
    lastCommitted,
    sequenceNumber,
    transactionLength,
    originalCommitUs: originalCommitUs ?? immediateCommitUs,
    immediateCommitUs,
  };
}

function readUuid(reader: ByteReader): string {
  const bytes = Buffer.alloc(16);
  for (let i = 0; i < bytes.length; i += 1) {
    const byte = reader.varlenNumber();
    if (byte > 255) throw reader.bad(`${byte} in a uuid`);
    bytes[i] = byte;
  }
  return uuidFromBytes(bytes);
}

function unzigzag(reader: ByteReader): number {
  const raw = reader.varlen();
  const value = (raw & 1n) === 0n ? raw >> 1n : -(raw >> 1n) - 1n;
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw reader.bad(`number ${value}`);
  return Number(value);
}

/** What was executed before the file this event is in began. */
export function parsePreviousGtids(event: Uint8Array, withCrc = true): GtidSet {
  return GtidSet.decode(bodyOf(event, [EVENT_TYPE.PREVIOUS_GTIDS], 'previous gtids event', withCrc).rest());
}

export type QueryEvent = Readonly<{ threadId: number; errorCode: number; database: string; sql: string }>;

/** thread u32 | seconds u32 | database length u8 | error u16 | status length u16 | status | database\0 | statement */
export function parseQuery(event: Uint8Array, withCrc = true): QueryEvent {
  const reader = bodyOf(event, [EVENT_TYPE.QUERY], 'query event', withCrc);
  const threadId = reader.u32();
  reader.skip(4);
  const databaseLength = reader.u8();
  const errorCode = reader.u16();
  reader.skip(reader.u16());
  const database = reader.text(databaseLength);
  reader.skip(1);
  return { threadId, errorCode, database, sql: reader.text(reader.remaining) };
}

/** The storage engines' transaction number. */
export function parseXid(event: Uint8Array, withCrc = true): bigint {
  return bodyOf(event, [EVENT_TYPE.XID], 'xid event', withCrc).u64big();
}

/** Version 1 has the position in its header (below 4 GiB) and the file name as its body; version 2 has tagged fields. */
export function parseHeartbeat(event: Uint8Array, withCrc = true): Rotate {
  const reader = bodyOf(event, [EVENT_TYPE.HEARTBEAT, EVENT_TYPE.HEARTBEAT_V2], 'heartbeat event', withCrc);
  const header = parseEventHeader(event);
  if (header.type === EVENT_TYPE.HEARTBEAT) return { file: reader.text(reader.remaining), position: header.logPos };
  let file = '';
  let position = 0;
  forEachField(reader, (field, value) => {
    if (field === 1) file = value.text(value.remaining);
    else if (field === 2) position = value.lenenc();
  });
  return { file, position };
}

export type TransactionPayload = Readonly<{
  /** 0 = zstd, 255 = none. */
  compression: number;
  uncompressedBytes: number;
  payload: Uint8Array;
}>;

/** (field number, length, value: all lenenc)* | 0 | compressed events. The events inside have no checksums. */
export function parseTransactionPayload(event: Uint8Array, withCrc = true): TransactionPayload {
  const reader = bodyOf(event, [EVENT_TYPE.TRANSACTION_PAYLOAD], 'transaction payload event', withCrc);
  let payloadBytes = -1;
  let compression = -1;
  let uncompressedBytes = 0;
  forEachField(reader, (field, value) => {
    if (field === 1) payloadBytes = value.lenenc();
    else if (field === 2) compression = value.lenenc();
    else if (field === 3) uncompressedBytes = value.lenenc();
  });
  if (payloadBytes < 0 || compression < 0) throw reader.bad('size or compression is missing');
  return { compression, uncompressedBytes, payload: reader.bytes(payloadBytes) };
}

function forEachField(reader: ByteReader, take: (field: number, value: ByteReader) => void): void {
  for (;;) {
    const field = reader.lenenc();
    if (field === 0) return;
    take(field, new ByteReader(reader.lenencBytes(), `field ${field}`, 'BINLOG_CORRUPT'));
  }
}

export type XaPrepare = Readonly<{ onePhase: boolean; formatId: number; gtrid: Uint8Array; bqual: Uint8Array }>;

/** one phase u8 | format id u32 | gtrid length u32 | bqual length u32 | gtrid | bqual */
export function parseXaPrepare(event: Uint8Array, withCrc = true): XaPrepare {
  const reader = bodyOf(event, [EVENT_TYPE.XA_PREPARE], 'xa prepare event', withCrc);
  const onePhase = reader.u8() !== 0;
  const formatId = reader.u32();
  const gtridLength = reader.u32();
  const bqualLength = reader.u32();
  if (gtridLength > 64 || bqualLength > 64) throw reader.bad('an xid longer than 64 + 64 bytes');
  return { onePhase, formatId, gtrid: reader.bytes(gtridLength), bqual: reader.bytes(bqualLength) };
}

/** One event from its parts; size and, unless `crc` is false, checksum are computed. */
export function encodeEvent(
  event: Readonly<{
    type: number;
    serverId: number;
    body: Uint8Array;
    timestamp?: number;
    logPos?: number;
    flags?: number;
    crc?: boolean;
  }>,
): Buffer {
  const tail = event.crc === false ? 0 : EVENT_CRC_BYTES;
  const out = Buffer.alloc(EVENT_HEADER_BYTES + event.body.length + tail);
  out.writeUInt32LE(event.timestamp ?? 0, 0);
  out[TYPE_AT] = event.type;
  out.writeUInt32LE(event.serverId, 5);
  out.writeUInt32LE(out.length, SIZE_AT);
  out.writeUInt32LE((event.logPos ?? 0) % 0x1_0000_0000, LOG_POS_AT);
  out.writeUInt16LE(event.flags ?? 0, FLAGS_AT);
  out.set(event.body, EVENT_HEADER_BYTES);
  if (tail > 0) out.writeUInt32LE(eventCrc(out), out.length - EVENT_CRC_BYTES);
  return out;
}

/** The artificial event that tells a replica which file the following events are of. */
export function encodeRotate(
  rotate: Readonly<{ file: string; position: number; serverId: number; crc: boolean }>,
): Buffer {
  const body = Buffer.concat([u64le(rotate.position), Buffer.from(rotate.file)]);
  const { serverId, crc } = rotate;
  return encodeEvent({ type: EVENT_TYPE.ROTATE, serverId, body, flags: EVENT_FLAG_ARTIFICIAL, crc });
}

/** Version 1; `logPos` from 4 to below 4 GiB, else the replica's I/O thread stops. */
export function encodeHeartbeat(
  heartbeat: Readonly<{ file: string; logPos: number; serverId: number; crc?: boolean }>,
): Buffer {
  const { serverId, logPos, crc = true } = heartbeat;
  return encodeEvent({ type: EVENT_TYPE.HEARTBEAT, serverId, logPos, body: Buffer.from(heartbeat.file), crc });
}

export function encodePreviousGtids(
  previous: Readonly<{ gtidSet: GtidSet; serverId: number; logPos?: number; timestamp?: number }>,
): Buffer {
  const { gtidSet, ...rest } = previous;
  return encodeEvent({ type: EVENT_TYPE.PREVIOUS_GTIDS, flags: EVENT_FLAG_IGNORABLE, body: gtidSet.encode(), ...rest });
}

/**
 * A copy of a format description as a source sends it: no longer in use. In the middle of a file (`midFile`) it has
 * neither position nor creation time, which would make the replica advance its position and drop temporary tables; at
 * the start of the first file of a dump by GTID to a replica that has some (`clearCreated`), only the latter is gone.
 */
export function formatDescriptionForDump(
  event: Uint8Array,
  options: Readonly<{ midFile: boolean; clearCreated?: boolean }>,
): Buffer {
  parseFormatDescription(event);
  const out = Buffer.from(event);
  out[FLAGS_AT] = out[FLAGS_AT]! & ~EVENT_FLAG_IN_USE;
  if (options.midFile) out.set(u32le(0), LOG_POS_AT);
  if (options.midFile || options.clearCreated === true) out.set(u32le(0), FDE_CREATED_AT);
  out.writeUInt32LE(eventCrc(out), out.length - EVENT_CRC_BYTES);
  return out;
}
