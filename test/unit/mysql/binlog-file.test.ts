import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { EVENT_TYPE, encodeEvent, isGtidEvent } from '../../../mysql/binlog-event.ts';
import { BinlogFileScanner, type ScannedTransaction } from '../../../mysql/binlog-file.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { BINLOGS, cutInTwo, eventsOfFile, expected, fixture, onlyPhxError, phxError } from './fixtures.ts';

type Scan = { scanner: BinlogFileScanner; transactions: ScannedTransaction[] };

function scan(pieces: readonly Uint8Array[]): Scan {
  const scanner = new BinlogFileScanner();
  const transactions = pieces.flatMap((piece) => scanner.push(piece));
  scanner.end();
  return { scanner, transactions };
}

const asText = ({ scanner, transactions }: Scan): string =>
  JSON.stringify([
    transactions,
    scanner.formatDescription,
    scanner.previousGtids?.toString(),
    scanner.endsWith,
    scanner.nextFile,
    scanner.corrupt,
    scanner.truncatedAt,
    scanner.offset,
  ]);

/** Where transactions begin and end according to the server. */
function boundaries(index: number): { start: number; end: number }[] {
  const shown = Object.values(expected.files)[index]!;
  const starts = shown.filter(({ type }) => type.startsWith('Gtid')).map(({ pos }) => pos);
  const end = shown.findLast(({ type }) => type !== 'Rotate')!.end;
  return starts.map((start, i) => ({ start, end: starts[i + 1] ?? end }));
}

describe('recorded files', () => {
  it.each(BINLOGS.map((name, index) => [name, index] as const))('%s', (name, index) => {
    const { scanner, transactions } = scan([fixture(name)]);
    expect(transactions.map(({ startOffset, endOffset }) => ({ start: startOffset, end: endOffset }))).toEqual(
      boundaries(index),
    );
    for (const { startOffset, endOffset, crc } of transactions) {
      expect(crc).toBe(crc32(fixture(name).subarray(startOffset, endOffset)));
    }
    expect([scanner.truncatedAt, scanner.corrupt]).toEqual([null, null]);
    const last = index === BINLOGS.length - 1;
    expect(scanner.inUse).toBe(last);
    expect(scanner.endsWith).toBe(last ? null : 'rotate');
    expect(scanner.nextFile).toBe(last ? null : `mysql-bin.00000${index + 2}`);
  });

  it('hold nothing another server committed first', () => {
    expect(
      BINLOGS.flatMap((name) => scan([fixture(name)]).transactions).filter(({ replicated }) => replicated),
    ).toEqual([]);
  });

  it('a transaction whose original was committed at another time was replicated', () => {
    const [begin] = eventsOfFile('binlog.000001');
    const time = (us: number, original: boolean): Buffer => {
      const bytes = Buffer.alloc(7);
      bytes.writeUIntLE(us, 0, 6);
      if (original) bytes[6]! |= 0x80;
      return bytes;
    };
    const transaction = (times: readonly Buffer[]): Buffer => {
      const head = Buffer.concat([
        Buffer.of(0),
        Buffer.alloc(16, 7),
        Buffer.of(9, 0, 0, 0, 0, 0, 0, 0, 2),
        Buffer.alloc(16),
      ]);
      const size = 19 + head.length + 7 * times.length + 1 + 4;
      const body = Buffer.concat([head, ...times, Buffer.of(size)]);
      return encodeEvent({ type: EVENT_TYPE.GTID, serverId: 7, body });
    };
    const of = (...times: readonly Buffer[]): ScannedTransaction | undefined =>
      scan([fixture('binlog.000001').subarray(0, 4), begin!.event, transaction(times)]).transactions[0];
    expect(of(time(5, false))).not.toHaveProperty('replicated');
    expect(of(time(5, true), time(4, false))).toMatchObject({ replicated: true });
  });

  it('follow one another', () => {
    let set = GtidSet.EMPTY;
    for (const name of BINLOGS) {
      const { scanner, transactions } = scan([fixture(name)]);
      expect(scanner.previousGtids?.equals(set)).toBe(true);
      set = set.union(GtidSet.of(...transactions.map(({ gtid }) => gtid)));
    }
    expect(set.equals(GtidSet.parse(expected.gtidExecuted))).toBe(true);
  });

  it.each(BINLOGS)('%s gives the same wherever it is cut', (name) => {
    cutInTwo(fixture(name), (pieces) => asText(scan(pieces)));
    const bytes = [...fixture(name)].map((byte) => Uint8Array.of(byte));
    expect(asText(scan(bytes))).toBe(asText(scan([fixture(name)])));
  });

  it('does not keep what was pushed', () => {
    const scanner = new BinlogFileScanner();
    const buffer = Buffer.alloc(13);
    const bytes = fixture('binlog.000001');
    const found: ScannedTransaction[] = [];
    for (let at = 0; at < bytes.length; at += buffer.length) {
      const length = bytes.copy(buffer, 0, at);
      found.push(...scanner.push(buffer.subarray(0, length)));
      buffer.fill(0xff);
    }
    expect(found).toEqual(scan([bytes]).transactions);
  });
});

