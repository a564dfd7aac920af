import { Level } from 'level';
import { PhxError, reasonOf } from '../base/errors.ts';

/** Bytes in, bytes out. What LevelDB offers beyond the browser's stores is missing in the types of `level`. */
export type Database = Level<Uint8Array, Uint8Array> & {
  /** Bytes on disk of this range of keys; what is still in memory does not count. */
  approximateSize(start: Uint8Array, end: Uint8Array): Promise<number>;
  compactRange(start: Uint8Array, end: Uint8Array): Promise<void>;
};
export type BatchOp =
  | Readonly<{ type: 'put'; key: Uint8Array; value: Uint8Array }>
  | Readonly<{ type: 'del'; key: Uint8Array }>;

/** corrupt: LevelDB noticed damage itself; locked: another process (or this one) has it open; io: anything else. */
export type DatabaseFault = 'corrupt' | 'locked' | 'io';

/**
 * LevelDB maps the tables it has open into memory, so that what it read of a table counts as memory of the process until the table is
 * closed. It keeps 64 open at the least, ten files of another kind beside them. A table is as large as the write buffer it comes from, for
 * where keys only grow nothing is ever merged: 400 MiB written and read leave 174 MiB mapped with these sizes, 379 MiB with a buffer of 8.
 */
const OPEN_FILES_MAX = 74;
const TABLE_BYTES = 2 * 1024 * 1024;

/**
 * Compression stays off: binlog values are mostly small and hot, and a flipped "compressed" mark would make LevelDB
 * allocate whatever length it reads out of the damaged block.
 */
export async function openDatabase(path: string, createIfMissing: boolean): Promise<Database> {
  const db = new Level<Uint8Array, Uint8Array>(path, { keyEncoding: 'view', valueEncoding: 'view' }) as Database;
  await db.open({
    createIfMissing,
    compression: false,
    writeBufferSize: TABLE_BYTES,
    maxFileSize: TABLE_BYTES,
    blockSize: 16 * 1024,
    maxOpenFiles: OPEN_FILES_MAX,
  });
  return db;
}

export function faultOf(error: unknown): DatabaseFault {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code = (at as Error & { code?: string }).code;
    if (code === 'LEVEL_LOCKED') return 'locked';
    if (code === 'LEVEL_CORRUPTION' || code === 'LEVEL_NOT_FOUND') return 'corrupt';
    // A file that should be there, or ends too early, is damage and not a failing disk.
    if (/No such file or directory|Invalid argument|does not exist/.test(at.message)) return 'corrupt';
  }
  return 'io';
}

/** LevelDB's own words sit in the innermost cause. */
export function causeOf(error: unknown): string {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return reasonOf(at);
}

export function dirInUse(path: string, cause: unknown): PhxError {
  return new PhxError('DIR_IN_USE', `open store ${path}: another process has it open`, {
    cause,
    hint: 'stop the other process, or give this node a directory of its own',
  });
}

export function storeIo(what: string, cause: unknown): PhxError {
  return new PhxError('STORE_IO', `${what}: ${causeOf(cause)}`, {
    cause,
    hint: 'check the disk (space, errors); the node continues from what is on it when it is started again',
  });
}
