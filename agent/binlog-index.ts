import { basename, dirname, isAbsolute, join } from 'node:path';
import { PhxError } from '../base/errors.ts';

/** One line per binlog file, oldest first, as mysqld wrote it (relative to the datadir, or absolute). */
export type BinlogIndex = Readonly<{ path: string; lines: readonly string[] }>;

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
