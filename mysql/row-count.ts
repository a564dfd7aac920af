import { PhxError } from '../base/errors.ts';
import { EVENT_CRC_BYTES, EVENT_HEADER_BYTES, EVENT_TYPE, parseEventHeader } from './binlog-event.ts';
import { ByteReader } from './byte-reader.ts';

/**
 * Counts the rows a transaction changes, from its events: how far a replica is in executing it can be told only against that. Values
 * are stepped over by the lengths the table map gives; none is looked at. Source: the manual of MySQL's binlog event classes
 * (Table_map_event, Rows_event), and what 9.7 writes.
 */
export class RowCounter {
  readonly #tables = new Map<number, readonly Column[]>();
  #rows: number | null = 0;

  /** null: there is an event in it whose rows cannot be counted (compressed, partial JSON). */
  get rows(): number | null {
    return this.#rows;
  }

  /** One whole event, with checksum. Never throws: what cannot be read cannot be counted. */
  push(event: Uint8Array): void {
    if (this.#rows === null) return;
    try {
      const counted = this.#count(event);
      this.#rows = counted === null ? null : this.#rows + counted;
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
      this.#rows = null;
    }
  }

  #count(event: Uint8Array): number | null {
    const { type } = parseEventHeader(event);
    if (type === EVENT_TYPE.TRANSACTION_PAYLOAD || type === PARTIAL_UPDATE) return null;
    const body = event.subarray(EVENT_HEADER_BYTES, event.length - EVENT_CRC_BYTES);
    if (type === TABLE_MAP) {
      this.#map(new ByteReader(body, 'table map event', 'BINLOG_CORRUPT'));
      return 0;
    }
    return ROWS.has(type) ? this.#countRows(body, type === UPDATE_ROWS) : 0;
  }

  /** table u48 | flags u16 | schema, table: length u8, text, 0 | columns | types | metadata … */
  #map(reader: ByteReader): void {
    const table = tableId(reader);
    reader.skip(2);
    for (let names = 0; names < 2; names += 1) reader.skip(reader.u8() + 1);
    const types = reader.bytes(reader.lenenc());
    const metadata = new ByteReader(reader.bytes(reader.lenenc()), 'table map metadata', 'BINLOG_CORRUPT');
    this.#tables.set(
      table,
      Array.from(types, (type) => columnOf(type, metadata)),
    );
  }

  /** table u48 | flags u16 | extra: length u16 with itself | columns | which are there, of an update before and after | rows */
  #countRows(body: Uint8Array, update: boolean): number | null {
    const reader = new ByteReader(body, 'rows event', 'BINLOG_CORRUPT');
    const columns = this.#tables.get(tableId(reader));
    if (columns === undefined) return null;
    reader.skip(2);
    reader.skip(reader.u16() - 2);
    const width = reader.lenenc();
    const bitmap = (): Uint8Array => reader.bytes((width + 7) >> 3);
    const images = (update ? [bitmap(), bitmap()] : [bitmap()]).map((there) => columns.filter((_, i) => bit(there, i)));
    if (columns.length !== width || columns.some((size) => size === null)) return null;
    let rows = 0;
    for (let at = body.length - reader.remaining; at < body.length; rows += 1) {
      for (const image of images) at = stepOver(body, at, image as readonly Size[]);
      if (at > body.length) return null;
    }
    return rows;
  }
}

const TABLE_MAP = 19;
const UPDATE_ROWS = 31;
const PARTIAL_UPDATE = 39;
const ROWS: ReadonlySet<number> = new Set([30, UPDATE_ROWS, 32]);

/** Bytes of a value: so many, or as many as the so many bytes before it say. */
type Size = Readonly<{ fixed: number }> | Readonly<{ prefix: number }>;
/** null: not known. */
type Column = Size | null;

const bit = (bitmap: Uint8Array, i: number): boolean => (((bitmap[i >> 3] as number) >> (i & 7)) & 1) === 1;

function tableId(reader: ByteReader): number {
  return reader.u32() + reader.u16() * 2 ** 32;
}

/** One row image: a bit for each column there whether it is NULL, then the values of the others. */
function stepOver(body: Uint8Array, from: number, image: readonly Size[]): number {
  let at = from + ((image.length + 7) >> 3);
  for (let i = 0; i < image.length; i += 1) {
    if (bit(body.subarray(from), i)) continue;
    const size = image[i] as Size;
    if ('fixed' in size) {
      at += size.fixed;
      continue;
    }
    let length = 0;
    for (let k = size.prefix - 1; k >= 0; k -= 1) length = length * 256 + (body[at + k] ?? 0);
    at += size.prefix + length;
  }
  return at;
}

const FIXED: Readonly<Record<number, number>> = {
  ...{ 1: 1, 2: 2, 3: 4, 6: 0, 7: 4, 8: 8, 9: 3, 10: 3, 11: 3, 12: 8, 13: 1, 14: 3 },
};
const fixed = (bytes: number): Size => ({ fixed: bytes });
const fraction = (digits: number): number => (digits + 1) >> 1;
/** Bytes of up to nine decimal digits. */
const DIGITS = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4] as const;
const digits = (n: number): number => Math.floor(n / 9) * 4 + (DIGITS[n % 9] as number);

/** `type`: an enum_field_types; takes what belongs to it from `metadata`. */
function columnOf(type: number, metadata: ByteReader): Column {
  const known = FIXED[type];
  if (known !== undefined) return fixed(known);
  switch (type) {
    case 4: // FLOAT
    case 5: // DOUBLE
      return fixed(metadata.u8());
    case 15: // VARCHAR
      return { prefix: metadata.u16() < 256 ? 1 : 2 };
    case 16: {
      // BIT: bits over, whole bytes
      const over = metadata.u8();
      return fixed(metadata.u8() + (over > 0 ? 1 : 0));
    }
    case 17: // TIMESTAMP2
      return fixed(4 + fraction(metadata.u8()));
    case 18: // DATETIME2
      return fixed(5 + fraction(metadata.u8()));
    case 19: // TIME2
      return fixed(3 + fraction(metadata.u8()));
    case 242: // VECTOR
    case 245: // JSON
    case 252: // BLOB
    case 255: // GEOMETRY
      return { prefix: metadata.u8() };
    case 246: {
      const precision = metadata.u8();
      const scale = metadata.u8();
      return fixed(digits(precision - scale) + digits(scale));
    }
    case 247: // ENUM
    case 248: // SET
    case 253: // VAR_STRING
    case 254:
      return stringOf(metadata.u8(), metadata.u8());
    default:
      return null;
  }
}

/** CHAR, BINARY, ENUM, SET: the type, with the upper bits of a long length folded into it; then the length. */
function stringOf(folded: number, low: number): Column {
  const high = ((folded & 0x30) ^ 0x30) << 4;
  const type = folded | 0x30;
  if (type === 247 || type === 248) return fixed(low);
  return { prefix: high + low < 256 ? 1 : 2 };
}
