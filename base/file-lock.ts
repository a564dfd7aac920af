import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PhxError } from './errors.ts';

/** flock's own exit status for "held by someone else". */
const STATUS_HELD = 1;

/**
 * An exclusive lock on a file that the kernel releases when this process ends, however it ends: flock(1) holds it in
 * a child that lives as long as our end of its stdin. Works across containers sharing a volume, unlike pid files.
 */
export class FileLock implements AsyncDisposable {
  readonly #release: () => Promise<void>;
  #released: Promise<void> | undefined;

  private constructor(release: () => Promise<void>) {
    this.#release = release;
  }

  /** null when somebody else holds it (and `waitMs`, default 0, has passed). */
  static async tryAcquire(file: string, waitMs = 0): Promise<FileLock | null> {
    await mkdir(dirname(file), { recursive: true });
    const wait = waitMs === 0 ? ['--nonblock'] : ['--timeout', String(waitMs / 1000)];
    const child = spawn(
      'flock',
      [...wait, '--no-fork', '--conflict-exit-code', '1', file, 'sh', '-c', 'echo held; exec cat'],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    );
    child.stdin.on('error', () => {}); // EPIPE of a child that is already gone: its exit is what counts
    const exited = new Promise<void>((resolve) => {
      child.once('close', () => resolve());
      child.once('error', () => resolve());
    });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-1000);
    });
    const held = await new Promise<boolean>((resolve, reject) => {
      child.once('error', (cause) => {
        reject(new PhxError('UNAVAILABLE', `lock ${file}: ${cause.message}`, { cause, hint: 'install util-linux' }));
      });
      child.stdout.once('data', () => resolve(true));
      child.once('close', (code) => {
        if (code === STATUS_HELD && complaint === '') resolve(false);
        else reject(new PhxError('UNAVAILABLE', `lock ${file}: ${complaint.trim() || `flock ended with ${code}`}`));
      });
    });
    if (!held) return null;
    // The lock must not keep an otherwise finished process alive.
    child.unref();
    (child.stdin as unknown as { unref?: () => void }).unref?.();
    (child.stdout as unknown as { unref?: () => void }).unref?.();
    (child.stderr as unknown as { unref?: () => void }).unref?.();
    return new FileLock(() => {
      child.ref();
      child.stdin.end();
      return exited;
    });
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
