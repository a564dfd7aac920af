import { describe, expect, it } from 'vitest';
import { ByteReader } from '../../../mysql/byte-reader.ts';
import { encodeLenenc } from '../../../mysql/lenenc.ts';
import { phxError, truncate } from './fixtures.ts';

describe('length-encoded integers', () => {
  it.each([
    [0, '00'],
    [250, 'fa'],
    [251, 'fcfb00'],
    [65535, 'fcffff'],
    [65536, 'fd000001'],
    [16777215, 'fdffffff'],
    [16777216, 'fe0000000100000000'],
    [Number.MAX_SAFE_INTEGER, 'feffffffffffff1f00'],
  ])('%i is %s', (value, hex) => {
    const bytes = encodeLenenc(value);
    expect(bytes.toString('hex')).toBe(hex);
    expect(new ByteReader(bytes, 'test').lenenc()).toBe(value);
    truncate(bytes, (short) => new ByteReader(short, 'test').lenenc());
  });

  it('knows NULL, refuses ff and what is no exact number', () => {
    expect(new ByteReader(Uint8Array.of(0xfb), 'test').lenencOrNull()).toBeNull();
    expect(phxError(() => new ByteReader(Uint8Array.of(0xff), 'row').lenenc()).message).toContain('decode row');
    const huge = Buffer.from('feffffffffffffff7f', 'hex');
    expect(phxError(() => new ByteReader(huge, 'test').lenenc()).message).toContain('above 2^53 - 1');
  });
});

describe('variable-length integers of mysql::serialization', () => {
  /** The format's definition, bit by bit: as many low one-bits as further bytes, a zero bit, then the number. */
  function encode(value: bigint): Buffer {
    for (let bytes = 1; bytes <= 8; bytes += 1) {
      if (value >= 1n << BigInt(7 * bytes)) continue;
      const raw = (value << BigInt(bytes)) | ((1n << BigInt(bytes - 1)) - 1n);
      const out = Buffer.alloc(8);
      out.writeBigUInt64LE(raw);
      return out.subarray(0, bytes);
    }
    const out = Buffer.alloc(9, 0xff);
    out.writeBigUInt64LE(value, 1);
    return out;
  }

  it('reads every length', () => {
    for (let bits = 0n; bits <= 64n; bits += 1n) {
      for (const value of [(1n << bits) - 1n, 1n << bits, (1n << bits) + 1n]) {
        if (value >= 1n << 64n) continue;
        const bytes = encode(value);
        const reader = new ByteReader(bytes, 'test');
        expect(reader.varlen(), `${value}`).toBe(value);
        expect(reader.remaining).toBe(0);
        truncate(bytes, (short) => new ByteReader(short, 'test').varlen());
      }
    }
  });

  it('reads the example of its manual', () => {
    expect(new ByteReader(Uint8Array.of(0xfb, 0xff, 0x07), 'test').varlen()).toBe(65535n);
  });
});
