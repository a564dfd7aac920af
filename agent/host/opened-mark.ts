import { rename, rm, writeFile } from 'node:fs/promises';
import { readIfThere } from './durable-file.ts';
import { startTicks } from './mysqld-process.ts';

/**
 * A mark beside a running mysqld: in which epoch this very process (pid and start time) was opened for writes. The next
 * agent reads it to tell whether the mysqld it finds may still be the master. It need not survive a power cut, because
 * the process does not.
 */
export async function writeOpenedMark(path: string, pid: number, epoch: number): Promise<void> {
  const fresh = `${path}.new`;
  await writeFile(fresh, JSON.stringify({ pid, startTicks: await startTicks(pid), epoch }), { mode: 0o600 });
  await rename(fresh, path);
}

/** The epoch `pid` was opened in, 0 if it was not. */
export async function readOpenedMark(path: string, pid: number): Promise<number> {
  const text = await readIfThere(path);
  if (text === null) return 0;
  try {
    const mark = JSON.parse(text) as { pid?: unknown; startTicks?: unknown; epoch?: unknown };
    const same = mark.pid === pid && mark.startTicks === (await startTicks(pid));
    return same && typeof mark.epoch === 'number' ? mark.epoch : 0;
  } catch {
    return 0; // a mark that cannot be read vouches for nobody
  }
}

export async function removeOpenedMark(path: string): Promise<void> {
  await rm(path, { force: true });
}