describe('a torn tail', () => {
  it.each(BINLOGS.map((name, index) => [name, index] as const))(
    '%s, at every length: whole transactions, then where the rest begins',
    (name, index) => {
      const bytes = fixture(name);
      const edges = [...eventsOfFile(name).map(({ offset }) => offset), bytes.length];
      const whole = boundaries(index);
      for (let length = 0; length <= bytes.length; length += 1) {
        const { scanner, transactions } = scan([bytes.subarray(0, length)]);
        const complete = whole.filter(({ end }) => end <= length);
        expect(transactions).toHaveLength(complete.length);
        expect(scanner.corrupt).toBeNull();
        const inside = whole.find(({ start, end }) => start < length && length < end);
        const edge = edges.findLast((offset) => offset <= length) ?? 0;
        const torn = length < 4 ? 0 : (inside?.start ?? (edge === length ? null : edge));
        if (scanner.truncatedAt !== torn) expect(scanner.truncatedAt, `length ${length}`).toBe(torn);
      }
    },
  );
});

describe('damage', () => {
  it('is found wherever a byte is flipped, and nothing from there on is believed', () => {
    const bytes = fixture('binlog.000002');
    const intact = scan([bytes]).transactions;
    const events = eventsOfFile('binlog.000002');
    const previousGtidsEnd = events[1]!.offset + events[1]!.event.length;
    for (let at = 4; at < bytes.length; at += 1) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 0x04;
      const { scanner, transactions } = scan([damaged]);
      const hit = events.findLast(({ offset }) => offset <= at)!;
      const before = intact.filter(({ endOffset }) => endOffset <= at);
      const shown = `byte ${at}`;
      expect(transactions.length, shown).toBe(before.length);
      expect(scanner.truncatedAt, shown).not.toBeNull();
      expect(scanner.truncatedAt!, shown).toBeLessThanOrEqual(at);
      // A flipped size may make the event reach beyond the file: then it looks torn instead.
      if (scanner.corrupt !== null) expect(scanner.corrupt.offset, shown).toBe(hit.offset);
      else expect(at - hit.offset, shown).toBeLessThan(13);
      if (at >= previousGtidsEnd && isGtidEvent(hit.event[4]!)) expect(scanner.truncatedAt, shown).toBe(hit.offset);
    }
  });

  it('a tail of zeros is damage, at its first byte', () => {
    const bytes = Buffer.concat([fixture('binlog.000003'), Buffer.alloc(100)]);
    const { scanner, transactions } = scan([bytes]);
    expect(transactions).toHaveLength(1);
    expect(scanner.truncatedAt).toBe(fixture('binlog.000003').length);
    expect(scanner.corrupt).toMatchObject({ offset: fixture('binlog.000003').length });
  });

  it('a file that is no plain binlog is refused', () => {
    expect(phxError(() => scan([Buffer.from('fd62696e00', 'hex')]))).toMatchObject({
      code: 'BINLOG_ENCRYPTED',
      hint: expect.stringContaining('binlog_encryption'),
    });
    expect(phxError(() => scan([Buffer.from('hello world')])).code).toBe('BINLOG_CORRUPT');
    expect(scan([Buffer.alloc(0)]).scanner.truncatedAt).toBe(0);
    expect(scan([Buffer.from('fe62', 'hex')]).scanner.truncatedAt).toBe(0);
  });

  it('anonymous transactions are refused with a hint', () => {
    const body = Buffer.alloc(42);
    body[25] = 2;
    const event = encodeEvent({ type: EVENT_TYPE.ANONYMOUS_GTID, serverId: 1, body });
    const head = fixture('binlog.000001').subarray(0, eventsOfFile('binlog.000001')[2]!.offset);
    expect(phxError(() => scan([head, event]))).toMatchObject({ hint: expect.stringContaining('gtid_mode') });
  });
});

