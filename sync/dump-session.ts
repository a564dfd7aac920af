import { PhxError } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import { EVENT_TYPE, parseEventHeader, parseHeartbeat, parseRotate } from '../mysql/binlog-event.ts';
import { isErr, parseErr } from '../mysql/result.ts';
import { parseDumpPacket } from '../mysql/semi-sync.ts';
import { type StreamItem, TransactionAssembler } from '../mysql/transaction-stream.ts';
import { type BinlogPosition, samePosition } from './position.ts';

/** Largest piece of a transaction in one item (design 3: "transactions above 1 MiB travel as chunks"). */
export const CHUNK_BYTES = 1024 * 1024;
/** Most bytes of one append: several must drain between two renewals. */
export const APPEND_BYTES_MAX = 2 * 1024 * 1024;
/** Bytes waiting for an append at which reading from mysqld stops; it goes on below half of it. */
export const PENDING_BYTES_MAX = 16 * 1024 * 1024;

export type Batch = Readonly<{
  items: readonly StreamItem[];
  /** End of the last transaction completed in it, or null. */
  ackUpTo: BinlogPosition | null;
  transactions: number;
}>;

type Pending = Readonly<{ item: StreamItem; bytes: number; end: BinlogPosition | null }>;

/**
 * One dump stream, decided without I/O: packets in, batches to append and positions to ack out.
 *
 *   packets ──► pending items ──► batch in flight ──(applied)──► ack of its last complete transaction
 *                    │                                               ▲
 *                    └── heartbeat: acked when nothing is pending ───┘   (protocol-findings 18: an ack lost with the
 *                        or in flight, so everything before it is applied    old connection is thereby repeated)
 */
export class DumpSession {
  readonly #assembler = new TransactionAssembler({ chunkBytes: CHUNK_BYTES });
  readonly #pending: Pending[] = [];
  #pendingBytes = 0;
  #file = '';
  /** End of the last event in `#file`. */
  #position = 0;
  #inFlight: Batch | null = null;
  #acked: BinlogPosition | null = null;
  #skipFile: string | null;

  /** `currentFile`: the file the log is already in for this epoch; its start is not logged twice. */
  constructor(currentFile: string | null) {
    this.#skipFile = currentFile;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get idle(): boolean {
    return this.#pending.length === 0 && this.#inFlight === null;
  }

  /**
   * Takes one packet of the stream; returns a position to ack now, if it was a heartbeat of a drained stream.
   * @throws PhxError MYSQL_PROTOCOL, BINLOG_CORRUPT (every event's checksum is verified): the stream must be dropped.
   */
  packet(payload: Buffer): BinlogPosition | null {
    if (isErr(payload)) {
      const { errno, message } = parseErr(payload);
      throw new PhxError('MYSQL_PROTOCOL', `mysqld ended the dump: ${message} (${errno})`);
    }
    if (payload[0] === 0xfe && payload.length < 9) throw new PhxError('MYSQL_DOWN', 'mysqld ended the dump');
    const { event } = parseDumpPacket(payload, { semiSync: true });
    const items = this.#assembler.push(event);
    const header = parseEventHeader(event, 0);
    if (header.type === EVENT_TYPE.HEARTBEAT || header.type === EVENT_TYPE.HEARTBEAT_V2) {
      return this.#heartbeat(parseHeartbeat(event));
    }
    if (header.type === EVENT_TYPE.ROTATE) {
      const { file, position } = parseRotate(event);
      this.#file = file;
      this.#position = position;
    } else if (header.logPos !== 0) {
      this.#position = unwrapped(this.#position, header.logPos);
    }
    const end: BinlogPosition = { file: this.#file, position: this.#position };
    for (const item of items) this.#enqueue(item, end);
    return null;
  }

  /** The next append, or null while one is in flight or nothing is pending: one append per round trip. */
  take(): Batch | null {
    if (this.#inFlight !== null || this.#pending.length === 0) return null;
    const items: StreamItem[] = [];
    let bytes = 0;
    let ackUpTo: BinlogPosition | null = null;
    let transactions = 0;
    while (this.#pending.length > 0) {
      const next = this.#pending[0] as Pending;
      if (items.length > 0 && bytes + next.bytes > APPEND_BYTES_MAX) break;
      this.#pending.shift();
      items.push(next.item);
      bytes += next.bytes;
      if (next.end !== null) {
        ackUpTo = next.end;
        transactions += 1;
      }
    }
    this.#pendingBytes -= bytes;
    this.#inFlight = { items, ackUpTo, transactions };
    return this.#inFlight;
  }

  /** The batch in flight was applied; returns the position to ack, cumulative. */
  applied(): BinlogPosition | null {
    invariant(this.#inFlight !== null, 'applied without a batch in flight');
    const position = this.#inFlight.ackUpTo;
    this.#inFlight = null;
    if (position !== null) this.#acked = position;
    return position;
  }

  /**
   * mysqld trusts an ack, so it must name exactly what the heartbeat names: between the rotate event at the end of a file
   * and the next file's beginning a heartbeat still speaks of the old one, and its position would cover the new one.
   */
  #heartbeat({ file, position: end }: Readonly<{ file: string; position: number }>): BinlogPosition | null {
    const position: BinlogPosition = { file, position: end };
    if (
      !this.idle ||
      file === '' ||
      file !== this.#file ||
      position.position === 0 ||
      samePosition(position, this.#acked)
    )
      return null;
    this.#acked = position;
    return position;
  }

  #enqueue(item: StreamItem, end: BinlogPosition): void {
    if (item.kind === 'file') {
      const known = item.name === this.#skipFile;
      this.#skipFile = null;
      if (known) return;
    }
    const bytes = item.kind === 'part' ? item.events.length : item.formatDescription.length;
    this.#pending.push({ item, bytes, end: item.kind === 'part' && item.last ? end : null });
    this.#pendingBytes += bytes;
  }
}

/**
 * An event's header has 32 bits for its end, mysqld's acks compare 64: in a file that one huge transaction took beyond
 * 4 GiB a wrapped end would ack nothing. Events are smaller than that, so `before` tells which of the ends it is.
 */
function unwrapped(before: number, logPos: number): number {
  const range = 2 ** 32;
  return before + ((((logPos - before) % range) + range) % range);
}
