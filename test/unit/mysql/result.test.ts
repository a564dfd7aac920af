import { describe, expect, it } from 'vitest';
import {
  encodeEof,
  encodeErr,
  encodeOk,
  encodeResultSet,
  isEof,
  isErr,
  isOk,
  isResultEnd,
  parseColumnName,
  parseErr,
  parseOk,
  parseTextRow,
} from '../../../mysql/result.ts';
import { type QueryResult, ResultReader } from '../../../mysql/result-reader.ts';
import { fixture, packetsOf, phxError, truncate } from './fixtures.ts';

function collect(payloads: readonly Uint8Array[], deprecateEof = false): QueryResult | null {
  const reader = new ResultReader({ deprecateEof });
  let result: QueryResult | null = null;
  for (const payload of payloads) {
    expect(result).toBeNull();
    result = reader.push(payload);
  }
  return result;
}

describe('what a real server answers', () => {
  it('OK', () => {
    const [packet] = packetsOf(fixture('ok.server.bin'));
    expect(isOk(packet!)).toBe(true);
    expect(parseOk(packet!)).toEqual({ affectedRows: 0, insertId: 0, status: 2, warnings: 0, info: '' });
    expect(encodeOk().equals(packet!)).toBe(true);
    truncate(packet!, parseOk);
  });

  it('ERR', () => {
    const [packet] = packetsOf(fixture('err.server.bin'));
    expect(isErr(packet!)).toBe(true);
    const err = parseErr(packet!);
    expect(err).toMatchObject({ sqlState: expect.stringMatching(/^42/), message: expect.stringContaining('f') });
    expect(encodeErr(err).equals(packet!)).toBe(true);
    truncate(packet!, parseErr);
  });

  it('rows', () => {
    const packets = packetsOf(fixture('rows.server.bin'));
    expect(collect(packets)).toEqual({
      kind: 'rows',
      columns: ['one', 'nothing', 'text'],
      rows: [
        ['1', null, 'grün'],
        ['2', '', 'y'.repeat(300)],
      ],
    });
    truncate(packets[1]!, parseColumnName);
    truncate(packets.at(-2)!, (bytes) => parseTextRow(bytes, 3));
  });
});

describe('what we answer', () => {
  it.each([false, true])('a result set reads back (deprecateEof %s)', (deprecateEof) => {
    const rows = [
      ['a', null],
      ['', 'x'.repeat(70_000)],
    ];
    const packets = packetsOf(encodeResultSet(['c1', 'c2'], rows, 1, { deprecateEof }));
    expect(collect(packets, deprecateEof)).toEqual({ kind: 'rows', columns: ['c1', 'c2'], rows });
    const empty = packetsOf(encodeResultSet(['c'], [], 1, { deprecateEof }));
    expect(collect(empty, deprecateEof)).toEqual({ kind: 'rows', columns: ['c'], rows: [] });
  });

  it('OK and ERR read back', () => {
    const ok = { affectedRows: 3, insertId: 70_000, status: 3, warnings: 9, info: 'Rows matched: 1' };
    expect(collect([encodeOk(ok)])).toEqual({ kind: 'ok', ok });
    const err = { errno: 1236, sqlState: 'HY000', message: 'no' };
    expect(collect([encodeErr(err)])).toEqual({ kind: 'err', err });
    expect(parseErr(Buffer.from('\xff\x10\x04Too many connections', 'latin1'))).toEqual({
      errno: 1040,
      sqlState: 'HY000',
      message: 'Too many connections',
    });
  });

  it('EOF is told from a row that begins with its byte', () => {
    expect(isEof(encodeEof())).toBe(true);
    expect(isEof(Buffer.concat([Buffer.from([0xfe]), Buffer.alloc(8)]))).toBe(false);
    expect(isResultEnd(encodeOk({}, 0xfe))).toBe(true);
  });

  it('nonsense is refused', () => {
    expect(phxError(() => collect([Buffer.from([0])])).code).toBe('MYSQL_PROTOCOL');
    expect(phxError(() => collect([Buffer.alloc(0)])).code).toBe('MYSQL_PROTOCOL');
    expect(phxError(() => parseTextRow(Buffer.from([1, 0x61, 1, 0x62]), 1)).message).toContain('bytes after 1 columns');
  });
});
