import { PhxError } from '../base/errors.ts';

const HEADER_BYTES = 19;
const SIZE_OFFSET = 9;

/** Cuts a byte stream of binlog events, handed over in arbitrary pieces, back into whole events. */
export class EventSplitter {
  #parts: Uint8Array[] = [];
  #held = 0;

  /** @throws PhxError STORE_CORRUPT if an event's size cannot be right. */
  push(bytes: Uint8Array): Buffer[] {
    const events: Buffer[] = [];
    let piece = this.#held === 0 ? bytes : this.#join(bytes);
    if (piece === null) return events;
    for (;;) {
      const size = sizeOf(piece);
      if (size === null || piece.length < size) break;
      events.push(Buffer.from(piece.buffer, piece.byteOffset, size));
      piece = piece.subarray(size);
    }
    this.#parts = piece.length === 0 ? [] : [piece];
    this.#held = piece.length;
    return events;
  }

  get empty(): boolean {
    return this.#held === 0;
  }

  /** Everything held so far as one piece, or null while the event at its head is still incomplete (no copy then). */
  #join(bytes: Uint8Array): Uint8Array | null {
    this.#parts.push(bytes);
    this.#held += bytes.length;
    const size = sizeOf(this.#parts[0] as Uint8Array);
    if (size !== null && this.#held < size) return null;
    return Buffer.concat(this.#parts, this.#held);
  }
}

function sizeOf(bytes: Uint8Array): number | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const size = view.getUint32(SIZE_OFFSET, true);
  if (size < HEADER_BYTES) throw new PhxError('STORE_CORRUPT', `read binlog event: size ${size}`);
  return size;
}
