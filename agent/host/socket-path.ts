import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { PhxError } from '../../base/errors.ts';

/** sun_path has 108 bytes, one of them for the final NUL. */
export const SOCKET_PATH_BYTES_MAX = 107;

/**
 * Where mysqld's socket goes: in the node's run directory, or, if that path is too long for the kernel, under a short
 * name in a private folder of the temporary directory. The same run directory always gives the same path.
 */
export function socketPathFor(runDir: string, options: { tmp?: string; uid?: number } = {}): string {
  const wanted = join(runDir, 'mysqld.sock');
  if (Buffer.byteLength(wanted) <= SOCKET_PATH_BYTES_MAX) return wanted;
  const name = createHash('sha256').update(runDir).digest('hex').slice(0, 16);
  const short = join(privateTmp(options), `${name}.sock`);
  if (Buffer.byteLength(short) <= SOCKET_PATH_BYTES_MAX) return short;
  throw new PhxError(
    'CONFIG_INVALID',
    `choose socket path: ${wanted} and ${short} are longer than ${SOCKET_PATH_BYTES_MAX} bytes`,
    { hint: 'use a shorter data directory, or set TMPDIR to a short path' },
  );
}

function privateTmp(options: { tmp?: string; uid?: number }): string {
  return join(options.tmp ?? tmpdir(), `phxsql-${options.uid ?? userInfo().uid}`);
}

/** `socketPathFor`, and its folder made: ours alone when it lies in the shared temporary directory (CONFIG_INVALID otherwise). */
export async function prepareSocketPath(runDir: string): Promise<string> {
  const path = socketPathFor(runDir);
  if (path.startsWith(`${runDir}/`)) {
    await mkdir(runDir, { recursive: true, mode: 0o700 });
    return path;
  }
  const folder = privateTmp({});
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const stats = await lstat(folder); // lstat: a link planted by somebody else is not a directory
  if (stats.isDirectory() && stats.uid === userInfo().uid && (stats.mode & 0o077) === 0) return path;
  throw new PhxError(
    'CONFIG_INVALID',
    `use ${folder} for the MySQL socket: it is not a private directory of this user`,
    {
      hint: 'remove it, or use a shorter data directory',
    },
  );
}
