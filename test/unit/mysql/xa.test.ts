import { randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { EVENT_TYPE, encodeEvent, parseQuery, parseTransactionPayload } from '../../../mysql/binlog-event.ts';
import { encodeLenenc } from '../../../mysql/lenenc.ts';
import { TransactionAssembler } from '../../../mysql/transaction-stream.ts';
import { formatXid, XA_PAYLOAD_BYTES_MAX, XID_CHARS_MAX, xaStepOf, xidOfRow } from '../../../mysql/xa.ts';
import { eventsOf, eventsOfFile, phxError } from './fixtures.ts';

const file = eventsOfFile('binlog.000001').map(({ event }) => event);
const C = "X'63',X'',1";
const GTRID = "X'6774726964',X'627175616c',7";
const R = "X'72',X'',1";

/** As mysqld writes it: fields, then compressed events without checksums. */
function payloadEvent(payload: Uint8Array, uncompressedBytes: number, compression = 0): Buffer {
  const field = (number: number, value: number): Uint8Array => {
    const bytes = encodeLenenc(value);
    return Buffer.concat([encodeLenenc(number), encodeLenenc(bytes.length), bytes]);
  };
  const body = [field(1, payload.length), field(2, compression), field(3, uncompressedBytes), Buffer.of(0), payload];
  return encodeEvent({ type: EVENT_TYPE.TRANSACTION_PAYLOAD, serverId: 1, body: Buffer.concat(body) });
}

const recorded = file.filter((event) => event[4] === EVENT_TYPE.TRANSACTION_PAYLOAD);
const query = (sql: string): Buffer => {
  const head = Buffer.alloc(13);
  return encodeEvent({
    type: EVENT_TYPE.QUERY,
    serverId: 1,
    body: Buffer.concat([head, Buffer.from(`\0${sql}`)]),
    crc: false,
  });
};
const prepare = (onePhase: boolean): Buffer => {
  const body = Buffer.from([onePhase ? 1 : 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x63]);
  return encodeEvent({ type: EVENT_TYPE.XA_PREPARE, serverId: 1, body, crc: false });
};
const rows = (bytes: Uint8Array): Buffer =>
  encodeEvent({ type: EVENT_TYPE.WRITE_ROWS, serverId: 1, body: bytes, crc: false });

describe('steps of XA transactions in a binlog mysqld wrote', () => {
  it('are those of its XA statements, in a compressed transaction too', () => {
    const assembler = new TransactionAssembler();
    const steps = eventsOf('dump-plain.bin')
      .flatMap((event) => assembler.push(event))
      .flatMap((item) => (item.kind === 'part' && item.xa !== undefined ? [item.xa] : []));
    expect(steps).toEqual([
      { kind: 'prepare', xid: C },
      { kind: 'commit', xid: C },
      { kind: 'prepare', xid: GTRID },
      { kind: 'commit', xid: GTRID },
      { kind: 'prepare', xid: R },
      { kind: 'rollback', xid: R },
    ]);
  });

  it.each([1, 7, 80, 300])('are told with the last chunk only, of %i bytes', (chunkBytes) => {
    const assembler = new TransactionAssembler({ chunkBytes });
    const parts = eventsOf('dump-plain.bin')
      .flatMap((event) => assembler.push(event))
      .filter((item) => item.kind === 'part');
    expect(parts.filter(({ xa }) => xa !== undefined)).toHaveLength(6);
    expect(parts.every(({ xa, last }) => xa === undefined || last)).toBe(true);
  });

  it('no other event is one', () => {
    const others = file.filter((event) => event[4] === EVENT_TYPE.QUERY && !parseQuery(event).sql.startsWith('XA '));
    expect(others.length).toBeGreaterThan(5);
    for (const event of others) expect(xaStepOf(event)).toBeNull();
    expect(recorded.map((event) => xaStepOf(event))).toEqual([null, null, { kind: 'prepare', xid: C }]);
  });
});

describe('a compressed transaction', () => {
  const whole = (...events: Buffer[]): Buffer => Buffer.concat(events);
  const bulk = rows(randomBytes(400_000));
  it.each([
    ['prepared, of several blocks', whole(query(`XA START ${C}`), bulk, prepare(false)), { kind: 'prepare', xid: C }],
    ['committed in one phase', whole(query(`XA START ${C}`), bulk, prepare(true)), null],
    ['no XA', whole(query('BEGIN'), bulk), null],
    ['of repetitions', whole(query('BEGIN'), rows(Buffer.alloc(3_000_000))), null],
  ])('%s', (_, events, step) => {
    for (const level of [1, 3, 19]) {
      const compressed = zstdCompressSync(events, { params: { 100: level } });
      expect(xaStepOf(payloadEvent(compressed, events.length))).toEqual(step);
    }
    expect(xaStepOf(payloadEvent(events, events.length, 255))).toEqual(step);
  });

  it('is unclear, and no error, where it cannot be looked into', () => {
    const { payload, uncompressedBytes } = parseTransactionPayload(recorded[2] as Buffer);
    expect(xaStepOf(payloadEvent(payload, XA_PAYLOAD_BYTES_MAX + 1))).toEqual({ kind: 'unclear', xid: C });
    expect(xaStepOf(payloadEvent(payload, uncompressedBytes, 7))).toEqual({ kind: 'unclear', xid: '' });
    expect(xaStepOf(payloadEvent(randomBytes(200), 1000))).toEqual({ kind: 'unclear', xid: '' });
  });
});

describe('an xid', () => {
  it('is the same from XA RECOVER CONVERT XID and from the binlog', () => {
    const row = { formatID: 7, gtrid_length: 5, bqual_length: 5, data: '0x6774726964627175616C' };
    expect(xidOfRow(row)).toBe(GTRID);
    expect(xidOfRow({ formatID: '1', gtrid_length: '1', bqual_length: '0', data: '0x63' })).toBe(C);
    expect(formatXid('', '', 0)).toBe("X'',X'',0");
    expect(formatXid('ff'.repeat(64), 'ff'.repeat(64), 2 ** 32 - 1)).toHaveLength(XID_CHARS_MAX);
  });

  it.each([
    {},
    { formatID: 1, gtrid_length: 5, bqual_length: 0, data: '0x63' },
    { formatID: 1, gtrid_length: 1, bqual_length: 0, data: 'zz' },
  ])('%j is none', (row) => {
    expect(phxError(() => xidOfRow(row)).code).toBe('MYSQL_PROTOCOL');
  });
});
