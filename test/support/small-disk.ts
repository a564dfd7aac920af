import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runToEnd } from './cluster.ts';

const CHUNK = Buffer.alloc(1024 * 1024);
const FILLER = '.filler';

/** A file system of its own that can really be full: a tmpfs, which needs root. */
export class SmallDisk implements Disposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Why none can be had here, or ''. */
  static get obstacle(): string {
    if (process.getuid?.() !== 0) return 'only root may mount a file system';
    const path = mkdtempSync(join(tmpdir(), 'phx-disk-'));
    try {
      const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path], {
        encoding: 'utf8',
      });
      if (status !== 0) return `mount: ${stderr.trim()}`;
      spawnSync('umount', [path]);
      return '';
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  }

  /** Mounted at `path`, which is made if need be. */
  static mount(path: string, mebibytes: number): SmallDisk {
    mkdirSync(path, { recursive: true });
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=700`, 'tmpfs', path], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`mount a small disk at ${path}: ${stderr}`);
    return new SmallDisk(path);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  /** Nothing more fits. Most of it is taken by another process: clients of this one go on meanwhile. */
  async fill(): Promise<void> {
    const most = Math.max(0, this.freeBytes - CHUNK.length);
    await runToEnd('fallocate', ['-l', String(most), join(this.path, `${FILLER}.most`)], 60_000);
    const file = openSync(join(this.path, FILLER), 'a', 0o600);
    try {
      for (let size = CHUNK.length; size >= 1; size = Math.floor(size / 2)) {
        try {
          for (;;) if (writeSync(file, CHUNK, 0, size) < size) break;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  /** What `fill` took is there again. */
  free(): void {
    for (const name of [FILLER, `${FILLER}.most`]) rmSync(join(this.path, name), { force: true });
  }

  [Symbol.dispose](): void {
    // Lazily: a process that was killed a moment ago may still have files open.
    spawnSync('umount', ['-l', this.path]);
  }
}
