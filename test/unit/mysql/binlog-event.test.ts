import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  CHECKSUM_CRC32,
  checkEventCrc,
  EVENT_FLAG_ARTIFICIAL,
  EVENT_TYPE,
  encodeEvent,
  encodeHeartbeat,
  encodePreviousGtids,
  encodeRotate,
  formatDescriptionForDump,
  isGtidEvent,
  parseEventHeader,
  parseFormatDescription,
  parseGtidEvent,
  parseHeartbeat,
  parsePreviousGtids,
  parseQuery,
  parseRotate,
  parseTransactionPayload,
  parseXaPrepare,
  parseXid,
} from '../../../mysql/binlog-event.ts';
import { formatGtid } from '../../../mysql/gtid.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { BINLOGS, DUMPS, eventsOf, eventsOfFile, expected, phxError, truncate } from './fixtures.ts';

const all = [...BINLOGS.flatMap((name) => eventsOfFile(name).map(({ event }) => event)), ...DUMPS.flatMap(eventsOf)];
const ofType = (type: number): Buffer[] => all.filter((event) => event[4] === type);
const one = (type: number): Buffer => ofType(type)[0]!;

describe('every recorded event', () => {
  it('has a right checksum, and every damaged byte is noticed', () => {
    expect(all.length).toBeGreaterThan(250);
    for (const event of all) {
      checkEventCrc(event);
      for (let i = 0; i < event.length; i += 1) {
        const damaged = Buffer.from(event);
        damaged[i]! ^= 0x10;
        expect(phxError(() => checkEventCrc(damaged)).code).toBe('BINLOG_CORRUPT');
      }
    }
  });

  it('is what SHOW BINLOG EVENTS says, where it says', () => {
    for (const [index, name] of BINLOGS.entries()) {
      const shown = Object.values(expected.files)[index]!.filter(({ pos, end }) => end > pos);
      const read = eventsOfFile(name);
      expect(read.map(({ offset, event }) => [offset, offset + event.length])).toEqual(
        shown.map(({ pos, end }) => [pos, end]),
      );
      for (const [i, { event, offset }] of read.entries()) {
        expect(parseEventHeader(event)).toMatchObject({
          serverId: 7,
          size: event.length,
          logPos: offset + event.length,
        });
        if (isGtidEvent(event[4]!)) expect(shown[i]!.info).toContain(`'${formatGtid(parseGtidEvent(event).gtid!)}'`);
      }
    }
  });

  it('is refused by a decoder of another type, and read or refused when cut short', () => {
    const decoders: readonly (readonly [readonly number[], (event: Uint8Array) => unknown])[] = [
      [[EVENT_TYPE.FORMAT_DESCRIPTION], parseFormatDescription],
      [[EVENT_TYPE.ROTATE], parseRotate],
      [[EVENT_TYPE.GTID, EVENT_TYPE.GTID_TAGGED], parseGtidEvent],
      [[EVENT_TYPE.PREVIOUS_GTIDS], parsePreviousGtids],
      [[EVENT_TYPE.QUERY], parseQuery],
      [[EVENT_TYPE.XID], parseXid],
      [[EVENT_TYPE.HEARTBEAT, EVENT_TYPE.HEARTBEAT_V2], parseHeartbeat],
      [[EVENT_TYPE.TRANSACTION_PAYLOAD], parseTransactionPayload],
      [[EVENT_TYPE.XA_PREPARE], parseXaPrepare],
    ];
    for (const [types, decode] of decoders) {
      for (const type of types) {
        for (const event of ofType(type)) {
          truncate(event, decode);
          // The same with a size that fits, so that the body itself is too short.
          const body = event.subarray(19, -4);
          truncate(body, (short) => decode(encodeEvent({ type, serverId: 1, body: short })));
        }
      }
      const foreign = one(types.includes(EVENT_TYPE.XID) ? EVENT_TYPE.QUERY : EVENT_TYPE.XID);
      expect(phxError(() => decode(foreign)).code).toBe('BINLOG_CORRUPT');
    }
  });
});

