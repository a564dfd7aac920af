import { delay } from '../base/async.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import type { MysqldProcesses } from './mysqld-server.ts';

/** A process that has been sent SIGKILL ends in milliseconds, unless it hangs on a disk. */
const KILL_MS_MAX = 10_000;
const POLL_MS = 10;
/** From then on the status says what is being waited for. */
const SAY_MS = 500;

export type KillOptions = Readonly<{
  processes: MysqldProcesses;
  clock: Clock;
  log: Logger;
  /** Why it takes long, for status. */
  say?: (reason: string) => void;
}>;

/**
 * SIGKILLs every mysqld of this datadir and returns only when all of them are reaped and nobody holds its lock. Throws
 * TIMEOUT otherwise: a process in an uninterruptible wait may still write, so nothing may be cut or released then.
 */
export async function killAndReap(options: KillOptions): Promise<void> {
  const { processes, clock, log, say } = options;
  const began = clock.now();
  const end = began + KILL_MS_MAX;
  const killed = new Set<number>();
  for (;;) {
    const child = processes.current()?.pid ?? null;
    const alive = new Set(await processes.find());
    if (child !== null) alive.add(child);
    for (const pid of alive) {
      if (killed.has(pid)) continue;
      killed.add(pid);
      log.warn('killing mysqld', { mysqld: pid, orphan: pid !== child });
      if (pid === child) processes.signal(pid, 'SIGKILL');
      else processes.kill(pid);
    }
    const holders = alive.size === 0 ? await processes.lockHolders() : [];
    if (alive.size === 0 && (holders.length === 0 || !ruleHolds('cut-waits-for-the-lock'))) return;
    const who = [...alive, ...holders].join(', ');
    if (clock.now() > began + SAY_MS) say?.(`mysqld ${who} was killed and does not end: it hangs on its disk`);
    if (clock.now() > end) {
      throw new PhxError(
        'TIMEOUT',
        `kill mysqld: pid ${who} still runs or holds its data directory after ${KILL_MS_MAX} ms`,
        {
          hint: 'a process that cannot be killed usually waits for a disk',
        },
      );
    }
    await delay(clock, POLL_MS);
  }
}
