import type { SimProcess } from '../process.ts';
import type { Attached, ScriptedMysqld } from './mysqld.ts';
import { Wire } from './wire.ts';

/**
 * A logged-in connection: questions go to the server and answers come back, each over its wire, in order. When the server
 * dies or drops it, everything unanswered fails with what `lost` makes; when the client's process dies, the server notices.
 */
export class Connection {
  readonly mysqld: ScriptedMysqld;
  readonly client: SimProcess;
  readonly toServer: Wire;
  readonly toClient: Wire;
  readonly #lost: () => Error;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #closeListeners: ((error: Error) => void)[] = [];
  /** What the server does when the client is gone. */
  readonly #serverCleanups: (() => void)[] = [];
  #session: Attached | null = null;
  #closed: Error | null = null;

  private constructor(mysqld: ScriptedMysqld, client: SimProcess, lost: () => Error) {
    this.mysqld = mysqld;
    this.client = client;
    this.#lost = lost;
    this.toServer = new Wire(mysqld.kernel, mysqld.process, mysqld.times.net);
    this.toClient = new Wire(mysqld.kernel, client, mysqld.times.net);
    const stopWatching = [
      mysqld.process.onDeath(() => this.toClient.send(() => this.#fail(lost()))),
      client.onDeath(() => this.#hangUp()),
    ];
    this.#serverCleanups.push(() => {
      for (const stop of stopWatching) stop();
    });
  }

  /** Rejects with what the server says, or with `lost()`; never settles while the server lets nobody in. */
  static async open(
    mysqld: ScriptedMysqld,
    client: SimProcess,
    user: Readonly<{ name: string; privileged: boolean }>,
    lost: () => Error,
  ): Promise<Connection> {
    const connection = new Connection(mysqld, client, lost);
    try {
      await connection.ask(async () => {
        const session = await mysqld.logIn(user.name, user.privileged, () => connection.#dropped());
        if (connection.#closed !== null || !client.alive) mysqld.attached.delete(session.id);
        else connection.#session = session;
      });
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#closed !== null;
  }

  /** The server still has it. */
  get known(): boolean {
    return this.#session !== null && this.mysqld.attached.has(this.#session.id);
  }

  onClose(listener: (error: Error) => void): void {
    if (this.#closed !== null) listener(this.#closed);
    else this.#closeListeners.push(listener);
  }

  onServerGone(cleanup: () => void): void {
    this.#serverCleanups.push(cleanup);
  }

  /** `answer` runs in the server; what it returns or throws comes back. */
  ask<T>(answer: () => T | Promise<T>): Promise<T> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return new Promise<T>((resolve, reject) => {
      const settle = (fire: () => void): void =>
        this.toClient.send(() => {
          if (this.#pending.delete(reject)) fire();
        });
      this.#pending.add(reject);
      this.toServer.send(() => {
        Promise.try(answer).then(
          (value) => settle(() => resolve(value)),
          (error: Error) => settle(() => reject(error)),
        );
      });
    });
  }

  /** The client closes it; what it sent before may still arrive. */
  close(error: Error = this.#lost()): void {
    if (this.#closed !== null) return;
    this.#fail(error);
    this.#hangUp();
  }

  #hangUp(): void {
    const { kernel, process, times } = this.mysqld;
    if (!times.drop()) {
      this.toServer.send(() => this.#serverEnds());
      return;
    }
    this.toServer.cut();
    kernel.at(times.net(), () => process.deliver(() => this.#serverEnds()));
  }

  #serverEnds(): void {
    if (this.#session !== null) this.mysqld.attached.delete(this.#session.id);
    this.toServer.cut();
    for (const cleanup of this.#serverCleanups.splice(0)) cleanup();
  }

  /** By the server: KILL, offline mode, shutdown. */
  #dropped(): void {
    this.#serverEnds();
    this.toClient.send(() => this.#fail(this.#lost()));
  }

  #fail(error: Error): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    this.toClient.cut();
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
    for (const listener of this.#closeListeners.splice(0)) listener(error);
  }
}
