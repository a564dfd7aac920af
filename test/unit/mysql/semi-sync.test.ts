import { describe, expect, it } from 'vitest';
import { EVENT_TYPE, encodeEvent, parseEventHeader } from '../../../mysql/binlog-event.ts';
import { encodeAck, parseAck, parseDumpPacket } from '../../../mysql/semi-sync.ts';
import { fixture, packetsOf, phxError, truncate } from './fixtures.ts';

const semiSync = packetsOf(fixture('dump-semi-sync.bin'));
const plain = packetsOf(fixture('dump-middle.bin'));

describe('a real semi-sync stream', () => {
  it('has the header with every packet: artificial events and heartbeats too', () => {
    const types = new Set<number>();
    for (const payload of semiSync) {
      const { event, hasHeader } = parseDumpPacket(payload, { semiSync: true });
      expect(hasHeader).toBe(true);
      expect(event.length).toBe(payload.length - 3);
      expect(event.buffer).toBe(payload.buffer);
      types.add(parseEventHeader(event).type);
    }
    for (const type of [EVENT_TYPE.ROTATE, EVENT_TYPE.FORMAT_DESCRIPTION, EVENT_TYPE.HEARTBEAT]) {
      expect(types.has(type)).toBe(true);
    }
  });

  it('asks for an ack at the end of the one transaction that waited', () => {
    const asking = semiSync.filter((payload) => parseDumpPacket(payload, { semiSync: true }).ackRequested);
    expect(asking).toHaveLength(1);
    expect(asking[0]![3 + 4]).toBe(EVENT_TYPE.XID);
  });
});

describe('telling the header from an event', () => {
  /** Each second byte value there is, as the first byte of an event's timestamp. */
  it('does not depend on what the event begins with', () => {
    for (let first = 0; first < 256; first += 1) {
      const event = encodeEvent({ type: EVENT_TYPE.XID, serverId: 1, timestamp: first, body: Buffer.alloc(8) });
      const bare = Buffer.concat([Buffer.from([0]), event]);
      const headed = Buffer.concat([Buffer.from([0, 0xef, 1]), event]);
      expect(parseDumpPacket(bare, { semiSync: false }).event.equals(event)).toBe(true);
      expect(parseDumpPacket(headed, { semiSync: true })).toEqual({ event, ackRequested: true, hasHeader: true });
      expect(phxError(() => parseDumpPacket(bare, { semiSync: true })).message).toContain('without semi-sync header');
      expect(phxError(() => parseDumpPacket(headed, { semiSync: false })).code).toBe('MYSQL_PROTOCOL');
    }
  });

  it('refuses a plain stream where a semi-sync one was asked for', () => {
    for (const payload of plain) {
      expect(parseDumpPacket(payload, { semiSync: false }).hasHeader).toBe(false);
      expect(phxError(() => parseDumpPacket(payload, { semiSync: true })).code).toBe('MYSQL_PROTOCOL');
    }
  });

  it('refuses packets cut short', () => {
    truncate(semiSync[0]!, (bytes) => parseDumpPacket(bytes, { semiSync: true }));
    truncate(plain[0]!, (bytes) => parseDumpPacket(bytes, { semiSync: false }));
    expect(phxError(() => parseDumpPacket(Buffer.alloc(0), { semiSync: true })).code).toBe('MYSQL_PROTOCOL');
    expect(phxError(() => parseDumpPacket(Buffer.from([0xff]), { semiSync: true })).code).toBe('MYSQL_PROTOCOL');
  });
});

it('acks', () => {
  const ack = encodeAck('mysql-bin.000002', 5_000_000_000);
  expect(ack.toString('hex')).toBe(`ef00f2052a01000000${Buffer.from('mysql-bin.000002').toString('hex')}`);
  expect(parseAck(ack)).toEqual({ file: 'mysql-bin.000002', position: 5_000_000_000 });
  truncate(ack, parseAck);
  expect(phxError(() => parseAck(Buffer.from('00', 'hex'))).code).toBe('MYSQL_PROTOCOL');
});