it('a closed file ends with a stop event after a clean shutdown', () => {
  const stop = encodeEvent({ type: EVENT_TYPE.STOP, serverId: 7, body: Buffer.alloc(0) });
  const { scanner } = scan([fixture('binlog.000003'), stop]);
  expect([scanner.endsWith, scanner.truncatedAt]).toEqual(['stop', null]);
});

it('a file without checksums is read too', () => {
  const events = eventsOfFile('binlog.000003').map(({ event }) => {
    if (event[4] === EVENT_TYPE.FORMAT_DESCRIPTION) {
      const body = Buffer.from(event.subarray(19, -4));
      body[body.length - 1] = 0;
      return encodeEvent({ type: event[4], serverId: 7, body });
    }
    const body = Buffer.from(event.subarray(19, -4));
    // The announced length, 285 = fc 1d 01, shrinks by four bytes for each of the five events.
    if (isGtidEvent(event[4]!)) body.writeUInt16LE(body.readUInt16LE(50) - 20, 50);
    return encodeEvent({ type: event[4]!, serverId: 7, body, crc: false });
  });
  const { scanner, transactions } = scan([Buffer.from('fe62696e', 'hex'), ...events]);
  expect([scanner.corrupt, scanner.truncatedAt]).toEqual([null, null]);
  expect(transactions).toHaveLength(1);
});

it('memory does not grow with the transaction', () => {
  const big = encodeEvent({ type: EVENT_TYPE.ROWS_QUERY, serverId: 7, body: Buffer.alloc(64 * 1024 * 1024) });
  const gtid = Buffer.from(eventsOfFile('binlog.000003')[2]!.event.subarray(19, -4));
  const head = 19 + gtid.length + 6 + 4;
  const length = Buffer.alloc(9, 0xfe);
  length.writeBigUInt64LE(BigInt(big.length + head), 1);
  const body = Buffer.concat([gtid.subarray(0, 49), length, gtid.subarray(52)]);
  const event = encodeEvent({ type: EVENT_TYPE.GTID, serverId: 7, body });
  const scanner = new BinlogFileScanner();
  scanner.push(fixture('binlog.000003').subarray(0, eventsOfFile('binlog.000003')[2]!.offset));
  const found = [...scanner.push(event)];
  for (let at = 0; at < big.length; at += 65536) found.push(...scanner.push(big.subarray(at, at + 65536)));
  scanner.end();
  expect(scanner.corrupt).toBeNull();
  expect(found).toHaveLength(1);
  expect(found[0]!.endOffset - found[0]!.startOffset).toBe(big.length + event.length);
});

it('rubbish never gives anything but a result or a PhxError', () => {
  for (let length = 0; length < 64; length += 1) {
    onlyPhxError(() => scan([Buffer.from('fe62696e', 'hex'), Buffer.alloc(length, length)]), `${length}`);
  }
});
