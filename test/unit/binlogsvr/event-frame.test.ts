import { describe, expect, test } from 'vitest';
import { frameEvent } from '../../../binlogsvr/event-frame.ts';
import { encodePacket, PACKET_PAYLOAD_MAX, PacketReader } from '../../../mysql/packet.ts';

describe('a binlog event as packets', () => {
  test.each([
    1,
    100,
    PACKET_PAYLOAD_MAX - 2,
    PACKET_PAYLOAD_MAX - 1,
    PACKET_PAYLOAD_MAX,
    2 * PACKET_PAYLOAD_MAX - 1,
    2 * PACKET_PAYLOAD_MAX + 7,
  ])('of %i bytes', (size) => {
    const event = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4099) event[i] = 1 + (i % 251);
    const { packets, next } = frameEvent(event, 250);
    const bytes = Buffer.concat(packets);
    expect(bytes.equals(encodePacket(Buffer.concat([Buffer.from([0]), event]), 250))).toBe(true);
    const reader = new PacketReader();
    reader.push(bytes);
    const { sequence, payload } = reader.next()!;
    expect((next - 1) & 0xff).toBe(sequence);
    expect(payload.length).toBe(size + 1);
  });
});
