import type { MysqldExit, MysqldProcess } from '../../../agent/mysqld-host.ts';
import type { MysqldServer } from '../../../agent/mysqld-server.ts';
import { PhxError, reasonOf } from '../../../base/errors.ts';
import type { Prng } from '../../../base/prng.ts';
import type { LogSource } from '../../../binlogsvr/log-source.ts';
import { uuidFromBytes } from '../../../mysql/gtid.ts';
import type { ConnectSource } from '../../../sync/source-connection.ts';
import type { Kernel } from '../kernel.ts';
import type { SimProcess } from '../process.ts';
import type { CutTransaction } from './binlog-bytes.ts';
import { ClientSession } from './client.ts';
import { Connection } from './connection.ts';
import { MysqldDisk } from './disk.ts';
import { ScriptedMysqld } from './mysqld.ts';
import { SimMysqldServer } from './server.ts';
import { SimSource } from './source.ts';
import { SqlError } from './sql-error.ts';
import { type MysqldTimes, usualTimes } from './times.ts';

export type MysqldNodeOptions = Readonly<{
  kernel: Kernel;
  /** A stream of its own. */
  random: Prng;
  /** Of the node, for names and server ids. */
  id: number;
  /** A new process of this node's machine; mysqld is its own. */
  spawn: (name: string) => SimProcess;
  logSource: () => LogSource | null;
  times?: Partial<MysqldTimes>;
}>;

/**
 * The mysqld side of one node: the disk, which outlives everything, the mysqld that runs, if one does, and its parent, who
 * reaps it and tells the agent. The three who use it get a port each, bound to their own process:
 *
 *   agent ──► serverFor()      sync ──► sourceFor()      client ──► connect()
 *
 * Faults are methods: kill, orphan, terminate, freeze, stallDisk, powerCut, change, persist; snapshot and restore of `disk`.
 */
export class MysqldNode {
  readonly kernel: Kernel;
  readonly disk = new MysqldDisk();
  readonly socket: string;
  /** All that run, by pid. */
  readonly alive = new Map<number, ScriptedMysqld>();
  readonly times: MysqldTimes;
  /**
   * For checkers, which know the log by their own records: the transactions a cut takes away, once it is decided (again, if it
   * is repeated), and a mysqld that listens.
   */
  onCut: ((taken: readonly CutTransaction[]) => void) | null = null;
  onUp: ((mysqld: ScriptedMysqld) => void) | null = null;
  readonly #o: MysqldNodeOptions;
  readonly #exitListeners = new Set<(exit: MysqldExit) => void>();
  #child: MysqldProcess | null = null;
  #nextPid: number;

  constructor(options: MysqldNodeOptions) {
    this.#o = options;
    this.kernel = options.kernel;
    this.times = { ...usualTimes(options.random), ...options.times };
    this.socket = `/sim/${options.id}/mysqld.sock`;
    this.#nextPid = 1_000 * options.id;
  }

  /** As its parent knows it: null once it was reaped. */
  get child(): MysqldProcess | null {
    return this.#child;
  }

  /** The one that runs; it may still be starting. */
  get mysqld(): ScriptedMysqld | null {
    return [...this.alive.values()].at(-1) ?? null;
  }

  get listening(): ScriptedMysqld | null {
    const { mysqld } = this;
    return mysqld?.accepting === true ? mysqld : null;
  }

  serverFor(agent: SimProcess): MysqldServer {
    return new SimMysqldServer(this, agent);
  }

  sourceFor(binlogsvr: SimProcess): ConnectSource {
    const down = (): Error => new PhxError('MYSQL_DOWN', 'mysqld closed the connection');
    const open = async (): Promise<SimSource> => {
      const mysqld = await binlogsvr.io('connect to mysqld', this.times.net(), () => this.listening);
      if (mysqld === null) throw new PhxError('MYSQL_DOWN', 'log in to mysqld: connection refused');
      try {
        const user = { name: 'phxsql_sync', privileged: true };
        return new SimSource(await Connection.open(mysqld, binlogsvr, user, down));
      } catch (error) {
        if (!(error instanceof SqlError)) throw error;
        throw new PhxError('MYSQL_AUTH', `log in to mysqld: ${reasonOf(error)}`, { cause: error });
      }
    };
    return (socketPath, signal) => {
      if (socketPath !== this.socket) return Promise.reject(new PhxError('MYSQL_DOWN', `no socket ${socketPath}`));
      return new Promise((resolve, reject) => {
        const abort = (): void => reject(new PhxError('TIMEOUT', 'log in to mysqld: no answer in time'));
        if (signal.aborted) return abort();
        signal.addEventListener('abort', abort, { once: true });
        open().then((source) => {
          signal.removeEventListener('abort', abort);
          if (signal.aborted) source.destroy();
          else resolve(source);
        }, reject);
      });
    };
  }