describe('decoders', () => {
  it('format description', () => {
    const [first, , last] = BINLOGS.map((name) => parseFormatDescription(eventsOfFile(name)[0]!.event));
    expect(first).toMatchObject({ serverVersion: expected.version, checksum: CHECKSUM_CRC32, inUse: false });
    expect(first!.postHeaderLengths[EVENT_TYPE.GTID - 1]).toBe(42);
    expect(first!.postHeaderLengths).toHaveLength(EVENT_TYPE.GTID_TAGGED);
    expect(last).toMatchObject({ inUse: true, created: 0 });
  });

  it('rotate: real and artificial', () => {
    expect(parseRotate(eventsOfFile('binlog.000001').at(-1)!.event)).toEqual({ file: 'mysql-bin.000002', position: 4 });
    expect(parseRotate(eventsOf('dump-position.bin')[0]!)).toEqual({ file: 'mysql-bin.000003', position: 405 });
  });

  it('gtid: the logical clock', () => {
    const first = eventsOfFile('binlog.000001').find(({ event }) => isGtidEvent(event[4]!))!.event;
    expect(parseGtidEvent(first)).toMatchObject({
      gtid: { uuid: expected.serverUuid, tag: '', gno: 1 },
      lastCommitted: 0,
      sequenceNumber: 1,
    });
    const events = eventsOfFile('binlog.000001').filter(({ event }) => isGtidEvent(event[4]!));
    events.forEach(({ event }, i) => {
      const gtid = parseGtidEvent(event);
      expect(gtid.sequenceNumber).toBe(i + 1);
      expect(gtid.lastCommitted).toBeLessThanOrEqual(i);
      expect(gtid.immediateCommitUs).toBe(gtid.originalCommitUs);
      expect(Math.abs(gtid.immediateCommitUs / 1e6 - parseEventHeader(event).timestamp)).toBeLessThan(2);
    });
  });

  it('gtid: tags, and a uuid whose bytes need one or two bytes each', () => {
    const tags = new Set(ofType(EVENT_TYPE.GTID_TAGGED).map((event) => formatGtid(parseGtidEvent(event).gtid!)));
    expect([...tags]).toEqual([
      `${expected.serverUuid}:blue:1`,
      `${expected.serverUuid}:blue:2`,
      `${expected.serverUuid}:a_very_long_tag_of_thirty_two_ch:1`,
      `${expected.serverUuid}:blue:3`,
      '00000000-1111-2222-3333-444444444444:tagged:70000',
    ]);
  });

  it('gtid: a transaction without one, another commit time, a length of three bytes, none at all', () => {
    const body = Buffer.concat([
      Buffer.alloc(25),
      Buffer.from('02', 'hex'),
      Buffer.from('05000000000000000600000000000000', 'hex'),
      Buffer.from('01000000000080', 'hex'),
      Buffer.from('02000000000000', 'hex'),
      Buffer.from('fc0001', 'hex'),
      Buffer.alloc(4),
    ]);
    const event = (length: number, type: number): Buffer =>
      encodeEvent({ type, serverId: 1, body: body.subarray(0, length) });
    const plain = { gtid: null, lastCommitted: 5, sequenceNumber: 6 };
    expect(parseGtidEvent(event(body.length, EVENT_TYPE.ANONYMOUS_GTID))).toEqual({
      ...plain,
      transactionLength: 256,
      originalCommitUs: 2,
      immediateCommitUs: 1,
    });
    expect(parseGtidEvent(event(42, EVENT_TYPE.ANONYMOUS_GTID))).toMatchObject({ ...plain, transactionLength: 0 });
    expect(phxError(() => parseGtidEvent(event(body.length, EVENT_TYPE.GTID))).message).toContain('number 0');
  });

  it('previous gtids', () => {
    const sets = BINLOGS.map((name) => parsePreviousGtids(eventsOfFile(name)[1]!.event));
    expect(sets[0]!.isEmpty).toBe(true);
    expect(sets[1]!.isSubsetOf(sets[2]!)).toBe(true);
    expect(sets[2]!.isSubsetOf(GtidSet.parse(expected.gtidExecuted))).toBe(true);
    expect(sets[2]!.count()).toBe(GtidSet.parse(expected.gtidExecuted).count() - 1);
  });

  it('query and xid', () => {
    const queries = ofType(EVENT_TYPE.QUERY).map((event) => parseQuery(event));
    expect(queries[0]).toMatchObject({ database: 'f', sql: 'CREATE DATABASE f', errorCode: 0 });
    expect(queries.map(({ sql }) => sql)).toContain('BEGIN');
    expect(queries.map(({ sql }) => sql)).toContain("XA COMMIT X'6774726964',X'627175616c',7");
    expect(parseXid(one(EVENT_TYPE.XID))).toBeGreaterThan(0n);
  });

  it('heartbeats of both versions', () => {
    const end = expected.files['mysql-bin.000003']!.at(-1)!.end;
    const at = { file: 'mysql-bin.000003', position: end };
    expect(parseHeartbeat(one(EVENT_TYPE.HEARTBEAT_V2))).toEqual(at);
    expect(
      eventsOf('dump-middle.bin')
        .filter((event) => event[4] === EVENT_TYPE.HEARTBEAT)
        .map((event) => parseHeartbeat(event)),
    ).toContainEqual(at);
  });

  it('transaction payload: what is inside is events', () => {
    const payload = parseTransactionPayload(one(EVENT_TYPE.TRANSACTION_PAYLOAD));
    expect(payload.compression).toBe(0);
    const inside = zstdDecompressSync(payload.payload);
    expect(inside).toHaveLength(payload.uncompressedBytes);
    expect(parseEventHeader(inside).type).toBe(EVENT_TYPE.QUERY);
  });

  it('xa prepare', () => {
    const prepared = ofType(EVENT_TYPE.XA_PREPARE)
      .slice(0, 3)
      .map((event) => parseXaPrepare(event));
    expect(prepared[0]).toEqual({
      onePhase: false,
      formatId: 7,
      gtrid: Buffer.from('gtrid'),
      bqual: Buffer.from('bqual'),
    });
    expect(prepared.map(({ onePhase }) => onePhase)).toEqual([false, false, true]);
  });
});

