import { delay, LinkedAbort } from '../base/async.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { ConnectSource, SourceConnection } from './source-connection.ts';

const LOGIN_TIMEOUT_MS = 1000;
const RETRY_MS = 100;
/** While commits wait for it: where clients have used up max_connections the one kept for administrators has to be caught. */
const RETRY_URGENT_MS = 10;
/** Well below mysqld's connect and wait timeouts, so that the spare is never found dead when it is needed. */
const PING_MS = 10_000;

/**
 * Keeps one authenticated connection in reserve: while CREATE USER or GRANT waits for its ack nobody new can log in, the
 * acker included, but a connection that is already there can start a dump and ack (protocol-findings 13).
 */
export class SpareConnection {
  readonly #connect: ConnectSource;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onChange: () => void;
  #socketPath = '';
  #connection: SourceConnection | null = null;
  #takers: ((connection: SourceConnection) => void)[] = [];
  #stop = new AbortController();

  constructor(options: Readonly<{ connect: ConnectSource; clock: Clock; log: Logger }>, onChange: () => void) {
    this.#connect = options.connect;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#onChange = onChange;
  }

  get ready(): boolean {
    return this.#connection !== null;
  }

  /** Which mysqld to be connected to; '' = none. */
  aim(socketPath: string): void {
    if (socketPath === this.#socketPath) return;
    this.#socketPath = socketPath;
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#connection?.destroy();
    this.#connection = null;
    if (socketPath !== '') void this.#keep(socketPath, this.#stop.signal);
  }

  /** The spare, as soon as there is one; a new one is made in its place. */
  take(signal: AbortSignal): Promise<SourceConnection> {
    return new Promise((resolve, reject) => {
      const taker = (connection: SourceConnection): void => {
        signal.removeEventListener('abort', onAbort);
        resolve(connection);
      };
      const onAbort = (): void => {
        this.#takers = this.#takers.filter((other) => other !== taker);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#takers.push(taker);
      this.#serve();
    });
  }

  close(): void {
    this.aim('');
  }

  async #keep(socketPath: string, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      try {
        const connection = await this.#logIn(socketPath, stop);
        if (stop.aborted) {
          connection.destroy();
          return;
        }
        this.#connection = connection;
        const gone = new Promise<void>((resolve) => {
          connection.onClose(() => resolve());
          this.#taken = resolve;
        });
        this.#serve();
        this.#onChange();
        await this.#untilGone(connection, gone, stop);
        if (this.#connection === connection) this.#connection = null;
        this.#onChange();
        if (!connection.alive) await delay(this.#clock, RETRY_MS, stop).catch(() => {});
      } catch (error) {
        this.#log.debug('spare connection failed', { reason: reasonOf(error) });
        const pauseMs = this.#takers.length > 0 ? RETRY_URGENT_MS : RETRY_MS;
        await delay(this.#clock, pauseMs, stop).catch(() => {});
      }
    }
  }

  async #logIn(socketPath: string, stop: AbortSignal): Promise<SourceConnection> {
    using late = new LinkedAbort(stop);
    const cancel = this.#clock.after(LOGIN_TIMEOUT_MS, () => late.abort());
    try {
      return await this.#connect(socketPath, late.signal);
    } finally {
      cancel();
    }
  }

  #taken: () => void = () => {};

  /** Until the connection is taken, dead, or no longer wanted; keeps it warm meanwhile. */
  async #untilGone(connection: SourceConnection, gone: Promise<void>, stop: AbortSignal): Promise<void> {
    let here = true;
    const left = gone.then(() => {
      here = false;
    });
    while (here && !stop.aborted) {
      using round = new LinkedAbort(stop);
      await Promise.race([left, delay(this.#clock, PING_MS, round.signal).catch(() => {})]);
      round.abort();
      if (here && !stop.aborted) await connection.ping().catch(() => {});
    }
  }

  #serve(): void {
    const connection = this.#connection;
    if (connection === null || !connection.alive) return;
    const taker = this.#takers.shift();
    if (taker === undefined) return;
    this.#connection = null;
    taker(connection);
    this.#taken();
  }
}