  /** A client of an application (or the proxy for it). Rejects with LostConnection, or SqlError if it is not let in. */
  async connect(client: SimProcess): Promise<ClientSession> {
    const mysqld = await client.io('connect to mysqld', this.times.net(), () => this.listening);
    if (mysqld === null) throw new SqlError(2002, 'connection refused');
    return await ClientSession.open(mysqld, client);
  }

  /** By the parent, whoever asked. */
  start(): MysqldProcess {
    if (this.#child !== null) throw new PhxError('BUSY', `start mysqld: pid ${this.#child.pid} runs already`);
    const { kernel, spawn, id, logSource } = this.#o;
    this.#nextPid += 1;
    const pid = this.#nextPid;
    const process = spawn(`mysqld ${pid}`);
    const mysqld = new ScriptedMysqld({
      kernel,
      process,
      pid,
      serverId: 1000 + id,
      disk: this.disk,
      times: this.times,
      freshUuid: () => this.freshUuid(),
      logSource,
      onUp: (up) => this.onUp?.(up),
    });
    this.alive.set(pid, mysqld);
    this.#child = { pid, startedAt: process.clock.now() };
    process.onDeath(() => {
      this.alive.delete(pid);
      kernel.at(this.times.reap(), () =>
        this.#reap({ pid, code: mysqld.stopping ? 0 : null, signal: mysqld.stopping ? null : 'SIGKILL' }),
      );
    });
    return this.#child;
  }

  signal(pid: number, signal: 'SIGKILL' | 'SIGTERM'): void {
    const mysqld = this.alive.get(pid);
    if (mysqld === undefined) return;
    if (signal === 'SIGKILL') this.kernel.at(this.times.kill(), () => mysqld.process.kill('SIGKILL'));
    else mysqld.process.deliver(() => void mysqld.shutDown());
  }

  onExit(listener: (exit: MysqldExit) => void): () => void {
    this.#exitListeners.add(listener);
    return () => this.#exitListeners.delete(listener);
  }

  freshUuid(): string {
    return uuidFromBytes(this.#o.random.bytes(16));
  }

  // --- faults ------------------------------------------------------------------------------------------------------

  /** kill -9, from outside: at once. */
  kill(): void {
    for (const { process } of [...this.alive.values()]) process.kill('SIGKILL');
  }

  /** Its parent dies without it: nobody reaps it, nobody tells of it, it lives on (protocol-findings 12). */
  orphan(): void {
    this.#child = null;
  }

  /** Somebody's SIGTERM or SHUTDOWN. */
  terminate(): void {
    const { mysqld } = this;
    if (mysqld !== null) this.signal(mysqld.pid, 'SIGTERM');
  }

  freeze(ms: number): void {
    for (const { process } of this.alive.values()) process.freeze(ms);
  }

  /** Nothing is synced, and no probe of the disk ends, for `ms`. */
  stallDisk(ms: number): void {
    this.disk.stalledUntil = Math.max(this.disk.stalledUntil, this.kernel.now + ms);
  }

  /** The world kills the other processes of the node. */
  powerCut(): void {
    this.kill();
    this.#child = null;
    this.disk.powerCut(this.#o.random, this.kernel.now);
  }

  /** SET GLOBAL of a pinned variable, by somebody who may. */
  change(name: string, value: string): void {
    const { listening } = this;
    listening?.process.deliver(() => listening.change(name, value));
  }

  /** SET PERSIST_ONLY. */
  persist(name: string): void {
    if (!this.disk.persisted.includes(name)) this.disk.persisted.push(name);
  }

  #reap(exit: MysqldExit): void {
    if (this.#child?.pid !== exit.pid) return;
    this.#child = null;
    for (const listener of [...this.#exitListeners]) listener(exit);
  }
}
