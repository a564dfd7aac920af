import { expect, test } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import { Prng } from '../../../base/prng.ts';
import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';

function event(size: number, fill: number): Buffer {
  const bytes = Buffer.alloc(size, fill);
  bytes.writeUInt32LE(size, 9);
  return bytes;
}

test('events come back whole however the stream is cut', () => {
  const events = [event(19, 1), event(500, 2), event(20, 3), event(70_000, 4), event(31, 5)];
  const stream = Buffer.concat(events);
  for (let seed = 1; seed <= 50; seed += 1) {
    const random = new Prng(seed);
    const splitter = new EventSplitter();
    const out: Buffer[] = [];
    for (let at = 0; at < stream.length; ) {
      const size = 1 + random.below(random.chance(1, 2) ? 30 : 40_000);
      out.push(...splitter.push(stream.subarray(at, at + size)));
      at += size;
    }
    expect(out.length, `seed ${seed}`).toBe(events.length);
    expect(Buffer.concat(out).equals(stream), `seed ${seed}`).toBe(true);
    expect(splitter.empty).toBe(true);
  }
});

test('an impossible size is refused', () => {
  const bad = Buffer.alloc(40);
  bad.writeUInt32LE(3, 9);
  expect(() => new EventSplitter().push(bad)).toThrow(PhxError);
});
