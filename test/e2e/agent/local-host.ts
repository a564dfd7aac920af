import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mysqldEnv } from '../../../agent/mysqld-command.ts';
import type { MysqldCommand, MysqldExit, MysqldHost, MysqldProcess } from '../../../agent/mysqld-host.ts';
import { dyingWithUs } from '../../../base/run-command.ts';
import { systemClock } from '../../../base/system-clock.ts';

/** This process as mysqld's parent: what the supervisor is in production. Survives the agents of a test. */
export class LocalHost implements MysqldHost {
  readonly exits: MysqldExit[] = [];
  starts = 0;
  #child: ChildProcess | null = null;
  #current: MysqldProcess | null = null;
  readonly #listeners = new Set<(exit: MysqldExit) => void>();

  async start({ file, args, cwd, logFile }: MysqldCommand): Promise<MysqldProcess> {
    const output = openSync(logFile, 'a', 0o600);
    const [program, ...rest] = dyingWithUs([file, ...args]);
    const child = spawn(program as string, rest, {
      cwd,
      stdio: ['ignore', output, output],
      env: mysqldEnv(process.env),
    });
    closeSync(output);
    this.starts += 1;
    this.#child = child;
    const pid = child.pid as number;
    this.#current = { pid, startedAt: systemClock.now() };
    child.on('exit', (code, signal) => {
      this.#child = null;
      this.#current = null;
      const exit = { pid, code, signal };
      this.exits.push(exit);
      for (const listener of [...this.#listeners]) listener(exit);
    });
    return this.#current;
  }

  signal(_pid: number, signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#child?.kill(signal);
  }

  current(): MysqldProcess | null {
    return this.#current;
  }

  onExit(listener: (exit: MysqldExit) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
