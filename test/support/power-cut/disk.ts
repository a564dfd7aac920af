import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Prng } from '../../../base/prng.ts';
import { type NameChange, readJournals, readPayload } from './journal.ts';
import { type FileLoss, type Losses, lossesOf, type Mercy } from './losses.ts';

const SOURCE = fileURLToPath(new URL('./power-cut.c', import.meta.url));
const COMPILERS = ['cc', 'gcc', 'clang'];

/** What a cut took: changes seen, lost, written in part, names lost; and in which files. */
export type CutReport = Losses['counts'] & Readonly<{ files: readonly string[] }>;

/** Why nothing here can be simulated, or null. */
export const powerCutUnavailable: string | null =
  compiler() === null ? `no C compiler (${COMPILERS.join(', ')}): install gcc and libc6-dev` : null;

/**
 * A directory whose disk can lose its power. Processes started with `env` and writing below it are passed on unchanged and written
 * down (power-cut.c); when all of them are dead, `cut` leaves below it what a disk would hold. Each first folder (`node-1`)
 * can be cut by itself while the processes of the others run on.
 */
export class PowerCutDisk implements Disposable {
  readonly root: string;
  readonly #journal: string;

  /** `root` exists; the journals are kept beside it, for hard links on the same file system. */
  constructor(root: string) {
    this.root = realpathSync(root);
    this.#journal = `${this.root}.power-cut`;
    mkdirSync(this.#journal, { mode: 0o700 });
    writeFileSync(join(this.#journal, 'counter'), Buffer.alloc(8));
  }

  /** For every process that writes below the root. */
  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: shim(),
      PHX_POWER_CUT_ROOT: this.root,
      PHX_POWER_CUT_JOURNAL: this.#journal,
      UV_USE_IO_URING: '0', // writes that are no calls would not be seen
    };
  }

  /** Folders below the root that were written to. */
  get folders(): readonly string[] {
    return readdirSync(this.#journal, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  }

  /** Takes from `folder` what was not synced. Nobody may have it open. */
  cut(folder: string, options: Readonly<{ mercy: Mercy; seed: number }>): CutReport {
    const journals = join(this.#journal, folder);
    const graves = join(journals, 'graves');
    const journal = readJournals(journals);
    const top = join(this.root, folder);
    const places = filesBelow(top);
    for (const seq of readdirSync(graves)) {
      const grave = join(graves, seq);
      const { ino } = lstatSync(grave);
      if (!places.has(ino)) places.set(ino, grave);
    }
    const losses = lossesOf(journal, options.mercy, new Prng(options.seed), {
      ino: (ino) => places.has(ino),
      path: (path) => path.startsWith(`${top}/`),
    });
    for (const file of losses.files) takeBack(places.get(file.ino) as string, file);
    for (const change of losses.names) takeBackName(change, join(graves, String(change.seq)));
    rmSync(journals, { recursive: true });
    const named = [...losses.files.map(({ ino }) => basename(places.get(ino) as string)), ...losses.names.map(nameOf)];
    return { ...losses.counts, files: [...new Set(named)] };
  }

  [Symbol.dispose](): void {
    rmSync(this.#journal, { recursive: true, force: true });
  }
}

function nameOf(change: NameChange): string {
  return `${change.type} ${basename(change.type === 'rename' ? change.to : change.path)}`;
}

/** Inode -> path of every regular file. */
function filesBelow(top: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const entry of readdirSync(top, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found.set(lstatSync(path).ino, path);
  }
  return found;
}

/** Back to before the first change that is not whole, newest first; then again what of them is on the disk. */
function takeBack(path: string, { changes, sizeBefore }: FileLoss): void {
  const fd = openSync(path, 'r+');
  try {
    const redo: (() => void)[] = [];
    for (const { change, kept } of changes.toReversed()) {
      if (change.type === 'size') {
        if (kept === 'all') redo.push(() => ftruncateSync(fd, change.sizeAfter));
        if (change.old.bytes > 0) writeSync(fd, readPayload(change.old), 0, change.old.bytes, change.sizeAfter);
        continue;
      }
      const { offset, length, old } = change;
      const pieces = kept === 'all' ? [{ offset, length }] : kept;
      const now = pieces.map((piece) => ({ at: piece.offset, bytes: readAt(fd, piece.offset, piece.length) }));
      redo.push(() => {
        for (const { at, bytes } of now) writeSync(fd, bytes, 0, bytes.length, at);
      });
      const before = Buffer.alloc(length);
      readPayload(old).copy(before);
      writeSync(fd, before, 0, length, offset);
    }
    ftruncateSync(fd, sizeBefore);
    for (const again of redo.toReversed()) again();
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let got = 0;
  while (got < length) {
    const n = readSync(fd, bytes, got, length - got, at + got);
    if (n === 0) break;
    got += n;
  }
  return bytes.subarray(0, got);
}

/** The process may have died before the call itself: then there is nothing to take back. */
function takeBackName(change: NameChange, grave: string): void {
  switch (change.type) {
    case 'create':
      if (inoOf(change.path) === change.ino) rmSync(change.path);
      return;
    case 'unlink':
      if (!existsSync(change.path) && existsSync(grave)) bring(grave, change.path);
      return;
    case 'rename':
      if (inoOf(change.to) !== change.ino) return;
      if (existsSync(dirname(change.from))) renameSync(change.to, change.from);
      if (change.replaced && existsSync(grave)) bring(grave, change.to);
  }
}

function bring(grave: string, path: string): void {
  if (existsSync(dirname(path))) linkSync(grave, path);
}

function inoOf(path: string): number | null {
  return lstatSync(path, { throwIfNoEntry: false })?.ino ?? null;
}

function compiler(): string | null {
  for (const name of COMPILERS) {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return name;
    } catch {
      // the next
    }
  }
  return null;
}

/** The compiled shim, made once per text of its source. */
function shim(): string {
  const text = readFileSync(SOURCE);
  const path = join(tmpdir(), `phx-power-cut-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.so`);
  if (existsSync(path)) return path;
  const fresh = `${path}.${process.pid}`;
  const args = [
    '-O2',
    '-Wall',
    '-Wextra',
    '-U_FORTIFY_SOURCE',
    '-shared',
    '-fPIC',
    '-o',
    fresh,
    SOURCE,
    '-ldl',
    '-lpthread',
  ];
  execFileSync(compiler() as string, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  renameSync(fresh, path);
  return path;
}
