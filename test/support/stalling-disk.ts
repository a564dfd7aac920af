import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from './wait.ts';

const SOURCE = fileURLToPath(new URL('./stallfs.c', import.meta.url));

/** A directory on a file system that can be made to hang: stallfs.c, built when it is first needed. Needs root, cc and libfuse3. */
export class StallingDisk implements AsyncDisposable {
  readonly path: string;
  readonly #stallFile: string;
  readonly #server: ChildProcess;

  private constructor(path: string, stallFile: string, server: ChildProcess) {
    this.path = path;
    this.#stallFile = stallFile;
    this.#server = server;
  }

  /** Why none can be had here, or ''. */
  static get obstacle(): string {
    if (process.getuid?.() !== 0) return 'only root may mount a file system';
    if (!existsSync('/dev/fuse')) return 'this kernel has no /dev/fuse';
    if (fuseFlags() === null) return 'libfuse3-dev, pkg-config or cc is missing';
    return '';
  }

  /** What is at `path` stays to be seen there; in truth it lies in `realPath`, which must not exist yet. */
  static async mount(path: string, realPath: string): Promise<StallingDisk> {
    mkdirSync(path, { recursive: true });
    cpSync(path, realPath, { recursive: true, preserveTimestamps: true });
    rmSync(path, { recursive: true });
    mkdirSync(path);
    const stallFile = `${realPath}.stall`;
    const env = { ...process.env, STALLFS_ROOT: realPath, STALLFS_STALL: stallFile };
    const server = spawn(build(), ['-f', path], { stdio: ['ignore', 'ignore', 'inherit'], env });
    const disk = new StallingDisk(path, stallFile, server);
    await eventually(`stallfs at ${path}`, 10_000, () => isMounted(path));
    return disk;
  }

  /** No operation on it ends until `heal`. */
  stall(): void {
    writeFileSync(this.#stallFile, '');
  }

  heal(): void {
    rmSync(this.#stallFile, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal();
    spawnSync('umount', ['-l', this.path]);
    const ended = new Promise((resolve) => this.#server.once('exit', resolve));
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return;
    this.#server.kill('SIGKILL'); // operations under way end with an error
    await ended;
  }
}

function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} fuse.`);
}

function fuseFlags(): readonly string[] | null {
  const { status, stdout } = spawnSync('pkg-config', ['--cflags', '--libs', 'fuse3'], { encoding: 'utf8' });
  if (status !== 0 || spawnSync('cc', ['--version']).status !== 0) return null;
  return stdout.trim().split(/\s+/);
}

/** The program, for this process. */
function build(): string {
  const program = join(tmpdir(), `phx-stallfs-${process.pid}`);
  if (existsSync(program)) return program;
  const { status, stderr } = spawnSync('cc', ['-O2', '-o', program, SOURCE, ...(fuseFlags() ?? [])], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`build stallfs: ${stderr}`);
  process.once('exit', () => rmSync(program, { force: true }));
  return program;
}
