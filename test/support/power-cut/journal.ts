import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Layout of `struct record` in power-cut.c: u32 magic, u32 type, then u64 each, little-endian, then `bytes` of payload. */
const HEADER_BYTES = 64;
const MAGIC = 0x31435750;
const CHUNK_BYTES = 4 << 20;
const TYPES = { 1: 'write', 2: 'end', 3: 'sync', 4: 'size', 5: 'create', 6: 'rename', 7: 'unlink' } as const;

/** Bytes of a journal that are only read when they are wanted. */
export type Payload = Readonly<{ file: string; at: number; bytes: number }>;

type Common = Readonly<{ seq: number; ino: number }>;
/** Bytes [offset, offset + length) were written, or (`size`) the file got another size. `old` is what was there, as far as the file went. */
export type DataChange = Common &
  Readonly<
    | { type: 'write'; offset: number; length: number; sizeBefore: number; old: Payload }
    | { type: 'size'; sizeAfter: number; sizeBefore: number; old: Payload }
  >;
/** `folders`: inodes of the folders that have to be synced for it to be on disk. */
export type NameChange = Common &
  Readonly<
    | { type: 'create'; path: string; folders: readonly number[] }
    | { type: 'unlink'; path: string; folders: readonly number[] }
    | { type: 'rename'; from: string; to: string; replaced: boolean; folders: readonly number[] }
  >;

/** One journal of one process, or several of them put together, in the order of `seq`. */
export type Journal = Readonly<{
  data: readonly DataChange[];
  names: readonly NameChange[];
  /** Change -> when it had ended; a change that is not here was under way when the process was killed. */
  ended: ReadonlyMap<number, number>;
  /** Changes that were refused. */
  failed: ReadonlySet<number>;
  /** Inode -> the newest sync: what had ended by then is on disk. */
  synced: ReadonlyMap<number, number>;
}>;

/** All journals of a folder. A record that was cut off by the kill tells of a change that did not take place. */
export function readJournals(folder: string): Journal {
  const data: DataChange[] = [];
  const names: NameChange[] = [];
  const ended = new Map<number, number>();
  const failed = new Set<number>();
  const synced = new Map<number, number>();
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.journal'))) {
    const file = join(folder, name);
    for (const { type, seq, ino, off, len, size, ref, payload, text } of recordsOf(file)) {
      if (type === 'write') data.push({ type, seq, ino, offset: off, length: len, sizeBefore: size, old: payload });
      else if (type === 'size') data.push({ type, seq, ino, sizeAfter: off, sizeBefore: size, old: payload });
      else if (type === 'sync') synced.set(ino, Math.max(ref, synced.get(ino) ?? 0));
      else if (type === 'create') {
        names.push({ type, seq, ino, path: text(), folders: [ref] });
        ended.set(seq, seq); // written down once it was done
      } else if (type === 'unlink') names.push({ type, seq, ino, path: text(), folders: [ref] });
      else if (type === 'rename') {
        const [from = '', to = ''] = text().split('\0');
        names.push({ type, seq, ino, from, to, replaced: off === 1, folders: [...new Set([ref, len])] });
      } else {
        ended.set(ref, seq);
        if (len !== 0) failed.add(ref);
      }
    }
  }
  const bySeq = (a: Common, b: Common): number => a.seq - b.seq;
  return { data: data.sort(bySeq), names: names.sort(bySeq), ended, failed, synced };
}

type RawRecord = Readonly<{
  type: (typeof TYPES)[keyof typeof TYPES];
  seq: number;
  ino: number;
  off: number;
  len: number;
  size: number;
  ref: number;
  payload: Payload;
  /** The payload as text; only until the next record is asked for. */
  text: () => string;
}>;

function* recordsOf(file: string): Generator<RawRecord> {
  const fd = openSync(file, 'r');
  try {
    const { size: total } = fstatSync(fd);
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let from = 0; // where in the file the chunk begins
    let held = 0;
    let at = 0; // in the file
    const need = (bytes: number): boolean => {
      if (at >= from && at + bytes <= from + held) return true;
      from = at;
      held = readSync(fd, chunk, 0, chunk.length, from);
      return bytes <= held;
    };
    while (need(HEADER_BYTES)) {
      const header = chunk.subarray(at - from, at - from + HEADER_BYTES);
      const number = (offset: number): number => Number(header.readBigUInt64LE(offset));
      const type = TYPES[header.readUInt32LE(4) as keyof typeof TYPES];
      if (header.readUInt32LE(0) !== MAGIC || type === undefined) throw new Error(`${file}: no record at ${at}`);
      const bytes = number(56);
      const [seq, ino, off, len, size, ref] = [8, 16, 24, 32, 40, 48].map(number) as [
        number,
        number,
        number,
        number,
        number,
        number,
      ];
      const payload = { file, at: at + HEADER_BYTES, bytes };
      if (payload.at + bytes > total) return;
      at += HEADER_BYTES;
      yield { type, seq, ino, off, len, size, ref, payload, text: () => readPayload(payload).toString() };
      at = payload.at + bytes;
    }
  } finally {
    closeSync(fd);
  }
}

export function readPayload({ file, at, bytes }: Payload): Buffer {
  const fd = openSync(file, 'r');
  try {
    const out = Buffer.alloc(bytes);
    let got = 0;
    while (got < bytes) {
      const n = readSync(fd, out, got, bytes - got, at + got);
      if (n === 0) break;
      got += n;
    }
    return out.subarray(0, got);
  } finally {
    closeSync(fd);
  }
}
