import { crc32 } from 'node:zlib';
import { PhxError } from '../base/errors.ts';
import {
  CHECKSUM_CRC32,
  checkEventCrc,
  EVENT_CRC_BYTES,
  EVENT_HEADER_BYTES,
  EVENT_TYPE,
  type EventHeader,
  type FormatDescription,
  isGtidEvent,
  parseEventHeader,
  parseFormatDescription,
  parseGtidEvent,
  parsePreviousGtids,
  parseRotate,
} from './binlog-event.ts';
import { asBuffer } from './byte-reader.ts';
import { formatGtid } from './gtid.ts';
import type { GtidSet } from './gtid-set.ts';

/**
 * A complete transaction in a binlog file: bytes [startOffset, endOffset), `crc` their CRC-32. `replicated`: another server
 * committed it first, so that these are not its bytes; absent: it was committed here.
 */
export type ScannedTransaction = Readonly<{
  gtid: string;
  startOffset: number;
  endOffset: number;
  crc: number;
  replicated?: true;
}>;

export const BINLOG_MAGIC: Uint8Array = Uint8Array.of(0xfe, 0x62, 0x69, 0x6e);
const ENCRYPTED_MAGIC: Uint8Array = Uint8Array.of(0xfd, 0x62, 0x69, 0x6e);
const MAGIC_BYTES = 4;
/** Events that are decoded are held whole; the largest is a previous-GTIDs event of a very fragmented set. */
export const DECODED_EVENT_BYTES_MAX = 256 * 1024 * 1024;

const DECODED: ReadonlySet<number> = new Set([
  EVENT_TYPE.FORMAT_DESCRIPTION,
  EVENT_TYPE.PREVIOUS_GTIDS,
  EVENT_TYPE.ROTATE,
  EVENT_TYPE.GTID,
  EVENT_TYPE.ANONYMOUS_GTID,
  EVENT_TYPE.GTID_TAGGED,
]);

type Open = {
  readonly gtid: string;
  readonly startOffset: number;
  readonly replicated: boolean;
  bytesLeft: number;
  crc: number;
};

/**
 * Scans the bytes of one local binlog file, handed over in chunks of any size, for its complete transactions.
 *
 *   magic ──► header ──► decoded body ──┐
 *               ▲  └───► passing body ──┤   (only its checksum is rolled on: memory does not depend on sizes)
 *               └───────────────────────┘
 *                    └─ a wrong checksum or length ──► corrupt: the rest is ignored
 *
 * What a crash leaves is no exception but a result: `end()` says where the usable part ends (`truncatedAt`) and, if an
 * event is damaged rather than cut off, which (`corrupt`). Thrown are BINLOG_ENCRYPTED and BINLOG_CORRUPT for a file
 * that is no readable binlog at all or holds anonymous transactions.
 */
export class BinlogFileScanner {
  #offset = 0;
  /** The event under way: where it began and what of it is still to come. */
  #eventStart = MAGIC_BYTES;
  #eventLeft = 0;
  #header: EventHeader | null = null;
  /** Bytes held: magic, an incomplete header, or a decoded event. */
  #held: Buffer[] = [];
  /** How many of `#held` are copies of our own, not views of what was pushed. */
  #owned = 0;
  #heldBytes = 0;
  #heldWanted = MAGIC_BYTES;
  #eventCrc = 0;
  #tail = Buffer.alloc(EVENT_CRC_BYTES);
  #stage: 'magic' | 'header' | 'decoded' | 'passing' | 'stopped' = 'magic';
  #open: Open | null = null;
  #formatDescription: FormatDescription | null = null;
  #previousGtids: GtidSet | null = null;
  #endsWith: 'rotate' | 'stop' | null = null;
  #nextFile: string | null = null;
  #corrupt: Readonly<{ offset: number; reason: string }> | null = null;
  #truncatedAt: number | null = null;

  /** null until the first event was read. */
  get formatDescription(): FormatDescription | null {
    return this.#formatDescription;
  }

  /** The server did not close this file: it is open now, or the server died. */
  get inUse(): boolean {
    return this.#formatDescription?.inUse ?? false;
  }

  /** What was executed before this file; null until read. */
  get previousGtids(): GtidSet | null {
    return this.#previousGtids;
  }

  /** How the file was closed: by a rotation (to `nextFile`), by a clean shutdown, or not. */
  get endsWith(): 'rotate' | 'stop' | null {
    return this.#endsWith;
  }

  get nextFile(): string | null {
    return this.#nextFile;
  }

