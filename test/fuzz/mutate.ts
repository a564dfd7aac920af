import type { Prng } from '../../base/prng.ts';

/** Values parsers trip over: ends of ranges, length-encoding markers, signs. */
const EDGES = [0x00, 0x01, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff] as const;
const BYTES_MAX = 64 * 1024;

/** A damaged copy: a few of flip, overwrite, cut, drop, repeat, insert, and a piece of another sample. */
export function mutate(prng: Prng, sample: Uint8Array, other: Uint8Array): Uint8Array {
  let bytes: Buffer = Buffer.from(sample);
  for (let left = 1 + prng.below(4); left > 0; left -= 1) bytes = once(prng, bytes, other);
  return bytes.subarray(0, BYTES_MAX);
}

function once(prng: Prng, bytes: Buffer, other: Uint8Array): Buffer {
  const at = prng.below(bytes.length + 1);
  const length = prng.chance(3, 4) ? 1 + prng.below(8) : 1 + prng.below(bytes.length + 1);
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (prng.below(8)) {
    case 0:
      if (at < bytes.length) bytes[at]! ^= 1 << prng.below(8);
      return bytes;
    case 1:
      return Buffer.concat([
        head,
        Buffer.alloc(Math.min(length, tail.length), prng.pick(EDGES)),
        tail.subarray(length),
      ]);
    case 2:
      return Buffer.from(head);
    case 3:
      return Buffer.concat([head, tail.subarray(length)]);
    case 4:
      return Buffer.concat([head, tail.subarray(0, length), tail]);
    case 5:
      return Buffer.concat([head, prng.bytes(Math.min(length, 64)), tail]);
    case 6: {
      const from = prng.below(other.length + 1);
      return Buffer.concat([head, other.subarray(from, from + length), tail.subarray(length)]);
    }
    default: {
      // A number in little-endian order, one off: lengths and counts are such numbers.
      const width = prng.pick([1, 2, 4]);
      if (at + width > bytes.length) return bytes;
      const bits = 8 * width;
      const value = bytes.readUIntLE(at, width) + (prng.chance(1, 2) ? 1 : -1);
      bytes.writeUIntLE(((value % 2 ** bits) + 2 ** bits) % 2 ** bits, at, width);
      return bytes;
    }
  }
}
