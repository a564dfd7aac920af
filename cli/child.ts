import type { ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { isAliveMessage } from '../base/ipc.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { openLog } from './files.ts';
import type { Command, Launcher } from './launcher.ts';
import { ASK_EVERY_MS, asked, HEARD, isFrozen, type Liveness, NOT_ASKED, type Patience } from './liveness.ts';
import { identify, type ProcessId, signalProcess } from './processes.ts';
import { afterDeath, NO_DEATHS, type RestartState } from './restart-policy.ts';

/**
 * One component kept running by its supervisor.
 *
 *              start()             death (delay per restart-policy)
 *    idle ───────────► running ──────────────► waiting ──┐
 *                        ▲  │                     │      │
 *                        │  │ stop()              │ stop()
 *                        │  ▼                     ▼      │
 *                        │ stopping ──death──► stopped   │
 *                        └───────────────────────────────┘
 *
 * One that is running and does not answer any more (liveness.ts) is killed: that is a death like any other.
 */
export type ChildEvents = Readonly<{
  /** Spawned: `send` reaches it from now on (messages wait until it listens). */
  up?: (pid: number) => void;
  down?: () => void;
  message?: (message: unknown) => void;
}>;

export type ChildOptions = Readonly<{
  name: string;
  command: Command;
  logFile: string;
  launcher: Launcher;
  clock: Clock;
  log: Logger;
  events?: ChildEvents;
  /** Instead of the policy of restart-policy.ts: always after this time. */
  restartDelayMs?: number;
  /** It answers the question whether it lives; absent: it is not asked. */
  patience?: Patience;
  /** Default: ASK_EVERY_MS. */
  askEveryMs?: number;
}>;

/**
 * For glibc: what is larger is given back to the system at once. By itself it raises that bound to 32 MiB, and keeps what large
 * transactions were once read into.
 */
const MEMORY = { MALLOC_MMAP_THRESHOLD_: '131072' } as const;

/** In the environment of a child whose life before ended by one of these: nobody sent them, it went wrong by itself. */
export const DIED_OF = 'PHXSQL_DIED_OF';
const FAULT_SIGNALS: ReadonlySet<unknown> = new Set(['SIGABRT', 'SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP']);

/** Messages of the IPC channel that may wait in us for a child that does not read. */
export const CHILD_MESSAGES_MAX = 256;

export class Child {
  readonly #options: ChildOptions;
  #state: 'idle' | 'running' | 'waiting' | 'stopping' | 'stopped' = 'idle';
  #process: ChildProcess | null = null;
  #id: ProcessId | null = null;
  #restarts: RestartState = NO_DEATHS;
  /** The fault that ended the last life, or null. */
  #diedOf: string | null = null;
  #cancelWait: () => void = () => {};
  #liveness: Liveness = NOT_ASKED;
  #cancelAsk: () => void = () => {};
  #waitingMessages = 0;
  #onStopped: (() => void)[] = [];

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get pid(): number | null {
    return this.#id?.pid ?? null;
  }

  start(): void {
    if (this.#state !== 'idle' && this.#state !== 'waiting') return;
    const { launcher, command, logFile, clock, log, events, name } = this.#options;
    const output = openLog(logFile);
    const startedAt = clock.now();
    const env = {
      ...MEMORY,
      ...(command.env ?? process.env),
      ...(this.#diedOf === null ? {} : { [DIED_OF]: this.#diedOf }),
    };
    const child = launcher.spawn({ ...command, env }, ['ignore', output, output, 'ipc']);
    closeSync(output);
    this.#state = 'running';
    this.#process = child;
    this.#waitingMessages = 0;
    let ended = false;
    const end = (how: Readonly<Record<string, unknown>>): void => {
      if (ended) return;
      ended = true;
      this.#ended(clock.now() - startedAt, how);
    };
    child.on('exit', (code, signal) => end({ code, signal }));
    child.on('error', (error) => {
      // Could not be started, or a message could not be sent: only the first ends it.
      if (child.pid === undefined) end({ error: error.message });
    });
    child.on('message', (message) => {
      if (!isAliveMessage(message)) events?.message?.(message);
      else if (this.#process === child) this.#liveness = HEARD;
    });
    if (child.pid === undefined) return;
    this.#id = identify(child.pid) ?? { pid: child.pid, startTicks: -1 };
    log.info('process started', { process: name, child: child.pid });
    events?.up?.(child.pid);
    this.#liveness = NOT_ASKED;
    this.#ask();
  }

  #ask(): void {
    const { patience, clock, askEveryMs = ASK_EVERY_MS, log, name } = this.#options;
    if (patience === undefined) return;
    this.#cancelAsk = clock.after(askEveryMs, () => {
      if (isFrozen(this.#liveness, patience)) {
        log.error('process does not answer: killed', { process: name, child: this.pid, ...this.#liveness });
        this.#signal('SIGKILL');
        return;
      }
      this.#liveness = asked(this.#liveness);
      this.send({ kind: 'alive' });
      this.#ask();
    });
  }

  /** False when there is no child, or one that does not read: the message is dropped (each tells the whole state). */
  send(message: Readonly<Record<string, unknown>>): boolean {
    const child = this.#process;
    if (child === null || !child.connected || this.#waitingMessages >= CHILD_MESSAGES_MAX) return false;
    this.#waitingMessages += 1;
    child.send(message, () => {
      if (this.#process === child) this.#waitingMessages -= 1;
    });
    return true;
  }

  /** Asks it to end and waits; SIGKILL after `timeoutMs`. Not started again. */
  async stop(timeoutMs: number): Promise<void> {
    const gone = this.#begun();
    this.#signal('SIGTERM');
    const cancel = this.#options.clock.after(timeoutMs, () => {
      this.#options.log.warn('process does not stop: killed', {
        process: this.name,
        child: this.pid,
        afterMs: timeoutMs,
      });
      this.#signal('SIGKILL');
    });
    await gone;
    cancel();
  }

  /** SIGKILL, not started again; resolves when it is gone. */
  kill(): Promise<void> {
    const gone = this.#begun();
    this.#signal('SIGKILL');
    return gone;
  }

  #begun(): Promise<void> {
    this.#cancelWait();
    this.#cancelAsk();
    if (this.#state === 'running') this.#state = 'stopping';
    if (this.#state !== 'stopping') {
      this.#state = 'stopped';
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#onStopped.push(resolve));
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#id !== null) signalProcess(this.#id, signal);
  }

  #ended(livedMs: number, how: Readonly<Record<string, unknown>>): void {
    const { log, clock, events } = this.#options;
    const stopping = this.#state === 'stopping';
    this.#cancelAsk();
    const fields = { process: this.name, child: this.pid, livedMs: Math.round(livedMs), ...how };
    this.#process = null;
    this.#id = null;
    this.#diedOf = FAULT_SIGNALS.has(how['signal']) ? String(how['signal']) : null;
    if (stopping) {
      this.#state = 'stopped';
      log.info('process stopped', fields);
    } else {
      const { state, delayMs: policyMs } = afterDeath(this.#restarts, livedMs);
      const delayMs = this.#options.restartDelayMs ?? policyMs;
      this.#restarts = state;
      this.#state = 'waiting';
      log.warn('process died: started again', { ...fields, delayMs });
      this.#cancelWait = clock.after(delayMs, () => this.start());
    }
    events?.down?.();
    for (const resolve of this.#onStopped.splice(0)) resolve();
  }
}
