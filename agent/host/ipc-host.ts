import { PhxError } from '../../base/errors.ts';
import type { FromAgent, ToAgent } from '../../base/ipc.ts';
import type { Clock, Logger } from '../../base/ports.ts';
import {
  describeExit,
  type MysqldCommand,
  type MysqldExit,
  type MysqldHost,
  type MysqldProcess,
} from '../mysqld-host.ts';

/** mysqld is started within this time or the request counts as lost. */
const START_MS_MAX = 10_000;

/** The part of `process` (or of a ChildProcess) that carries IPC. */
export interface IpcChannel {
  send(message: FromAgent): void;
  /** Returns how to stop listening. */
  onMessage(listener: (message: ToAgent) => void): () => void;
}

/** IPC of this very process with its parent. */
export function parentChannel(): IpcChannel {
  if (process.send === undefined) throw new PhxError('UNAVAILABLE', 'find supervisor: this process has no IPC channel');
  return {
    send: (message) => void process.send?.(message),
    onMessage(listener) {
      const onMessage = (message: unknown): void => {
        if (isToAgent(message)) listener(message);
      };
      process.on('message', onMessage);
      return () => process.off('message', onMessage);
    },
  };
}

function isToAgent(message: unknown): message is ToAgent {
  return typeof message === 'object' && message !== null && (message as { kind?: unknown }).kind === 'mysqld';
}

export class IpcMysqldHost implements MysqldHost {
  readonly #channel: IpcChannel;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #exitListeners = new Set<(exit: MysqldExit) => void>();
  #current: MysqldProcess | null = null;
  #starting: { resolve(process: MysqldProcess): void; reject(error: PhxError): void } | null = null;

  private constructor(channel: IpcChannel, clock: Clock, log: Logger) {
    this.#channel = channel;
    this.#clock = clock;
    this.#log = log;
  }

  /** Resolves once the supervisor has told whether a mysqld runs (it says so to every new agent). */
  static connect(options: Readonly<{ channel: IpcChannel; clock: Clock; log: Logger }>): Promise<IpcMysqldHost> {
    const host = new IpcMysqldHost(options.channel, options.clock, options.log);
    return new Promise((resolve, reject) => {
      const cancel = options.clock.after(START_MS_MAX, () =>
        reject(new PhxError('TIMEOUT', `ask supervisor for mysqld: no answer within ${START_MS_MAX} ms`)),
      );
      options.channel.onMessage((message) => {
        cancel();
        host.#onMessage(message);
        resolve(host);
      });
    });
  }

  start(command: MysqldCommand): Promise<MysqldProcess> {
    if (this.#current !== null || this.#starting !== null) {
      return Promise.reject(new PhxError('BUSY', `start mysqld: pid ${this.#current?.pid ?? 'unknown'} runs already`));
    }
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(START_MS_MAX, () => {
        this.#starting = null;
        reject(new PhxError('TIMEOUT', `start mysqld: the supervisor did not answer within ${START_MS_MAX} ms`));
      });
      this.#starting = {
        resolve: (process) => {
          cancel();
          resolve(process);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      this.#channel.send({ kind: 'startMysqld', ...command });
    });
  }

  signal(pid: number, signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#channel.send({ kind: 'signalMysqld', pid, signal });
  }

  current(): MysqldProcess | null {
    return this.#current;
  }

  onExit(listener: (exit: MysqldExit) => void): () => void {
    this.#exitListeners.add(listener);
    return () => this.#exitListeners.delete(listener);
  }

  #onMessage({ pid, startedAt, exit }: ToAgent): void {
    const before = this.#current;
    this.#current = pid === null ? null : { pid, startedAt: startedAt ?? this.#clock.now() };
    const starting = this.#starting;
    if (starting !== null && this.#current !== null) {
      this.#starting = null;
      starting.resolve(this.#current);
    } else if (starting !== null && before === null && exit !== null) {
      this.#starting = null;
      starting.reject(new PhxError('MYSQL_DOWN', `start mysqld: it ended at once (${describeExit(exit)})`));
    }
    if (before === null || before.pid === pid) return;
    const ended = exit !== null && exit.pid === before.pid ? exit : { pid: before.pid, code: null, signal: null };
    this.#log.warn('mysqld ended', { mysqld: ended.pid, how: describeExit(ended) });
    for (const listener of [...this.#exitListeners]) listener(ended);
  }
}
