import { describe, expect, it } from 'vitest';
import { Prng } from '../../../base/prng.ts';
import { encodePacket, encodePackets, PACKET_PAYLOAD_MAX, PacketReader } from '../../../mysql/packet.ts';
import { cutInTwo, fixture, phxError, STREAMS } from './fixtures.ts';

function readAll(pieces: readonly Uint8Array[]): { sequence: number; payload: Buffer }[] {
  const reader = new PacketReader();
  const out: { sequence: number; payload: Buffer }[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let packet = reader.next(); packet !== null; packet = reader.next()) out.push(packet);
  }
  expect(reader.pendingBytes).toBe(0);
  return out;
}

const asText = (packets: readonly { sequence: number; payload: Buffer }[]): string =>
  packets.map(({ sequence, payload }) => `${sequence} ${payload.toString('latin1')}`).join('\n');

describe('PacketReader', () => {
  it.each(STREAMS)('gives the same packets of %s wherever it is cut', (name) => {
    cutInTwo(fixture(name), (pieces) => asText(readAll(pieces)));
  });

  it('reads byte by byte', () => {
    const bytes = fixture('dump-semi-sync.bin');
    expect(asText(readAll([...bytes].map((byte) => Uint8Array.of(byte))))).toBe(asText(readAll([bytes])));
  });

  it('views a payload that lies in one chunk', () => {
    const packet = encodePacket(Buffer.from('hello'), 3);
    const [read] = readAll([packet]);
    expect(read?.payload.buffer).toBe(packet.buffer);
    expect(read?.sequence).toBe(3);
  });

  it.each([0, 1, PACKET_PAYLOAD_MAX - 1, PACKET_PAYLOAD_MAX, PACKET_PAYLOAD_MAX + 1, 2 * PACKET_PAYLOAD_MAX])(
    'takes back a payload of %i bytes',
    (length) => {
      const payload = Buffer.alloc(length, 0x61);
      payload.write('end', Math.max(0, length - 3));
      const framed = encodePacket([payload.subarray(0, 7), payload.subarray(7)], 254);
      expect(framed.length).toBe(length + 4 * (Math.floor(length / PACKET_PAYLOAD_MAX) + 1));
      const [read, ...more] = readAll([framed]);
      expect(more).toEqual([]);
      expect(read?.payload.equals(payload)).toBe(true);
      expect(read?.sequence).toBe((254 + Math.floor(length / PACKET_PAYLOAD_MAX)) & 0xff);
    },
  );

  it('takes a 64 MiB payload in 64 KiB chunks in linear time', () => {
    const framed = encodePacket(Buffer.alloc(64 * 1024 * 1024, 1), 0);
    const reader = new PacketReader();
    const started = performance.now();
    let packet: ReturnType<PacketReader['next']> = null;
    for (let at = 0; at < framed.length; at += 65536) {
      reader.push(framed.subarray(at, at + 65536));
      packet ??= reader.next();
    }
    expect(packet?.payload.length).toBe(64 * 1024 * 1024);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  it('refuses a gap in the sequence of a split payload, and only there', () => {
    const framed = encodePacket(Buffer.alloc(PACKET_PAYLOAD_MAX + 10), 7);
    framed[4 + PACKET_PAYLOAD_MAX + 3] = 9;
    const reader = new PacketReader();
    reader.push(framed);
    expect(phxError(() => reader.next())).toMatchObject({
      code: 'MYSQL_PROTOCOL',
      message: 'read packet: sequence 9 inside a split payload, expected 8',
    });
    expect(readAll([encodePacket(Buffer.from('a'), 5), encodePacket(Buffer.from('b'), 99)])).toHaveLength(2);
  });

  it('refuses what is above its bound before it is there', () => {
    const reader = new PacketReader({ maxPayloadBytes: 1000 });
    reader.push(encodePacket(Buffer.alloc(1000), 0));
    expect(reader.next()?.payload.length).toBe(1000);
    reader.push(encodePacket(Buffer.alloc(1001), 0).subarray(0, 4));
    expect(phxError(() => reader.next()).code).toBe('TOO_LARGE');
  });

  it('reads random packets in random pieces', () => {
    const prng = new Prng(1);
    const payloads = Array.from({ length: 300 }, () => Buffer.from(prng.bytes(prng.below(200))));
    const bytes = encodePackets(payloads, 250);
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const length = 1 + prng.below(60);
      pieces.push(bytes.subarray(at, at + length));
      at += length;
    }
    const read = readAll(pieces);
    expect(Buffer.concat(read.map(({ payload }) => payload)).equals(Buffer.concat(payloads))).toBe(true);
    expect(read.map(({ sequence }) => sequence)).toEqual(payloads.map((_, i) => (250 + i) & 0xff));
  });
});
