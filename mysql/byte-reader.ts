import { type ErrorCode, PhxError } from '../base/errors.ts';

/** A Buffer over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Reads little-endian fields one after another. Reading past the end is an operating error (the peer or the file sent
 * too little), thrown with the `code` and `what` given here; strings and byte fields are views, not copies.
 */
export class ByteReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  readonly #code: ErrorCode;
  #offset = 0;

  constructor(bytes: Uint8Array, what: string, code: ErrorCode = 'MYSQL_PROTOCOL') {
    this.#bytes = asBuffer(bytes);
    this.#what = what;
    this.#code = code;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The error to throw for bytes that make no sense at this point. */
  bad(reason: string): PhxError {
    return new PhxError(
      this.#code,
      `decode ${this.#what}: ${reason} (offset ${this.#offset} of ${this.#bytes.length})`,
    );
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#advance(2));
  }

  u24(): number {
    return this.#bytes.readUIntLE(this.#advance(3), 3);
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#advance(4));
  }

  /** 64 bits as a number; what does not fit one exactly is refused. */
  u64(): number {
    return this.#safe(this.u64big());
  }

  u64big(): bigint {
    return this.#bytes.readBigUInt64LE(this.#advance(8));
  }

  /** `length` little-endian bytes, at most 8, as a bigint. */
  uint(length: number): bigint {
    let value = 0n;
    const at = this.#advance(length);
    for (let i = length - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(this.#bytes[at + i]!);
    return value;
  }

  peek(): number | undefined {
    return this.#bytes[this.#offset];
  }

  skip(length: number): void {
    this.#advance(length);
  }

  bytes(length: number): Buffer {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  rest(): Buffer {
    return this.bytes(this.remaining);
  }

  text(length: number): string {
    return this.bytes(length).toString('utf8');
  }

  /** Up to the next NUL, which is consumed. */
  cstring(): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end < 0) throw this.bad('a string has no end');
    const value = this.#bytes.toString('utf8', this.#offset, end);
    this.#offset = end + 1;
    return value;
  }

  /** Length-encoded integer; `null` is the NULL marker (0xfb) of a text row. */
  lenencOrNull(): number | null {
    const first = this.u8();
    if (first < 0xfb) return first;
    if (first === 0xfb) return null;
    if (first === 0xfc) return this.u16();
    if (first === 0xfd) return this.u24();
    if (first === 0xfe) return this.u64();
    throw this.bad('0xff is no length');
  }

  lenenc(): number {
    const value = this.lenencOrNull();
    if (value === null) throw this.bad('NULL where a length belongs');
    return value;
  }

  lenencBytes(): Buffer {
    return this.bytes(this.lenenc());
  }

  /** Variable-length integer of mysql::serialization: as many low one-bits as there are further bytes (0..8). */
  varlen(): bigint {
    const first = this.u8();
    let more = 0;
    while (more < 8 && (first & (1 << more)) !== 0) more += 1;
    const low = more >= 7 ? 0n : BigInt(first >> (more + 1));
    if (more === 0) return low;
    const high = this.uint(more);
    return more === 8 ? high : (high << BigInt(7 - more)) | low;
  }

  varlenNumber(): number {
    return this.#safe(this.varlen());
  }

  #safe(value: bigint): number {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.bad(`${value} is above 2^53 - 1`);
    return Number(value);
  }

  #advance(length: number): number {
    const at = this.#offset;
    if (length > this.#bytes.length - at) throw this.bad(`needs ${length} bytes, has ${this.#bytes.length - at}`);
    this.#offset = at + length;
    return at;
  }
}
