import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { mysqldEnv } from '../agent/mysqld-command.ts';
import type { FromAgent, ToAgent } from '../base/ipc.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { openLog } from './files.ts';
import type { Launcher } from './launcher.ts';
import { identify, type ProcessId, signalProcess } from './processes.ts';

/**
 * The node's mysqld, a child of the supervisor so that it outlives a restart of the agent. When it runs and when it ends is
 * the agent's decision alone: after a death nothing may start it before the tail of its binlog was judged.
 */
export type MysqldOptions = Readonly<{
  launcher: Launcher;
  clock: Clock;
  log: Logger;
  /** Something about it changed: tell the agent, write the pids. */
  changed: () => void;
}>;

/** Exit code reported when the program could not be run at all, as a shell would. */
const NOT_STARTED = 127;

export class MysqldChild {
  readonly #options: MysqldOptions;
  #process: ChildProcess | null = null;
  #id: ProcessId | null = null;
  #startedAt: number | null = null;
  #exit: ToAgent['exit'] = null;
  #onGone: (() => void)[] = [];

  constructor(options: MysqldOptions) {
    this.#options = options;
  }

  get pid(): number | null {
    return this.#id?.pid ?? null;
  }

  state(): ToAgent {
    return { kind: 'mysqld', pid: this.pid, startedAt: this.#startedAt, exit: this.#exit };
  }

  start(request: Extract<FromAgent, { kind: 'startMysqld' }>): void {
    const { launcher, clock, log, changed } = this.#options;
    if (this.#process !== null) {
      log.warn('mysqld runs already: request to start it ignored', { child: this.pid });
      changed();
      return;
    }
    mkdirSync(dirname(request.logFile), { recursive: true });
    const output = openLog(request.logFile);
    const child = launcher.spawn(
      {
        file: request.file,
        args: request.args,
        cwd: request.cwd,
        env: mysqldEnv({ ...process.env, PHXSQL_ROOT_PASSWORD: '' }),
      },
      ['ignore', output, output],
    );
    closeSync(output);
    this.#process = child;
    child.on('exit', (code, signal) => this.#ended(child.pid ?? 0, code, signal));
    child.on('error', (error) => {
      log.error('mysqld could not be started', { file: request.file, reason: error.message });
      if (child.pid === undefined) this.#ended(0, NOT_STARTED, null);
    });
    if (child.pid === undefined) return;
    this.#id = identify(child.pid) ?? { pid: child.pid, startTicks: -1 };
    this.#startedAt = clock.now();
    this.#exit = null;
    log.info('mysqld started', { child: child.pid });
    changed();
  }

  /** Only the one we spawned: an agent that is late must not hit its successor. */
  signal(pid: number, signal: NodeJS.Signals): void {
    if (this.#id === null || this.#id.pid !== pid) {
      this.#options.log.warn('signal for a mysqld that is not ours: ignored', { child: pid, ours: this.pid, signal });
      return;
    }
    signalProcess(this.#id, signal);
  }

  /** SIGKILL: what was not acknowledged is cut from its binlog before the next start. Resolves when it is gone. */
  kill(): Promise<void> {
    if (this.#process === null) return Promise.resolve();
    const gone = new Promise<void>((resolve) => this.#onGone.push(resolve));
    if (this.#id !== null) signalProcess(this.#id, 'SIGKILL');
    return gone;
  }

  #ended(pid: number, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#process === null) return;
    this.#process = null;
    this.#id = null;
    this.#startedAt = null;
    this.#exit = { pid, code, signal };
    this.#options.log.warn('mysqld ended', { child: pid, code, signal });
    this.#options.changed();
    for (const resolve of this.#onGone.splice(0)) resolve();
  }
}
