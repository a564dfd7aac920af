import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { killAllOf } from '../../../../cli/processes.ts';

export type Event = Readonly<{
  who: string;
  pid: number;
  event: string;
  message?: unknown;
  mark?: string;
  parentPid?: string;
  diedOf?: string;
}>;

/** A directory of its own, the events of the fakes that run in it, and no process of it left afterwards. */
export class Arena implements AsyncDisposable {
  readonly dir = realpathSync(mkdtempSync(join(tmpdir(), 'phxsql-cli-')));
  readonly events = join(this.dir, 'events');
  readonly #children: ChildProcess[] = [];

  read(): readonly Event[] {
    try {
      const lines = readFileSync(this.events, 'utf8').split('\n');
      return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Event);
    } catch {
      return [];
    }
  }

  of(who: string, event: string): readonly Event[] {
    return this.read().filter((entry) => entry.who === who && entry.event === event);
  }

  run(script: string, ...args: string[]): ChildProcess {
    const path = new URL(`./${script}`, import.meta.url).pathname;
    const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#children.push(child);
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await killAllOf(this.dir, 5000);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What `look` gives once it gives something true. */
export function until<T>(look: () => T, timeout = 10_000): Promise<Exclude<T, null | undefined | false>> {
  return vi.waitUntil(look, { timeout, interval: 10 }) as Promise<Exclude<T, null | undefined | false>>;
}

export const exitOf = (child: ChildProcess): Promise<number | string | null> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode ?? child.signalCode);
    else child.once('exit', (code, signal) => resolve(code ?? signal));
  });
