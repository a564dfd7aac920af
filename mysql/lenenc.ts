/** Length-encoded integers and strings of the MySQL protocol, writing side; reading is in byte-reader.ts. */

/** 1, 3, 4 or 9 bytes. */
export function encodeLenenc(value: number): Buffer {
  if (value < 0xfb) return Buffer.from([value]);
  if (value < 0x1_0000) return Buffer.from([0xfc, value & 0xff, value >> 8]);
  if (value < 0x100_0000) return Buffer.from([0xfd, value & 0xff, (value >> 8) & 0xff, value >> 16]);
  const out = Buffer.alloc(9, 0xfe);
  out.writeBigUInt64LE(BigInt(value), 1);
  return out;
}

export function encodeLenencBytes(bytes: Uint8Array | string): Buffer {
  const body = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  return Buffer.concat([encodeLenenc(body.length), body]);
}

export const u16le = (value: number): Buffer => {
  const out = Buffer.alloc(2);
  out.writeUInt16LE(value);
  return out;
};

export const u32le = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value >>> 0);
  return out;
};

export const u64le = (value: number | bigint): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
};

export const cstring = (text: string): Buffer => Buffer.from(`${text}\0`);