  /** The first damaged event, or null. A file that merely ends too early is not damaged. */
  get corrupt(): Readonly<{ offset: number; reason: string }> | null {
    return this.#corrupt;
  }

  /** After `end()`: where the tail begins that is no complete transaction or event, or null if there is none. */
  get truncatedAt(): number | null {
    return this.#truncatedAt;
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Takes the next bytes of the file; hands back the transactions they completed. */
  push(chunk: Uint8Array): ScannedTransaction[] {
    const done: ScannedTransaction[] = [];
    const bytes = asBuffer(chunk);
    let from = 0;
    while (from < bytes.length && this.#stage !== 'stopped') {
      const wanted = this.#stage === 'passing' ? this.#eventLeft : this.#heldWanted - this.#heldBytes;
      const piece = bytes.subarray(from, from + wanted);
      from += piece.length;
      this.#offset += piece.length;
      if (this.#stage === 'passing') this.#pass(piece, done);
      else this.#hold(piece, done);
    }
    this.#offset += bytes.length - from;
    this.#own();
    return done;
  }

  /** The file has no more bytes. */
  end(): void {
    if (this.#truncatedAt !== null) return;
    if (this.#open !== null) this.#truncatedAt = this.#open.startOffset;
    else if (this.#stage === 'magic') this.#truncatedAt = 0;
    else if (this.#offset > this.#eventStart) this.#truncatedAt = this.#eventStart;
    this.#stage = 'stopped';
  }

  /** What is held until the next push must not keep the caller's buffer alive, nor change with it. */
  #own(): void {
    for (; this.#owned < this.#held.length; this.#owned += 1) {
      this.#held[this.#owned] = Buffer.from(this.#held[this.#owned]!);
    }
  }

  #hold(piece: Buffer, done: ScannedTransaction[]): void {
    this.#held.push(piece);
    this.#heldBytes += piece.length;
    if (this.#heldBytes < this.#heldWanted) return;
    const bytes = this.#held.length === 1 ? this.#held[0]! : Buffer.concat(this.#held, this.#heldBytes);
    if (this.#stage === 'magic') {
      checkMagic(bytes);
      this.#nextEvent();
    } else if (this.#stage === 'header') {
      this.#begin(bytes, done);
    } else {
      this.#decode(bytes, done);
    }
  }

  #begin(head: Buffer, done: ScannedTransaction[]): void {
    let header: EventHeader;
    try {
      header = parseEventHeader(head);
    } catch (error) {
      this.#stop(error);
      return;
    }
    const problem = this.#problemOf(header);
    if (problem !== null) {
      this.#stop(problem);
      return;
    }
    this.#header = header;
    if (DECODED.has(header.type)) {
      this.#stage = 'decoded';
      this.#held = [head];
      this.#owned = 0;
      this.#heldBytes = head.length;
      this.#heldWanted = header.size;
      if (header.size === head.length) this.#decode(head, done);
      return;
    }
    this.#stage = 'passing';
    this.#held = [];
    this.#owned = 0;
    this.#heldBytes = 0;
    this.#eventLeft = header.size;
    this.#eventCrc = 0;
    this.#pass(head, done);
  }

  /** Why an event with this header cannot be here, or null. */
  #problemOf({ type, size }: EventHeader): string | null {
    if (this.#formatDescription === null) {
      return type === EVENT_TYPE.FORMAT_DESCRIPTION ? null : `the first event has type ${type}`;
    }
    if (size < EVENT_HEADER_BYTES + (this.#hasCrc ? EVENT_CRC_BYTES : 0)) return `an event of ${size} bytes`;
    if (DECODED.has(type) && size > DECODED_EVENT_BYTES_MAX) return `an event of type ${type} and ${size} bytes`;
    if (this.#open === null) {
      const alone = DECODED.has(type) || type === EVENT_TYPE.STOP || type === EVENT_TYPE.IGNORABLE;
      return alone ? null : `an event of type ${type} belongs to no transaction`;
    }
    if (DECODED.has(type)) return `an event of type ${type} inside ${this.#open.gtid}`;
    if (size > this.#open.bytesLeft) return `${this.#open.gtid} is longer than it announced`;
    return null;
  }

  get #hasCrc(): boolean {
    return this.#formatDescription?.checksum === CHECKSUM_CRC32;
  }

  /** Bytes of an event that is not looked into. Its last four are its checksum. */
  #pass(piece: Buffer, done: ScannedTransaction[]): void {
    if (this.#open !== null) this.#open.crc = crc32(piece, this.#open.crc);
    const covered = Math.min(piece.length, Math.max(0, this.#eventLeft - EVENT_CRC_BYTES));
    this.#eventCrc = crc32(piece.subarray(0, covered), this.#eventCrc);
    piece.copy(this.#tail, EVENT_CRC_BYTES - Math.min(EVENT_CRC_BYTES, this.#eventLeft - covered), covered);
    this.#eventLeft -= piece.length;
    if (this.#eventLeft > 0) return;
    const stored = this.#tail.readUInt32LE();
    if (this.#hasCrc && stored !== this.#eventCrc) {
      this.#stop(`checksum ${stored}, its bytes have ${this.#eventCrc}`);
      return;
    }
    if (this.#header?.type === EVENT_TYPE.STOP) this.#endsWith = 'stop';
    this.#complete(this.#header!.size, done);
  }

  #decode(event: Buffer, done: ScannedTransaction[]): void {
    const { type } = this.#header!;
    try {
      if (this.#hasCrc || type === EVENT_TYPE.FORMAT_DESCRIPTION) checkEventCrc(event);
      if (isGtidEvent(type)) this.#openTransaction(event);
      else if (type === EVENT_TYPE.FORMAT_DESCRIPTION) this.#formatDescription = parseFormatDescription(event);
      else if (type === EVENT_TYPE.PREVIOUS_GTIDS) this.#previousGtids = parsePreviousGtids(event, this.#hasCrc);
      else {
        this.#nextFile = parseRotate(event, this.#hasCrc).file;
        this.#endsWith = 'rotate';
      }
    } catch (error) {
      if (error instanceof PhxError && error.hint !== undefined) throw error;
      this.#stop(error);
      return;
    }
    this.#complete(event.length, done);
  }

  #openTransaction(event: Buffer): void {
    const { gtid, transactionLength, originalCommitUs, immediateCommitUs } = parseGtidEvent(event, this.#hasCrc);
    if (gtid === null) throw unusable(this.#eventStart, 'a transaction without GTID', 'gtid_mode must be ON');
    if (transactionLength === 0) {
      throw unusable(
        this.#eventStart,
        `${formatGtid(gtid)} has no length`,
        'the file must be of MySQL 8.0.26 or later',
      );
    }
    this.#open = {
      gtid: formatGtid(gtid),
      startOffset: this.#eventStart,
      replicated: originalCommitUs !== immediateCommitUs,
      bytesLeft: transactionLength,
      crc: crc32(event),
    };
  }

  #complete(size: number, done: ScannedTransaction[]): void {
    const open = this.#open;
    if (open !== null) {
      if (size > open.bytesLeft) {
        this.#stop(`${open.gtid} announces ${open.bytesLeft} bytes, its first event has ${size}`);
        return;
      }
      open.bytesLeft -= size;
      if (open.bytesLeft === 0) {
        const { gtid, startOffset, crc, replicated } = open;
        done.push({ gtid, startOffset, endOffset: this.#offset, crc, ...(replicated ? { replicated } : {}) });
        this.#open = null;
      }
    }
    this.#nextEvent();
  }

  #nextEvent(): void {
    this.#eventStart = this.#offset;
    this.#stage = 'header';
    this.#held = [];
    this.#owned = 0;
    this.#heldBytes = 0;
    this.#heldWanted = EVENT_HEADER_BYTES;
  }

  #stop(problem: unknown): void {
    const reason = problem instanceof Error ? problem.message : String(problem);
    this.#corrupt = { offset: this.#eventStart, reason };
    this.#truncatedAt = this.#open?.startOffset ?? this.#eventStart;
    this.#held = [];
    this.#owned = 0;
    this.#heldBytes = 0;
    this.#stage = 'stopped';
  }
}

function checkMagic(magic: Buffer): void {
  if (magic.equals(BINLOG_MAGIC)) return;
  if (magic.equals(ENCRYPTED_MAGIC)) {
    throw new PhxError('BINLOG_ENCRYPTED', 'read binlog file: it is encrypted', {
      hint: 'set binlog_encryption=OFF; the log is protected by the cluster itself',
    });
  }
  throw unusable(0, `it begins with ${magic.toString('hex')}`, 'this is no binlog file');
}

function unusable(offset: number, message: string, hint: string): PhxError {
  return new PhxError('BINLOG_CORRUPT', `read binlog file at ${offset}: ${message}`, { hint });
}
