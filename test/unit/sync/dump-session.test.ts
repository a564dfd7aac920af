import { expect, test } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import { encodeHeartbeat, encodeRotate, eventCrc, parseEventHeader } from '../../../mysql/binlog-event.ts';
import { DumpSession } from '../../../sync/dump-session.ts';
import { encodeFormatDescription, encodeTransaction } from '../../sim/mysqld/binlog-bytes.ts';

const packet = (event: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0xef, 0]), event]);

test('a heartbeat of a drained stream is acked once per position (protocol-findings 18)', () => {
  const session = new DumpSession(null);
  session.packet(packet(encodeRotate({ file: 'binlog.000007', position: 4, serverId: 1, crc: true })));
  const beat = packet(encodeHeartbeat({ file: 'binlog.000007', logPos: 900, serverId: 1 }));
  expect(session.packet(beat)).toEqual({ file: 'binlog.000007', position: 900 });
  expect(session.packet(beat)).toBeNull();
  const later = packet(encodeHeartbeat({ file: 'binlog.000007', logPos: 950, serverId: 1 }));
  expect(session.packet(later)).toEqual({ file: 'binlog.000007', position: 950 });
});

test('a heartbeat that still speaks of the file before is not acked under the name of the new one', () => {
  const session = new DumpSession(null);
  const rotate = (file: string): Buffer => packet(encodeRotate({ file, position: 4, serverId: 1, crc: true }));
  session.packet(rotate('binlog.000007'));
  session.packet(rotate('binlog.000008'));
  const late = encodeHeartbeat({ file: 'binlog.000007', logPos: 134_217_800, serverId: 1 });
  expect(session.packet(packet(late))).toBeNull();
  const beat = encodeHeartbeat({ file: 'binlog.000008', logPos: 157, serverId: 1 });
  expect(session.packet(packet(beat))).toEqual({ file: 'binlog.000008', position: 157 });
});

test('ERR and EOF end the stream with their reason', () => {
  const error = Buffer.concat([Buffer.from([0xff, 0xd4, 0x04]), Buffer.from('#HY000no such file')]);
  expect(() => new DumpSession(null).packet(error)).toThrow(/no such file/);
  expect(() => new DumpSession(null).packet(Buffer.from([0xfe, 0, 0, 0, 0]))).toThrow(PhxError);
});

test('a transaction that ends beyond 4 GiB of its file is acked where it ends, not where its 32-bit header says', () => {
  const session = new DumpSession(null);
  const file = 'binlog.000007';
  session.packet(packet(encodeRotate({ file, position: 4, serverId: 1, crc: true })));
  session.packet(packet(encodeFormatDescription(1, 0, 4)));
  const transaction = encodeTransaction({
    uuid: '3e11fa47-71ca-11e1-9e33-c80aa9429562',
    gno: 1,
    writes: { k: 'v' },
    serverId: 1,
    timestamp: 0,
    sequence: 1,
    start: 0,
  });
  // Its first event ends below 4 GiB, the others beyond.
  let end = 2 ** 32 - parseEventHeader(transaction).size - 1;
  for (let at = 0; at < transaction.length; ) {
    const { size } = parseEventHeader(transaction.subarray(at));
    const event = Buffer.from(transaction.subarray(at, at + size));
    end += size;
    event.writeUInt32LE(end % 2 ** 32, 13);
    event.writeUInt32LE(eventCrc(event), size - 4);
    session.packet(packet(event));
    at += size;
  }
  session.take();
  expect(end).toBeGreaterThan(2 ** 32);
  expect(session.applied()).toEqual({ file, position: end });
});
