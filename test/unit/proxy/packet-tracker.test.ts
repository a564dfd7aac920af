import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CAPABILITY } from '../../../mysql/capabilities.ts';
import { encodePacket } from '../../../mysql/packet.ts';
import { PacketTracker } from '../../../proxy/packet-tracker.ts';
import { GREETING, LOGIN, OK } from './fakes.ts';

function loggedIn(): PacketTracker {
  const tracker = new PacketTracker();
  tracker.fromServer(GREETING);
  tracker.fromClient(LOGIN);
  tracker.fromServer(OK);
  return tracker;
}

function withFlags(flags: number): Buffer {
  const login = Buffer.from(LOGIN);
  login.writeUInt32LE((login.readUInt32LE(4) | flags) >>> 0, 4);
  return login;
}

describe('PacketTracker', () => {
  it('allows a packet of ours only when the server spoke last and nothing is under way', () => {
    const tracker = new PacketTracker();
    expect(tracker.mayInterject()).toBe(false);
    tracker.fromServer(GREETING);
    expect(tracker.mayInterject()).toBe(false); // the client has not said what it speaks
    tracker.fromClient(LOGIN);
    expect(tracker.mayInterject()).toBe(false);
    tracker.fromServer(OK);
    expect(tracker.mayInterject()).toBe(true);
    tracker.fromClient(encodePacket(Buffer.from('\x03commit'), 0));
    expect(tracker.mayInterject()).toBe(false); // its outcome is unknown
  });

  it.each([
    ['TLS', CAPABILITY.SSL],
    ['zlib', CAPABILITY.COMPRESS],
    ['zstd', CAPABILITY.ZSTD_COMPRESSION_ALGORITHM],
  ])('stays silent on %s', (_name, flag) => {
    const tracker = new PacketTracker();
    tracker.fromServer(GREETING);
    tracker.fromClient(withFlags(flag));
    tracker.fromServer(OK);
    expect(tracker.opaque).toBe(true);
    expect(tracker.mayInterject()).toBe(false);
  });

  it('stays silent when the first packet is short, garbage or of an old client', () => {
    const old = Buffer.from(LOGIN);
    old.writeUInt32LE(0, 4);
    for (const first of [
      LOGIN.subarray(0, 20),
      Buffer.from('GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n'),
      old,
    ]) {
      const tracker = new PacketTracker();
      tracker.fromServer(GREETING);
      tracker.fromClient(first);
      tracker.fromServer(OK);
      expect(tracker.mayInterject()).toBe(false);
    }
  });

  it('finds packet boundaries however the stream is cut', () => {
    const packets = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(packets, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (lengths, cuts) => {
        const stream = Buffer.concat(lengths.map((length, i) => encodePacket(Buffer.alloc(length, 0xff), i)));
        const ends = new Set<number>();
        let end = 0;
        for (const length of lengths) {
          end += 4 + length;
          ends.add(end);
        }
        const tracker = loggedIn();
        for (let at = 0, i = 0; at < stream.length; i += 1) {
          const next = Math.min(stream.length, at + cuts[i % cuts.length]!);
          tracker.fromServer(stream.subarray(at, next));
          expect(tracker.mayInterject()).toBe(ends.has(next));
          at = next;
        }
      }),
    );
  });

  it('crosses 16 MiB packets', () => {
    const tracker = loggedIn();
    const stream = encodePacket(Buffer.alloc(0xffffff + 10), 1);
    for (let at = 0; at < stream.length; at += 65536) tracker.fromServer(stream.subarray(at, at + 65536));
    expect(tracker.mayInterject()).toBe(true);
    tracker.fromServer(stream.subarray(0, stream.length - 1));
    expect(tracker.mayInterject()).toBe(false);
  });
});
