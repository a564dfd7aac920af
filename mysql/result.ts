import { ByteReader } from './byte-reader.ts';
import { CHARSET_UTF8MB4, SERVER_STATUS } from './capabilities.ts';
import { encodeLenenc, encodeLenencBytes, u16le, u32le } from './lenenc.ts';
import { encodePackets } from './packet.ts';

export type OkPacket = Readonly<{
  affectedRows: number;
  insertId: number;
  status: number;
  warnings: number;
  info: string;
}>;

/** `sqlState` has five characters. */
export type ErrPacket = Readonly<{ errno: number; sqlState: string; message: string }>;

const OK = 0x00;
const EOF = 0xfe;
const ERR = 0xff;
const NULL_VALUE = 0xfb;
/** From this length on a packet that begins with fe is a row or an OK packet with that marker, not an EOF. */
const EOF_BYTES_MAX = 9;
const TYPE_VAR_STRING = 0xfd;
const TEXT_COLUMN_BYTES_MAX = 1024 * 1024;

export function isErr(payload: Uint8Array): boolean {
  return payload[0] === ERR;
}

export function isEof(payload: Uint8Array): boolean {
  return payload[0] === EOF && payload.length < EOF_BYTES_MAX;
}

/** OK as the answer to a command. At the end of a result set without EOF packets it begins with fe: see isResultEnd. */
export function isOk(payload: Uint8Array): boolean {
  return payload[0] === OK && payload.length >= 7;
}

/** EOF, or with DEPRECATE_EOF the OK packet that stands in its place. */
export function isResultEnd(payload: Uint8Array): boolean {
  return payload[0] === EOF && payload.length < 0xffffff;
}

/** (00 or fe) | affected rows lenenc | insert id lenenc | status u16 | warnings u16 | info */
export function encodeOk(ok: Partial<OkPacket> = {}, marker: 0x00 | 0xfe = OK): Buffer {
  return Buffer.concat([
    Buffer.from([marker]),
    encodeLenenc(ok.affectedRows ?? 0),
    encodeLenenc(ok.insertId ?? 0),
    u16le(ok.status ?? SERVER_STATUS.AUTOCOMMIT),
    u16le(ok.warnings ?? 0),
    Buffer.from(ok.info ?? ''),
  ]);
}

/** Session track data, which we never ask for, would show up in `info`. */
export function parseOk(payload: Uint8Array): OkPacket {
  const reader = new ByteReader(payload, 'OK packet');
  const marker = reader.u8();
  if (marker !== OK && marker !== EOF) throw reader.bad(`begins with ${marker}`);
  const affectedRows = reader.lenenc();
  const insertId = reader.lenenc();
  const status = reader.u16();
  const warnings = reader.u16();
  return { affectedRows, insertId, status, warnings, info: reader.text(reader.remaining) };
}

/** ff | errno u16 | '#' | SQL state (5) | message */
export function encodeErr(err: ErrPacket): Buffer {
  return Buffer.concat([
    Buffer.from([ERR]),
    u16le(err.errno),
    Buffer.from(`#${err.sqlState.padEnd(5, '0').slice(0, 5)}${err.message}`),
  ]);
}

/** An ERR sent before the handshake has no SQL state: HY000 is put in its place. */
export function parseErr(payload: Uint8Array): ErrPacket {
  const reader = new ByteReader(payload, 'ERR packet');
  const marker = reader.u8();
  if (marker !== ERR) throw reader.bad(`begins with ${marker}`);
  const errno = reader.u16();
  let sqlState = 'HY000';
  if (reader.peek() === 0x23) {
    reader.skip(1);
    sqlState = reader.bytes(5).toString('latin1');
  }
  return { errno, sqlState, message: reader.text(reader.remaining) };
}

/** fe | warnings u16 | status u16 */
export function encodeEof(status: number = SERVER_STATUS.AUTOCOMMIT, warnings = 0): Buffer {
  return Buffer.concat([Buffer.from([EOF]), u16le(warnings), u16le(status)]);
}

function encodeColumn(name: string): Buffer {
  return Buffer.concat([
    encodeLenencBytes('def'),
    encodeLenencBytes(''), // schema
    encodeLenencBytes(''), // table
    encodeLenencBytes(''), // original table
    encodeLenencBytes(name),
    encodeLenencBytes(''), // original name
    Buffer.from([0x0c]),
    u16le(CHARSET_UTF8MB4),
    u32le(TEXT_COLUMN_BYTES_MAX),
    Buffer.from([TYPE_VAR_STRING]),
    u16le(0), // flags
    Buffer.from([0, 0, 0]), // decimals, filler
  ]);
}

function encodeTextRow(row: readonly (string | null)[]): Buffer {
  return Buffer.concat(row.map((value) => (value === null ? Buffer.from([NULL_VALUE]) : encodeLenencBytes(value))));
}

/** The framed packets of a text result set: column count, columns, [EOF], rows, EOF or its OK. */
export function encodeResultSet(
  columns: readonly string[],
  rows: readonly (readonly (string | null)[])[],
  firstSequence: number,
  options: Readonly<{ deprecateEof: boolean }>,
): Buffer {
  return encodePackets(
    [
      encodeLenenc(columns.length),
      ...columns.map(encodeColumn),
      ...(options.deprecateEof ? [] : [encodeEof()]),
      ...rows.map(encodeTextRow),
      options.deprecateEof ? encodeOk({}, EOF) : encodeEof(),
    ],
    firstSequence,
  );
}

/** First packet of a result set. */
export function parseColumnCount(payload: Uint8Array): number {
  const reader = new ByteReader(payload, 'column count');
  const count = reader.lenenc();
  if (reader.remaining > 0) throw reader.bad('bytes after the column count');
  return count;
}

export function parseColumnName(payload: Uint8Array): string {
  const reader = new ByteReader(payload, 'column');
  for (let i = 0; i < 4; i += 1) reader.lenencBytes();
  return reader.lenencBytes().toString('utf8');
}

export function parseTextRow(payload: Uint8Array, columnCount: number): (string | null)[] {
  const reader = new ByteReader(payload, 'row');
  const row: (string | null)[] = [];
  while (row.length < columnCount) {
    const length = reader.lenencOrNull();
    row.push(length === null ? null : reader.text(length));
  }
  if (reader.remaining > 0) throw reader.bad(`bytes after ${columnCount} columns`);
  return row;
}
