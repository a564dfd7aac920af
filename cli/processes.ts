import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { delay } from '../base/async.ts';
import type { Clock } from '../base/ports.ts';
import { systemClock } from '../base/system-clock.ts';

/**
 * What /proc says about the processes of a node or cluster. A pid alone names nothing (numbers are used again), so a process
 * is known by its pid and start time, and is ours only by the mark in its environment or by its command line.
 */
export type ProcessId = Readonly<{ pid: number; startTicks: number }>;

/** In the environment of every process we start: the directory it belongs to. */
export const MARK = 'PHXSQL_PROCESS_OF';

const POLL_MS = 20;
/** An exit that takes longer hangs in the kernel. */
const EXIT_MS = 1000;

/** What /proc/PID/stat says, or null if there is no such process (one that only waits to be reaped counts as none). */
function statOf(pid: number): Readonly<{ parent: number; exiting: boolean; startTicks: number }> | null {
  const text = readProc(pid, 'stat');
  if (text === null) return null;
  // The command name, in parentheses, may hold spaces and parentheses itself.
  const [state = '', ...numbers] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [parent = 0, flags = 0, threads = 0, startTicks = 0] = [0, 5, 16, 18].map((i) => Number(numbers[i]));
  // The first thread may be dead while others still hang on a disk, with all files open.
  if (state === 'X' || (state === 'Z' && threads <= 1)) return null;
  return { parent, exiting: state === 'Z' || (flags & PF_EXITING) !== 0, startTicks };
}

/** Of include/linux/sched.h: on its way out; its memory, and with it its command line, is gone already. */
const PF_EXITING = 4;

/** Start time in clock ticks since boot. */
export function startTicksOf(pid: number): number | null {
  return statOf(pid)?.startTicks ?? null;
}

export function identify(pid: number): ProcessId | null {
  const startTicks = startTicksOf(pid);
  return startTicks === null ? null : { pid, startTicks };
}

export function isAlive(id: ProcessId): boolean {
  return startTicksOf(id.pid) === id.startTicks;
}

export function commandLineOf(pid: number): readonly string[] {
  const text = readProc(pid, 'cmdline');
  return text === null || text === '' ? [] : text.replace(/\0$/, '').split('\0');
}

/** Does this process belong to `dir` or something below it? */
export function belongsTo(pid: number, dir: string): boolean {
  const mark = markOf(pid);
  return mark === null ? commandBelongsTo(commandLineOf(pid), dir) : isInside(mark, dir);
}

/** The directory the process was started for by one of ours, or null. */
export function markOf(pid: number): string | null {
  const mark = readProc(pid, 'environ')
    ?.split('\0')
    .find((entry) => entry.startsWith(`${MARK}=`));
  return mark?.slice(MARK.length + 1) ?? null;
}

/** One of our commands or a mysqld, with a path in `dir` as an argument; not an editor that has a file of it open. */
export function commandBelongsTo(command: readonly string[], dir: string): boolean {
  const [, script = '', ...rest] = command;
  const paths = [script, ...rest].map((word) => word.slice(word.startsWith('--') ? word.indexOf('=') + 1 : 0));
  if (!paths.some((path) => isInside(path, dir))) return false;
  // Perhaps run through its own dynamic loader: then mysqld is a later word.
  if (command.some((word) => /^mysqld(-debug)?$/.test(basename(word)))) return true;
  return /\/(cli\/main\.[jt]s|phxsql(\.js)?)$/.test(script) && ['internal', 'node'].includes(rest[0] ?? '');
}

/**
 * Every process of `dir` except this one and those it was started by (bin/phxsql.js under an older Node). `known` are ids
 * from a file: one that is exiting shows in no other way whose it is.
 */
export function processesOf(dir: string, known: readonly ProcessId[] = []): readonly ProcessId[] {
  const line = lineage();
  return allPids()
    .filter((pid) => !line.has(pid))
    .filter(
      (pid) =>
        belongsTo(pid, dir) || (statOf(pid)?.exiting === true && known.some((id) => id.pid === pid && isAlive(id))),
    )
    .map(identify)
    .filter((id) => id !== null);
}

function allPids(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** False if it was gone already. */
export function signalProcess(id: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    return process.kill(id.pid, signal);
  } catch {
    return false; // gone in between, or not ours to signal: the caller waits and sees
  }
}

/** Waits until all are gone; the ones that are not when `timeoutMs` is over. */
export async function waitGone(
  ids: readonly ProcessId[],
  timeoutMs: number,
  clock: Clock = systemClock,
): Promise<readonly ProcessId[]> {
  const deadline = clock.now() + timeoutMs;
  for (;;) {
    const left = ids.filter(isAlive);
    if (left.length === 0 || clock.now() >= deadline) return left;
    await delay(clock, POLL_MS);
  }
}

/** Kills what still runs of `dir`, at most `timeoutMs`; returns the ones that would not die (a stalled disk). */
export async function killAllOf(
  dir: string,
  timeoutMs: number,
  clock: Clock = systemClock,
  known: readonly ProcessId[] = [],
): Promise<readonly ProcessId[]> {
  const deadline = clock.now() + timeoutMs;
  for (;;) {
    // Again each time: a supervisor may start a child between our look and its death.
    const found = processesOf(dir, known);
    if (found.length === 0) break;
    for (const id of found) signalProcess(id, 'SIGKILL');
    const left = await waitGone(found, Math.max(0, deadline - clock.now()), clock);
    if (left.length > 0 && clock.now() >= deadline) return left;
  }
  // Whose the other exiting ones are nobody can tell any more; they are gone in a moment.
  const exiting = allPids()
    .filter((pid) => statOf(pid)?.exiting === true)
    .map(identify);
  await waitGone(
    exiting.filter((id) => id !== null),
    EXIT_MS,
    clock,
  );
  return [];
}

export function describeProcess(id: ProcessId): string {
  const command = commandLineOf(id.pid).join(' ');
  return `${id.pid} (${command.length > 120 ? `${command.slice(0, 117)}...` : command})`;
}

function lineage(): ReadonlySet<number> {
  const line = new Set<number>();
  for (let pid = process.pid; pid > 1 && !line.has(pid); pid = statOf(pid)?.parent ?? 0) line.add(pid);
  return line;
}

function isInside(path: string, dir: string): boolean {
  return path === dir || path.startsWith(`${dir}/`);
}

function readProc(pid: number, file: 'stat' | 'cmdline' | 'environ'): string | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return null; // gone, or another user's
  }
}