describe('encoders', () => {
  it('write what a real source writes', () => {
    const dump = eventsOf('dump-position.bin');
    expect(encodeRotate({ file: 'mysql-bin.000003', position: 405, serverId: 7, crc: true }).equals(dump[0]!)).toBe(
      true,
    );
    const heartbeat = one(EVENT_TYPE.HEARTBEAT);
    const { file, position } = parseHeartbeat(heartbeat);
    expect(encodeHeartbeat({ file, logPos: position, serverId: 7 }).equals(heartbeat)).toBe(true);
    const previous = eventsOfFile('binlog.000003')[1]!.event;
    const { timestamp, logPos } = parseEventHeader(previous);
    const gtidSet = parsePreviousGtids(previous);
    expect(encodePreviousGtids({ gtidSet, serverId: 7, timestamp, logPos }).equals(previous)).toBe(true);
  });

  it('prepare a format description as a real source does', () => {
    const inFile = (name: (typeof BINLOGS)[number]): Buffer => eventsOfFile(name)[0]!.event;
    const sent = (name: (typeof DUMPS)[number]): Buffer[] =>
      eventsOf(name).filter((event) => event[4] === EVENT_TYPE.FORMAT_DESCRIPTION);
    const before = Buffer.from(inFile('binlog.000003'));
    expect(formatDescriptionForDump(before, { midFile: false }).equals(sent('dump-plain.bin')[2]!)).toBe(true);
    expect(formatDescriptionForDump(before, { midFile: true }).equals(sent('dump-position.bin')[0]!)).toBe(true);
    expect(before.equals(inFile('binlog.000003')), 'operand unchanged').toBe(true);
    const first = inFile('binlog.000001');
    expect(formatDescriptionForDump(first, { midFile: false }).equals(sent('dump-plain.bin')[0]!)).toBe(true);
    expect(
      formatDescriptionForDump(first, { midFile: false, clearCreated: true }).equals(sent('dump-middle.bin')[0]!),
    ).toBe(true);
  });

  it('leave the checksum out where asked', () => {
    const event = encodeRotate({ file: 'x', position: 4, serverId: 1, crc: false });
    expect(event).toHaveLength(19 + 8 + 1);
    expect(parseRotate(event, false)).toEqual({ file: 'x', position: 4 });
    expect(parseEventHeader(event).flags).toBe(EVENT_FLAG_ARTIFICIAL);
  });
});
