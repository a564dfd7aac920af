import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PhxError, reasonOf } from '../../base/errors.ts';
import { isMissing, syncDirectory, writeDurably } from './durable-file.ts';

/** In a folder that was set aside: why. */
const REASON_FILE = 'REASON';

/**
 * A MySQL data directory as a whole, and what was set aside of it:
 *
 *    mysql/                              in use
 *    mysql.set-aside-20261121T180000Z/   data that is not the cluster's: at most one is kept, for people
 */
export class DataFolder {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  bytes(): Promise<number> {
    return bytesOf(this.#path);
  }

  /** Of all that was set aside; null if nothing was. */
  async asideBytes(): Promise<number | null> {
    const folders = await this.#aside();
    if (folders.length === 0) return null;
    const sizes = await Promise.all(folders.map(bytesOf));
    return sizes.reduce((sum, each) => sum + each, 0);
  }

  /** `folder`: a name such as set-aside-20261121T180000Z. Done again, it does what is left of it. */
  async setAside(folder: string, reason: string): Promise<void> {
    const target = `${this.#path}.${folder}`;
    if (!(await exists(target)) && (await exists(this.#path))) {
      await writeDurably(join(this.#path, REASON_FILE), `${reason}\n`);
      try {
        await rename(this.#path, target);
      } catch (error) {
        throw new PhxError('STORE_IO', `set ${this.#path} aside: ${reasonOf(error)}`, {
          cause: error,
          hint: 'a data directory that is a mount point cannot be renamed: mount the directory above it',
        });
      }
      await syncDirectory(dirname(this.#path));
    }
    for (const older of await this.#aside()) {
      if (older !== target) await rm(older, { recursive: true, force: true });
    }
  }

  async erase(): Promise<void> {
    await rm(this.#path, { recursive: true, force: true });
    await syncDirectory(dirname(this.#path));
  }

  async #aside(): Promise<readonly string[]> {
    const parent = dirname(this.#path);
    const prefix = `${basename(this.#path)}.set-aside-`;
    const names = await readdir(parent).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    return names.filter((name) => name.startsWith(prefix)).map((name) => join(parent, name));
  }
}

/** Of all files below, as they lie on disk. What vanishes meanwhile counts nothing. */
async function bytesOf(path: string): Promise<number> {
  let bytes = 0;
  const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const entry of entries) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) bytes += await bytesOf(child);
    else
      bytes += await stat(child).then(
        ({ blocks }) => blocks * 512,
        () => 0,
      );
  }
  return bytes;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
}
