import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PhxError, reasonOf } from '../../base/errors.ts';

/** Files that must be whole or absent after a power cut. */

/** Whole text under `path`, or the old one: temporary name, sync, rename, sync of the folder. */
export async function writeDurably(path: string, text: string, mode = 0o600): Promise<void> {
  const fresh = `${path}.new`;
  const file = await open(fresh, 'w', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(fresh, path);
  await syncDirectory(dirname(path));
}

export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

export async function syncDirectory(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** null if there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw new PhxError('STORE_IO', `read ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === 'ENOENT';
}

export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/**
 * The JSON of a file written by writeDurably, if `sound` takes it. @throws PhxError STORE_CORRUPT: `path` is no `what` of this
 * version; since it is written in one piece, a damaged one means a damaged disk, and `remedy` says what to do about it
 */
export function parseDurable<T>(
  text: string,
  {
    path,
    what,
    remedy,
    sound,
  }: Readonly<{ path: string; what: string; remedy: string; sound: (content: T) => boolean }>,
): T {
  const bad = (cause?: unknown): PhxError =>
    new PhxError('STORE_CORRUPT', `read ${path}: it is no ${what} of this version`, {
      cause,
      hint: `it is written in one piece: a damaged one means a damaged disk; ${remedy}`,
    });
  let content: T;
  try {
    content = JSON.parse(text) as T;
  } catch (cause) {
    throw bad(cause);
  }
  if (!sound(content)) throw bad();
  return content;
}
