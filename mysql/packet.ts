import { PhxError } from '../base/errors.ts';
import { asBuffer } from './byte-reader.ts';

/** A packet of exactly this payload length is continued by the next one. */
export const PACKET_PAYLOAD_MAX = 0xffffff;
/** max_allowed_packet is at most 1 GiB; a binlog event of that size carries a few bytes more. */
export const DEFAULT_MAX_PAYLOAD_BYTES = 1024 * 1024 * 1024 + 1024 * 1024;
const HEADER_BYTES = 4;

/**
 * Cuts a byte stream into MySQL packets: `length u24 | sequence u8 | payload`, joining those split at 16 MiB - 1.
 *
 * Chunks are kept in a list and each byte is copied at most twice (once if its packet spans chunks, once if its
 * payload spans packets); a payload that lies in one chunk is a view of it. Memory is bounded by `maxPayloadBytes` plus
 * what the caller pushes before it drains `next`.
 */
export class PacketReader {
  readonly #maxPayloadBytes: number;
  #chunks: Buffer[] = [];
  #head = 0;
  #headOffset = 0;
  #available = 0;
  /** Earlier packets of a split payload. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #nextSequence: number | null = null;

  constructor(options: { maxPayloadBytes?: number } = {}) {
    this.#maxPayloadBytes = options.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES;
  }

  /** Bytes held for payloads not complete yet. 0 = the stream may end here. */
  get pendingBytes(): number {
    return this.#available + this.#partBytes;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(asBuffer(chunk));
    this.#available += chunk.length;
  }

  /**
   * The next whole payload, or null if more bytes are needed. `sequence` is that of its last packet, so an answer goes
   * out as `sequence + 1`. Throws TOO_LARGE as soon as a header announces too much, MYSQL_PROTOCOL on a sequence gap
   * inside a split payload; after that the stream is unusable.
   */
  next(): { sequence: number; payload: Buffer } | null {
    for (;;) {
      if (this.#available < HEADER_BYTES) return null;
      const length = this.#peek(0) | (this.#peek(1) << 8) | (this.#peek(2) << 16);
      const sequence = this.#peek(3);
      if (this.#nextSequence !== null && sequence !== this.#nextSequence) {
        throw new PhxError(
          'MYSQL_PROTOCOL',
          `read packet: sequence ${sequence} inside a split payload, expected ${this.#nextSequence}`,
        );
      }
      if (this.#partBytes + length > this.#maxPayloadBytes) {
        throw new PhxError(
          'TOO_LARGE',
          `read packet: a payload of at least ${this.#partBytes + length} bytes is above the bound of ${this.#maxPayloadBytes}`,
        );
      }
      if (this.#available < HEADER_BYTES + length) return null;
      this.#skip(HEADER_BYTES);
      const part = this.#take(length);
      if (length === PACKET_PAYLOAD_MAX) {
        this.#parts.push(part);
        this.#partBytes += length;
        this.#nextSequence = (sequence + 1) & 0xff;
        continue;
      }
      if (this.#parts.length === 0) return { sequence, payload: part };
      const payload = Buffer.concat([...this.#parts, part], this.#partBytes + length);
      this.#parts = [];
      this.#partBytes = 0;
      this.#nextSequence = null;
      return { sequence, payload };
    }
  }

  /** The byte `ahead` positions on, ahead < available; at most four chunks are looked at. */
  #peek(ahead: number): number {
    let chunk = this.#head;
    let at = this.#headOffset + ahead;
    while (at >= this.#chunks[chunk]!.length) {
      at -= this.#chunks[chunk]!.length;
      chunk += 1;
    }
    return this.#chunks[chunk]![at]!;
  }

  #skip(length: number): void {
    this.#available -= length;
    this.#headOffset += length;
    while (this.#head < this.#chunks.length && this.#headOffset >= this.#chunks[this.#head]!.length) {
      this.#headOffset -= this.#chunks[this.#head]!.length;
      this.#head += 1;
    }
    // Dropping the used chunks costs as much as there are left, so it waits until half of the list is used.
    if (this.#head * 2 >= this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head);
      this.#head = 0;
    }
  }

  #take(length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    const first = this.#chunks[this.#head]!;
    if (this.#headOffset + length <= first.length) {
      const view = first.subarray(this.#headOffset, this.#headOffset + length);
      this.#skip(length);
      return view;
    }
    const out = Buffer.allocUnsafe(length);
    let filled = 0;
    let at = this.#headOffset;
    for (let chunk = this.#head; filled < length; chunk += 1) {
      filled += this.#chunks[chunk]!.copy(out, filled, at, at + length - filled);
      at = 0;
    }
    this.#skip(length);
    return out;
  }
}

/**
 * Frames one payload, given whole or in pieces, beginning with `sequence` (it wraps at 256). A payload of a multiple of
 * 16 MiB - 1 ends with an empty packet.
 */
export function encodePacket(payload: Uint8Array | readonly Uint8Array[], sequence: number): Buffer {
  const pieces = payload instanceof Uint8Array ? [payload] : payload;
  let total = 0;
  for (const piece of pieces) total += piece.length;
  const packets = Math.floor(total / PACKET_PAYLOAD_MAX) + 1;
  const out = Buffer.allocUnsafe(total + packets * HEADER_BYTES);
  let at = 0;
  let left = total;
  let room = 0;
  let next = sequence;
  const header = (): void => {
    room = Math.min(left, PACKET_PAYLOAD_MAX);
    out.writeUIntLE(room, at, 3);
    out[at + 3] = next & 0xff;
    at += HEADER_BYTES;
    next += 1;
  };
  header();
  for (const piece of pieces) {
    let from = 0;
    while (from < piece.length) {
      if (room === 0) header();
      const count = Math.min(room, piece.length - from);
      out.set(piece.subarray(from, from + count), at);
      at += count;
      from += count;
      room -= count;
      left -= count;
    }
  }
  if (total > 0 && total % PACKET_PAYLOAD_MAX === 0) header();
  return out;
}

/** Frames payloads one after another, sequence numbers running on. */
export function encodePackets(payloads: readonly Uint8Array[], firstSequence: number): Buffer {
  let sequence = firstSequence;
  const framed = payloads.map((payload) => {
    const packet = encodePacket(payload, sequence);
    sequence += Math.floor(payload.length / PACKET_PAYLOAD_MAX) + 1;
    return packet;
  });
  return Buffer.concat(framed);
}
