import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';

/**
 * LevelDB trusts what it reads out of a table (it has no paranoid checks here), and some damage makes it abort the whole
 * process: a store like that would kill every process that opens it, for ever. So after such a death every block of every
 * table is checked before LevelDB sees it.
 *
 *   table: | block ... | index block | footer |       block: | bytes | type (0: not compressed) | crc |
 *   footer: 48 bytes, | metaindex handle | index handle | padding | magic |; handle: varint offset, varint size
 *
 * Format: LevelDB's doc/table_format.md; the crc is a CRC-32C over bytes and type, rotated and offset ("masked").
 */

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const MAGIC = 0xdb4775248b80fb57n;
const MASK_DELTA = 0xa282ead8;

type Handle = Readonly<{ offset: number; size: number }>;

/** What is damaged in the tables of a closed database, in words, or null. Reads all of it: not for every start. */
export async function damagedTable(databaseDir: string): Promise<string | null> {
  const files = await readdir(databaseDir).catch(() => []);
  for (const file of files.filter((name) => /\.(ldb|sst)$/.test(name)).sort()) {
    const damage = damageOf(await readFile(join(databaseDir, file)));
    if (damage !== null) return `${file}: ${damage}`;
  }
  return null;
}

/** `table`: a whole table file. */
export function damageOf(table: Buffer): string | null {
  try {
    const footer = table.subarray(-FOOTER_BYTES);
    if (footer.length < FOOTER_BYTES || footer.readBigUInt64LE(FOOTER_BYTES - 8) !== MAGIC) return 'no footer';
    const reader = new Reader(footer);
    // The metaindex names the filter block, the index the data blocks.
    for (const index of [reader.handle(), reader.handle()]) {
      for (const handle of handlesIn(checkedBlock(table, index))) checkedBlock(table, handle);
    }
    return null;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/** @throws RangeError if the block is not what was written */
function checkedBlock(table: Buffer, { offset, size }: Handle): Buffer {
  const end = offset + size;
  if (end + TRAILER_BYTES > table.length) throw new RangeError(`a block ends at ${end}, beyond the file`);
  const masked = table.readUInt32LE(end + 1);
  const rotated = (masked - MASK_DELTA) >>> 0;
  const crc = ((rotated >>> 17) | (rotated << 15)) >>> 0;
  if (crc32c(table.subarray(offset, end + 1)) !== crc) throw new RangeError(`the block at ${offset} is damaged`);
  if (table[end] !== 0) throw new RangeError(`the block at ${offset} is compressed`);
  return table.subarray(offset, end);
}

/** The values of an index block: entries of shared, unshared and value length, key and value, then the restart points. */
function* handlesIn(index: Buffer): Generator<Handle> {
  const restarts = index.readUInt32LE(index.length - 4);
  const end = index.length - 4 * (restarts + 1);
  const reader = new Reader(index);
  while (reader.at < end) {
    reader.varint();
    const unshared = reader.varint();
    reader.varint();
    reader.at += unshared;
    yield reader.handle();
  }
}

class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  handle(): Handle {
    return { offset: this.varint(), size: this.varint() };
  }

  /** Little endian, seven bits a byte; as a number, exact up to 2^53. */
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.at);
      this.at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      if (scale > 2 ** 49) throw new RangeError('a number in it does not end');
    }
  }
}
