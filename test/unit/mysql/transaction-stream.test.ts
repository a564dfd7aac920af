import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  EVENT_TYPE,
  encodeEvent,
  encodeRotate,
  isGtidEvent,
  parseFormatDescription,
} from '../../../mysql/binlog-event.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { type StreamItem, TransactionAssembler } from '../../../mysql/transaction-stream.ts';
import { BINLOGS, DUMPS, eventsOf, eventsOfFile, expected, fixture, phxError } from './fixtures.ts';

const assemble = (events: readonly Uint8Array[], chunkBytes?: number): StreamItem[] => {
  const assembler = new TransactionAssembler(chunkBytes === undefined ? {} : { chunkBytes });
  const items = events.flatMap((event) => assembler.push(event));
  expect(assembler.inTransaction).toBe(false);
  return items;
};

type Whole = { gtid: string; bytes: Buffer; crc: number };

/** Joins parts, checking the flags on the way. */
function join(items: readonly StreamItem[]): Whole[] {
  const out: Whole[] = [];
  let pieces: Uint8Array[] | null = null;
  for (const item of items) {
    if (item.kind === 'file') continue;
    expect(item.first).toBe(pieces === null);
    pieces ??= [];
    pieces.push(item.events);
    if (!item.last) {
      expect(item.crc).toBe(0);
      continue;
    }
    out.push({ gtid: item.gtid, bytes: Buffer.concat(pieces), crc: item.crc });
    pieces = null;
  }
  expect(pieces).toBeNull();
  return out;
}

const executed = GtidSet.parse(expected.gtidExecuted);
const rotate = encodeRotate({ file: 'mysql-bin.000001', position: 4, serverId: 7, crc: true });
const file = eventsOfFile('binlog.000001').map(({ event }) => event);

describe('recorded dumps', () => {
  it('hold the transactions the server counts, each as long as it announces', () => {
    const plain = join(assemble(eventsOf('dump-plain.bin')));
    expect(GtidSet.of(...plain.map(({ gtid }) => gtid)).equals(executed)).toBe(true);
    for (const { bytes, crc } of plain) expect(crc).toBe(crc32(bytes));
    const middle = join(assemble(eventsOf('dump-middle.bin')));
    const half = GtidSet.parse(expected.half);
    expect(GtidSet.of(...middle.map(({ gtid }) => gtid)).equals(executed.subtract(half))).toBe(true);
    const semiSync = join(assemble(eventsOf('dump-semi-sync.bin')));
    expect(semiSync.slice(0, -1)).toEqual(plain);
    expect(semiSync.at(-1)!.gtid).toBe(`${expected.serverUuid}:17`);
  });

  it('are byte for byte what the files hold', () => {
    const inFiles = Buffer.concat(
      BINLOGS.map((name) => {
        const events = eventsOfFile(name);
        const first = events.find(({ event }) => isGtidEvent(event[4]!))!.offset;
        const last = events.at(-1)!;
        return fixture(name).subarray(first, last.event[4] === EVENT_TYPE.ROTATE ? last.offset : undefined);
      }),
    );
    const streamed = Buffer.concat(join(assemble(eventsOf('dump-plain.bin'))).map(({ bytes }) => bytes));
    expect(streamed.equals(inFiles)).toBe(true);
  });

  it('tell of every file once its name and format description are known', () => {
    const files = assemble(eventsOf('dump-semi-sync.bin')).filter((item) => item.kind === 'file');
    expect(files.map(({ name }) => name)).toEqual([1, 2, 3, 4].map((n) => `mysql-bin.00000${n}`));
    for (const { formatDescription } of files) {
      expect(parseFormatDescription(formatDescription).serverVersion).toBe(expected.version);
    }
  });

  it.each([1, 2, 7, 64, 79, 80, 100, 176, 300, 1000])('come in chunks of at most %i bytes', (chunkBytes) => {
    for (const name of DUMPS) {
      const items = assemble(eventsOf(name), chunkBytes);
      for (const item of items) if (item.kind === 'part') expect(item.events.length).toBeLessThanOrEqual(chunkBytes);
      for (const item of items) if (item.kind === 'part') expect(item.events.length).toBeGreaterThan(0);
      expect(join(items)).toEqual(join(assemble(eventsOf(name))));
    }
  });

  it('do not share memory with what was pushed', () => {
    const assembler = new TransactionAssembler({ chunkBytes: 50 });
    const buffer = Buffer.alloc(1024);
    const items = eventsOf('dump-plain.bin').flatMap((event) => {
      event.copy(buffer);
      const out = assembler.push(buffer.subarray(0, event.length));
      buffer.fill(0xff);
      return out;
    });
    expect(join(items)).toEqual(join(assemble(eventsOf('dump-plain.bin'))));
  });
});

describe('refused', () => {
  const start = [rotate, file[0]!];
  const transaction = file.slice(2, 4);
  const longer = file.slice(4, 6);
  const push = (events: readonly Uint8Array[]): unknown => phxError(() => assemble(events));

  it.each([
    ['a damaged event', [rotate, Buffer.concat([file[0]!.subarray(0, -1), Buffer.from([0])])], 'checksum'],
    ['a format description without a name', [file[0]!], 'before any rotate'],
    ['a transaction without format description', [rotate, ...transaction], 'before any format description'],
    ['an event outside a transaction', [...start, file[3]!], 'belongs to no transaction'],
    ['a transaction inside another', [...start, transaction[0]!, longer[0]!], 'inside'],
    ['a rotation inside a transaction', [...start, transaction[0]!, rotate], 'inside'],
    ['more bytes than announced', [...start, transaction[0]!, longer[1]!], 'beyond the length it announced'],
    [
      'a transaction without GTID',
      [...start, encodeEvent({ type: EVENT_TYPE.ANONYMOUS_GTID, serverId: 1, body: anonymous() })],
      'without GTID',
    ],
    [
      'a transaction without length',
      [...start, encodeEvent({ type: EVENT_TYPE.GTID, serverId: 1, body: transaction[0]!.subarray(19, 19 + 42) })],
      'announces 0 bytes',
    ],
  ])('%s', (_, events, reason) => {
    expect(push(events)).toMatchObject({ code: 'BINLOG_CORRUPT', message: expect.stringContaining(reason) });
  });

  it('says what to do about anonymous transactions', () => {
    const event = encodeEvent({ type: EVENT_TYPE.ANONYMOUS_GTID, serverId: 1, body: anonymous() });
    expect(push([...start, event])).toMatchObject({ hint: expect.stringContaining('gtid_mode') });
  });

  it('a stream without checksums', () => {
    const plain = Buffer.from(file[0]!);
    plain[plain.length - 5] = 0;
    const body = plain.subarray(19, -4);
    const event = encodeEvent({ type: EVENT_TYPE.FORMAT_DESCRIPTION, serverId: 7, body });
    expect(push([rotate, event])).toMatchObject({ hint: expect.stringContaining('binlog_checksum') });
  });

  function anonymous(): Buffer {
    const body = Buffer.alloc(42);
    body[25] = 2;
    return body;
  }
});

it('an event that begins with EF passes unharmed', () => {
  const body = Buffer.from('x');
  const event = encodeEvent({ type: EVENT_TYPE.IGNORABLE, serverId: 7, timestamp: 0xef, flags: 0x80, body });
  expect(event[0]).toBe(0xef);
  expect(assemble([rotate, file[0]!, event, ...file.slice(2, 4)])).toHaveLength(2);
});
