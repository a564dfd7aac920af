import { constants, zstdDecompressSync } from 'node:zlib';
import { PhxError } from '../base/errors.ts';
import {
  EVENT_HEADER_BYTES,
  EVENT_TYPE,
  parseEventHeader,
  parseQuery,
  parseTransactionPayload,
  parseXaPrepare,
} from './binlog-event.ts';

/**
 * What one binlog transaction does to an XA transaction. A commit in one phase prepares nothing that stays.
 *
 *   XA START … XA END, XA_PREPARE event ──► prepare ──┬─► XA COMMIT query   ──► commit
 *   (plain, or all inside a compressed payload)       └─► XA ROLLBACK query ──► rollback
 */
export type XaStep = Readonly<{
  /** 'unclear': it may have been prepared, but it is compressed and cannot be looked into. */
  kind: 'prepare' | 'commit' | 'rollback' | 'unclear';
  xid: string;
}>;

/** A compressed XA transaction that is larger is not decompressed to see how it ends. */
export const XA_PAYLOAD_BYTES_MAX = 256 * 1024 * 1024;
/** Format id, and 64 bytes each of gtrid and bqual in hex, as formatXid writes them. */
export const XID_CHARS_MAX = 2 * (64 * 2 + 3) + 2 + 10;

const RESOLVED = /^XA (COMMIT|ROLLBACK) X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)$/i;
const STARTED = /^XA START X'([0-9a-f]*)',X'([0-9a-f]*)',(\d+)$/i;
/** thread u32, seconds u32, database length u8, error u16, status length u16. */
const QUERY_FIXED_BYTES = 13;
const XA = Buffer.from('XA ');
const ZSTD = 0;
const UNCOMPRESSED = 255;
const UNCLEAR: XaStep = { kind: 'unclear', xid: '' };

/** One name for an XA transaction, wherever it was read: as the binlog's own statements write it. */
export function formatXid(gtrid: string, bqual: string, formatId: number): string {
  return `X'${gtrid.toLowerCase()}',X'${bqual.toLowerCase()}',${formatId}`;
}

/** A row of XA RECOVER CONVERT XID: `data` is 0x and the hex of gtrid and bqual, end to end. */
export function xidOfRow(row: Readonly<Record<string, unknown>>): string {
  const data = String(row['data']).replace(/^0x/i, '');
  const gtridChars = Number(row['gtrid_length']) * 2;
  const bqualChars = Number(row['bqual_length']) * 2;
  const formatId = Number(row['formatID']);
  if (!/^[0-9a-f]*$/i.test(data) || data.length !== gtridChars + bqualChars || !Number.isSafeInteger(formatId)) {
    throw new PhxError('MYSQL_PROTOCOL', `read XA RECOVER: ${JSON.stringify(row).slice(0, 200)} is no xid`);
  }
  return formatXid(data.slice(0, gtridChars), data.slice(gtridChars), formatId);
}

/** What `event`, one of a transaction's after its GTID event, says of XA; null: nothing. Throws BINLOG_CORRUPT. */
export function xaStepOf(event: Uint8Array, withCrc = true): XaStep | null {
  switch (event[4]) {
    case EVENT_TYPE.XA_PREPARE: {
      const { onePhase, gtrid, bqual, formatId } = parseXaPrepare(event, withCrc);
      return onePhase ? null : { kind: 'prepare', xid: formatXid(hex(gtrid), hex(bqual), formatId) };
    }
    case EVENT_TYPE.QUERY: {
      if (!beginsWithXa(event)) return null;
      const [, word = '', gtrid = '', bqual = '', formatId] = RESOLVED.exec(parseQuery(event, withCrc).sql) ?? [];
      if (word === '') return null;
      return {
        kind: word.toUpperCase() === 'COMMIT' ? 'commit' : 'rollback',
        xid: formatXid(gtrid, bqual, Number(formatId)),
      };
    }
    case EVENT_TYPE.TRANSACTION_PAYLOAD:
      return stepInPayload(event, withCrc);
    default:
      return null;
  }
}

/** Without decoding it: most queries are BEGIN. */
function beginsWithXa(event: Uint8Array): boolean {
  const bytes = Buffer.from(event.buffer, event.byteOffset, event.length);
  if (bytes.length < EVENT_HEADER_BYTES + QUERY_FIXED_BYTES) return false;
  const databaseBytes = bytes.readUInt8(EVENT_HEADER_BYTES + 8);
  const statusBytes = bytes.readUInt16LE(EVENT_HEADER_BYTES + 11);
  const at = EVENT_HEADER_BYTES + QUERY_FIXED_BYTES + statusBytes + databaseBytes + 1;
  return bytes.subarray(at, at + XA.length).equals(XA);
}

/**
 * An XA transaction begins with XA START, so of all others only the first block is decompressed. What cannot be looked into is
 * unclear: it must not stop the stream, and nobody may rely on it.
 */
function stepInPayload(event: Uint8Array, withCrc: boolean): XaStep | null {
  const { compression, uncompressedBytes, payload } = parseTransactionPayload(event, withCrc);
  if (compression !== ZSTD && compression !== UNCOMPRESSED) return UNCLEAR;
  const plain = compression === UNCOMPRESSED;
  const head = plain ? payload : inflate(payload.subarray(0, firstBlockEnd(payload)), FIRST_BLOCK_BYTES_MAX);
  if (head === null || head.length < EVENT_HEADER_BYTES) return UNCLEAR;
  const xid = startedIn(head);
  if (xid === null) return null;
  if (uncompressedBytes > XA_PAYLOAD_BYTES_MAX) return { kind: 'unclear', xid };
  const events = plain ? payload : inflate(payload, XA_PAYLOAD_BYTES_MAX);
  if (events === null) return { kind: 'unclear', xid };
  let step: XaStep | null = null;
  for (let at = 0; at < events.length; ) {
    const { type, size } = parseEventHeader(events, at);
    if (type === EVENT_TYPE.XA_PREPARE) step = xaStepOf(events.subarray(at, at + size), false);
    at += size;
  }
  return step;
}

/** The xid of the XA START that `events` begins with, or null. */
function startedIn(events: Uint8Array): string | null {
  const { type, size } = parseEventHeader(events);
  const first = events.subarray(0, size);
  if (type !== EVENT_TYPE.QUERY || first.length < size || !beginsWithXa(first)) return null;
  const [, gtrid, bqual = '', formatId] = STARTED.exec(parseQuery(first, false).sql) ?? [];
  return gtrid === undefined ? null : formatXid(gtrid, bqual, Number(formatId));
}

const FIRST_BLOCK_BYTES_MAX = 128 * 1024;
const RLE_BLOCK = 1;

/**
 * Where the first block of a zstd frame ends (RFC 8878): magic u32 | descriptor u8 | [window u8] | [dictionary] | [size] |
 * block: last 1 bit, type 2 bits, size 21 bits.
 */
function firstBlockEnd(frame: Uint8Array): number {
  const descriptor = frame[4] ?? 0;
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes + sizeBytes;
  const block = (frame[at] ?? 0) | ((frame[at + 1] ?? 0) << 8) | ((frame[at + 2] ?? 0) << 16);
  return at + 3 + (((block >> 1) & 3) === RLE_BLOCK ? 1 : block >> 3);
}

/** null: it cannot be decompressed, or not to so little. A payload that ends early gives what there is. */
function inflate(payload: Uint8Array, maxOutputLength: number): Uint8Array | null {
  try {
    return zstdDecompressSync(payload, { finishFlush: constants.ZSTD_e_flush, maxOutputLength });
  } catch {
    return null;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
