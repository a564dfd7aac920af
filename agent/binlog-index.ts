import { basename, dirname, isAbsolute, join } from 'node:path';
import { PhxError } from '../base/errors.ts';
import { readIfThere } from './durable-file.ts';

/** One line per binlog file, oldest first, as mysqld wrote it (relative to the datadir, or absolute). */
export type BinlogIndex = Readonly<{ path: string; lines: readonly string[] }>;

/**
 * The list of local binlog files. While mysqld edits it, a complete copy lies beside it under another name; if it died
 * in between, it would rename the copy at its next start: we read it likewise.
 */
export async function readBinlogIndex(path: string): Promise<BinlogIndex> {
  const text = (await readIfThere(path)) ?? (await readIfThere(`${path}_crash_safe`)) ?? '';
  const lines = text.split('\n').filter((line) => line !== '');
  return { path, lines };
}

/** Where the file of an index line is. Refuses a line that leads out of the folder the index is in. */
export function binlogPath(index: BinlogIndex, line: string): string {
  const folder = dirname(index.path);
  const path = isAbsolute(line) ? line : join(folder, line);
  if (dirname(path) !== folder || basename(path) === '') {
    throw new PhxError('BINLOG_CORRUPT', `read ${index.path}: '${line}' is not a file beside it`, {
      hint: 'log_bin of this node must be the one the agent sets',
    });
  }
  return path;
}
