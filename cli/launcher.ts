import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Logger } from '../base/ports.ts';
import { MARK } from './processes.ts';

export type Command = Readonly<{
  file: string;
  args: readonly string[];
  cwd?: string;
  /** All of its environment; ours if left out. */
  env?: NodeJS.ProcessEnv;
}>;

/**
 * Starts processes that die with this one, even on kill -9: util-linux' setpriv sets the parent-death signal and execs, so
 * the pid is the command's own. Each gets a session of its own: Ctrl-C in a terminal reaches only the one that was started
 * there, which then stops the others in order.
 */
export class Launcher {
  readonly #dir: string;
  readonly #setpriv: string | null;

  /** `dir` is the directory the processes belong to. */
  constructor(dir: string, log: Logger, setpriv: string | null = findProgram('setpriv')) {
    this.#dir = dir;
    this.#setpriv = setpriv;
    if (setpriv === null) {
      log.warn('setpriv (util-linux) not found: processes would outlive a killed supervisor until its next start');
    }
  }

  spawn(command: Command, stdio: StdioOptions): ChildProcess {
    const guard = this.#setpriv === null ? [] : [this.#setpriv, '--pdeathsig', 'KILL', '--'];
    const [file = command.file, ...args] = [...guard, command.file, ...command.args];
    const env = { ...(command.env ?? process.env), [MARK]: this.#dir };
    return spawn(file, args, {
      stdio,
      env,
      detached: true,
      ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    });
  }
}

export function findProgram(name: string, path = process.env.PATH ?? ''): string | null {
  for (const dir of [...path.split(delimiter), '/usr/bin', '/bin', '/usr/sbin']) {
    if (dir === '') continue;
    const file = join(dir, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // look further
    }
  }
  return null;
}
