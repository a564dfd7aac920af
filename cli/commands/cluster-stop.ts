import { createInterface } from 'node:readline/promises';
import { PhxError } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { absoluteDir, existingCluster } from '../cluster-dir.ts';
import { killCluster, removeCluster, stopCluster } from '../cluster-stop.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `phxsql cluster stop` */
export async function clusterStop(flags: Readonly<{ dir: string }>): Promise<void> {
  const dir = absoluteDir(flags.dir);
  const ran = await stopCluster(dir, existingCluster(dir), systemClock, say);
  say(ran ? `cluster in ${dir} stopped, no process of it is left` : `cluster in ${dir} was not running`);
}

/** `phxsql cluster destroy` */
export async function clusterDestroy(flags: Readonly<{ dir: string; yes?: true }>): Promise<void> {
  const dir = absoluteDir(flags.dir);
  existingCluster(dir);
  if (!flags.yes) await confirmDestroy(dir);
  await killCluster(dir, systemClock);
  removeCluster(dir);
  say(`cluster in ${dir} destroyed`);
}

async function confirmDestroy(dir: string): Promise<void> {
  if (!process.stdin.isTTY)
    throw new PhxError('CONFIG_INVALID', `destroy ${dir}: not confirmed`, { hint: 'give --yes' });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`remove ${dir} with all its data? (yes/no) `);
  terminal.close();
  if (answer.trim() !== 'yes') throw new PhxError('CANCELLED', `destroy ${dir}: not confirmed`);
}
