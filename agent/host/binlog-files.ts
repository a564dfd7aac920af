import { open } from 'node:fs/promises';
import { PhxError } from '../../base/errors.ts';
import { type BinlogIndex, binlogPath } from '../binlog-index.ts';
import { readIfThere } from './durable-file.ts';

const READ_BYTES = 1 << 20;

/**
 * The list of local binlog files. While mysqld edits it, a complete copy lies beside it under another name; if it died
 * in between, it would rename the copy at its next start: we read it likewise.
 */
export async function readBinlogIndex(path: string): Promise<BinlogIndex> {
  const text = (await readIfThere(path)) ?? (await readIfThere(`${path}_crash_safe`)) ?? '';
  const lines = text.split('\n').filter((line) => line !== '');
  return { path, lines };
}

/** The file of an index line in pieces of one buffer: each is valid until the next is asked for. */
export async function* readBinlogFile(index: BinlogIndex, line: string): AsyncGenerator<Buffer, void, void> {
  const path = binlogPath(index, line);
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new PhxError('BINLOG_CORRUPT', `open binlog ${path}: it is in the index but cannot be read`, { cause });
  });
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
