import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PhxError } from './errors.ts';

const MIB = 1024 * 1024;

/** Bytes an ordinary user may still write to the file system of `path`, or of its nearest existing parent. */
export async function freeDiskBytes(path: string): Promise<number> {
  for (let at = path; ; at = dirname(at)) {
    try {
      const stats = await statfs(at);
      return stats.bavail * stats.bsize;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(at) === at) throw error;
    }
  }
}

/** Throws DISK_TOO_SMALL unless `neededBytes` are free where `path` is or would be. `purpose` completes "for …". */
export async function requireFreeDisk(path: string, neededBytes: number, purpose: string): Promise<void> {
  const free = await freeDiskBytes(path);
  if (free >= neededBytes) return;
  throw new PhxError(
    'DISK_TOO_SMALL',
    `check disk of ${path}: ${Math.floor(free / MIB)} MiB free, ${Math.ceil(neededBytes / MIB)} MiB needed for ${purpose}`,
    { hint: 'free some space there, or choose a directory on a larger disk' },
  );
}
