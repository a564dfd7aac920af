import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { PhxError } from '../../base/errors.ts';
import { isMissing } from './durable-file.ts';

/**
 * Pids of every mysqld that was started with our option file, whoever its parent is: the supervisor's child, or an orphan
 * of an earlier run (protocol-findings 12). An unpacked mysqld runs through a loader, so its name may be any argument.
 */
export async function findMysqlds(defaultsFile: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    if (isOurMysqld(await commandLine(Number(entry)), defaultsFile)) found.push(Number(entry));
  }
  return found;
}

/** `pid` is a mysqld that was started with our option file. */
export async function runsWith(pid: number, defaultsFile: string): Promise<boolean> {
  return isOurMysqld(await commandLine(pid), defaultsFile);
}

function isOurMysqld(args: readonly string[], defaultsFile: string): boolean {
  return args.includes(`--defaults-file=${defaultsFile}`) && args.some((arg) => basename(arg).startsWith('mysqld'));
}

/** Empty for a process that is gone or a zombie. */
async function commandLine(pid: number): Promise<readonly string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return text.split('\0');
}

/** Clock ticks since boot when `pid` started: with the pid it names a process for ever. null if it is gone. */
export async function startTicks(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The name in parentheses may hold blanks; the start time is the 20th field after it.
  const field = text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  return field === undefined ? null : Number(field);
}

/**
 * Pids holding a lock on `path`, by /proc/locks. mysqld locks ibdata1 for as long as it may write to the datadir, so this
 * sees one that was started in any other way too. Some file systems show another device number there than stat() does;
 * then the process must have the file open.
 */
export async function lockHolders(path: string): Promise<readonly number[]> {
  const stats = await stat(path, { bigint: true }).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (stats === null) return [];
  const major = Number(((stats.dev >> 8n) & 0xfffn) | ((stats.dev >> 32n) & ~0xfffn));
  const minor = Number((stats.dev & 0xffn) | ((stats.dev >> 12n) & ~0xffn));
  const holders = new Set<number>();
  for (const { pid, device, inode } of parseLocks(await readFile('/proc/locks', 'utf8'))) {
    if (inode !== stats.ino) continue;
    if ((device.major === major && device.minor === minor) || (await hasOpen(pid, path))) holders.add(pid);
  }
  return [...holders];
}

type Lock = Readonly<{ pid: number; device: Readonly<{ major: number; minor: number }>; inode: bigint }>;

/** Lines such as `9: POSIX  ADVISORY  WRITE 8075 fe:00:2171271 0 EOF`. */
export function parseLocks(text: string): readonly Lock[] {
  return text.split('\n').flatMap((line) => {
    const match = /\b(?:READ|WRITE)\s+(-?\d+)\s+([0-9a-f]+):([0-9a-f]+):(\d+)\s/i.exec(line);
    if (match === null) return [];
    const [, pid, major, minor, inode] = match as unknown as [string, string, string, string, string];
    const device = { major: Number.parseInt(major, 16), minor: Number.parseInt(minor, 16) };
    return [{ pid: Number(pid), device, inode: BigInt(inode) }];
  });
}

async function hasOpen(pid: number, path: string): Promise<boolean> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  for (const name of names) {
    if ((await readlink(`/proc/${pid}/fd/${name}`).catch(() => '')) === path) return true;
  }
  return false;
}

/** Nothing happens if it is gone already. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') {
      throw new PhxError('MYSQL_DOWN', `kill mysqld ${pid}: not permitted`, { cause: error });
    }
  }
}
