import { crc32 } from 'node:zlib';
import { PhxError } from '../base/errors.ts';
import {
  CHECKSUM_CRC32,
  checkEventCrc,
  EVENT_FLAG_IGNORABLE,
  EVENT_TYPE,
  isGtidEvent,
  parseEventHeader,
  parseFormatDescription,
  parseGtidEvent,
  parseRotate,
} from './binlog-event.ts';
import { formatGtid } from './gtid.ts';
import { type XaStep, xaStepOf } from './xa.ts';

export const DEFAULT_CHUNK_BYTES = 1024 * 1024;

export type StreamItem =
  /** The events that follow are of this file. `formatDescription` is its event, checksum included, as it was sent. */
  | Readonly<{ kind: 'file'; name: string; formatDescription: Uint8Array; tellsXa: true }>
  /** A transaction (first and last) or a chunk of it; `crc` is the CRC-32 of the whole transaction at `last`, else 0. */
  | Readonly<{
      kind: 'part';
      gtid: string;
      first: boolean;
      last: boolean;
      crc: number;
      events: Uint8Array;
      /** What the transaction does to an XA transaction; at `last`, and only if it does. */
      xa?: XaStep;
    }>;

type Open = {
  readonly gtid: string;
  /** Bytes to come according to the GTID event. */
  bytesLeft: number;
  crc: number;
  first: boolean;
  /** Not handed back yet; together at most one chunk. */
  pieces: Uint8Array[];
  pieceBytes: number;
  xa: XaStep | null;
};

/**
 * Cuts a stream of binlog events into transactions.
 *
 *              rotate (name)      format description ► file
 *   start ───────────────► named ─────────────────────────► between ◄────────────┐
 *                            ▲              rotate              │ gtid event     │ the length it announced
 *                            └──────────────────────────────────┤                │ is reached ► part (last)
 *                                                               └──► inside ─────┘
 *                                                                      └ a chunk is full ► part
 *
 * The GTID event says how long its transaction is, so the end is known without looking at what the events mean; the
 * events must add up to that length exactly. Every event's checksum is verified before any of it is handed back.
 * Memory: one chunk and one event. After an error the stream must be dropped.
 */
export class TransactionAssembler {
  readonly #chunkBytes: number;
  #name: string | null = null;
  #described = false;
  #open: Open | null = null;

  constructor(options: Readonly<{ chunkBytes?: number }> = {}) {
    this.#chunkBytes = options.chunkBytes ?? DEFAULT_CHUNK_BYTES;
  }

  /** Whether a transaction has begun and not ended. */
  get inTransaction(): boolean {
    return this.#open !== null;
  }

  /** The file the stream is in, or null before the first rotate event. */
  get file(): string | null {
    return this.#name;
  }

  /**
   * Takes one whole event, with checksum. It may be a view of a socket's buffer: what is kept or handed back is a copy.
   * Throws BINLOG_CORRUPT.
   */
  push(event: Uint8Array): StreamItem[] {
    checkEventCrc(event);
    const { type, flags, logPos } = parseEventHeader(event);
    if (type === EVENT_TYPE.HEARTBEAT || type === EVENT_TYPE.HEARTBEAT_V2) return [];
    if (this.#open !== null) {
      if (isGtidEvent(type) || type === EVENT_TYPE.ROTATE || type === EVENT_TYPE.FORMAT_DESCRIPTION) {
        throw corrupt(`event of type ${type} inside ${this.#open.gtid}, ${this.#open.bytesLeft} bytes before its end`);
      }
      return this.#add(this.#open, event);
    }
    if (isGtidEvent(type)) return this.#begin(event);
    switch (type) {
      case EVENT_TYPE.ROTATE:
        this.#name = parseRotate(event).file;
        this.#described = false;
        return [];
      case EVENT_TYPE.FORMAT_DESCRIPTION:
        return [this.#describe(event)];
      case EVENT_TYPE.PREVIOUS_GTIDS:
      case EVENT_TYPE.STOP:
        return [];
      default:
        if ((flags & EVENT_FLAG_IGNORABLE) !== 0) return [];
        throw corrupt(`event of type ${type} ending at ${logPos} belongs to no transaction`);
    }
  }

  #describe(event: Uint8Array): StreamItem {
    if (this.#name === null) throw corrupt('a format description before any rotate event');
    if (parseFormatDescription(event).checksum !== CHECKSUM_CRC32) {
      throw corrupt(`${this.#name} is written without checksums`, 'binlog_checksum must be CRC32');
    }
    this.#described = true;
    return { kind: 'file', name: this.#name, formatDescription: Buffer.from(event), tellsXa: true };
  }

  #begin(event: Uint8Array): StreamItem[] {
    const { gtid, transactionLength } = parseGtidEvent(event);
    if (gtid === null) throw corrupt('a transaction without GTID', 'gtid_mode must be ON');
    if (!this.#described) throw corrupt(`${formatGtid(gtid)} comes before any format description`);
    if (transactionLength < event.length) {
      throw corrupt(
        `${formatGtid(gtid)} announces ${transactionLength} bytes, its first event has ${event.length}`,
        'the source must be MySQL 8.0.26 or later',
      );
    }
    const open: Open = {
      gtid: formatGtid(gtid),
      bytesLeft: transactionLength,
      crc: 0,
      first: true,
      pieces: [],
      pieceBytes: 0,
      xa: null,
    };
    this.#open = open;
    return this.#add(open, event);
  }

  #add(open: Open, event: Uint8Array): StreamItem[] {
    if (event.length > open.bytesLeft) {
      throw corrupt(`${open.gtid} ends ${event.length - open.bytesLeft} bytes beyond the length it announced`);
    }
    open.xa ??= xaStepOf(event);
    open.crc = crc32(event, open.crc);
    open.bytesLeft -= event.length;
    const items: StreamItem[] = [];
    for (let from = 0; from < event.length; ) {
      if (open.pieceBytes === this.#chunkBytes) items.push(this.#flush(open, false));
      const piece = event.subarray(from, from + this.#chunkBytes - open.pieceBytes);
      open.pieces.push(piece);
      open.pieceBytes += piece.length;
      from += piece.length;
    }
    if (open.bytesLeft === 0) {
      items.push(this.#flush(open, true));
      this.#open = null;
    } else {
      // What stays here until the next event must not keep the caller's buffer alive, nor change with it.
      open.pieces.push(Buffer.from(open.pieces.pop()!));
    }
    return items;
  }

  #flush(open: Open, last: boolean): StreamItem {
    const events = Buffer.concat(open.pieces, open.pieceBytes);
    const item: StreamItem = {
      kind: 'part',
      gtid: open.gtid,
      first: open.first,
      last,
      crc: last ? open.crc : 0,
      events,
      ...(last && open.xa !== null ? { xa: open.xa } : {}),
    };
    open.first = false;
    open.pieces = [];
    open.pieceBytes = 0;
    return item;
  }
}

function corrupt(message: string, hint?: string): PhxError {
  return new PhxError('BINLOG_CORRUPT', `read binlog stream: ${message}`, hint === undefined ? {} : { hint });
}
