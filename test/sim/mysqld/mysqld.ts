import type { LogSource } from '../../../binlogsvr/log-source.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import type { Kernel } from '../kernel.ts';
import type { SimProcess } from '../process.ts';
import type { Writes } from './binlog-bytes.ts';
import { BinlogLog } from './binlog-log.ts';
import { CommitPipeline } from './commit.ts';
import type { MysqldDisk } from './disk.ts';
import { ReplicaThreads } from './replica-threads.ts';
import { ER_LOCK_WAIT_TIMEOUT, ER_READ_ONLY, SqlError } from './sql-error.ts';
import type { MysqldTimes } from './times.ts';

export type MysqldOptions = Readonly<{
  kernel: Kernel;
  process: SimProcess;
  pid: number;
  serverId: number;
  disk: MysqldDisk;
  times: MysqldTimes;
  freshUuid: () => string;
  /** The applied log of the binlogsvr of this host; null while it is down. */
  logSource: () => LogSource | null;
  onUp?: (mysqld: ScriptedMysqld) => void;
}>;

/** Somebody's connection, as the server sees it. */
export type Attached = Readonly<{
  id: number;
  user: string;
  /** Spared by offline_mode. */
  privileged: boolean;
  /** The server ends it. */
  drop: () => void;
}>;

/**
 * One run of mysqld: what design section 9 and the protocol findings say of 9.7.4, and nothing else.
 *
 *   starting ──recovered, logins──► up ──SIGTERM──► stopping ──► (exit 0)
 *       └────────────── SIGKILL at any moment ──────────┴──────► (dead)
 *
 * What it has written is on the disk it was given; all else ends with its process.
 */
export class ScriptedMysqld {
  readonly process: SimProcess;
  readonly pid: number;
  readonly disk: MysqldDisk;
  readonly times: MysqldTimes;
  readonly kernel: Kernel;
  readonly binlog: BinlogLog;
  readonly commits: CommitPipeline;
  readonly replica: ReplicaThreads;
  readonly attached = new Map<number, Attached>();
  /** Dump streams that asked for semi-sync. */
  readonly dumps = new Set<Readonly<{ uuid: string; pump: () => void; end: () => void }>>();
  superReadOnly = true;
  readOnly = true;
  offlineMode = true;
  eventScheduler = false;
  flushLog: 1 | 2 = 1;
  /** Pinned settings that were changed, by name. */
  readonly changed = new Map<string, string>();
  #phase: 'starting' | 'up' | 'stopping' = 'starting';
  #uuid = '';
  /** GTIDs the binlog vouches for although the engine does not have them (a file closed that should not have been). */
  #binlogOnly = GtidSet.EMPTY;
  /** Statements that write, from their beginning to their end. */
  #active = 0;
  #quiet: (() => void)[] = [];
  /** SET super_read_only is waiting: new writes wait behind it. */
  #readOnlyPending: Promise<void> | null = null;
  /** CREATE USER and the like, until their commit returns: nobody can log in (protocol-findings 13). */
  #aclLocks = 0;
  #aclWaiters: (() => void)[] = [];
  #nextSession = 10;

  constructor(options: MysqldOptions) {
    const { kernel, process, pid, disk, times, serverId } = options;
    this.kernel = kernel;
    this.process = process;
    this.pid = pid;
    this.disk = disk;
    this.times = times;
    this.binlog = new BinlogLog(disk, serverId, () => Math.floor(process.clock.wall() / 1000));
    this.commits = new CommitPipeline({
      process,
      disk,
      binlog: this.binlog,
      times: { ...times, sync: () => times.sync() + Math.max(0, disk.stalledUntil - kernel.now) },
      now: () => kernel.now,
      uuid: () => this.#uuid,
      flushLog: () => this.flushLog,
      executed: (gtid) => this.executed.contains(gtid),
      published: () => {
        for (const dump of this.dumps) dump.pump();
      },
    });
    this.replica = new ReplicaThreads(this, options.logSource);
    if (disk.holder !== null) {
      kernel.fail(new Error(`mysqld ${pid} was started on the data directory of mysqld ${disk.holder}`));
    }
    disk.holder = pid;
    process.onDeath(() => {
      if (disk.holder === pid) disk.holder = null;
      for (const { drop } of [...this.attached.values()]) drop();
    });
    void this.#start(options.freshUuid).then(() => {
      if (this.accepting) options.onUp?.(this);
    });
  }

  get accepting(): boolean {
    return this.process.alive && this.#phase === 'up';
  }

  get stopping(): boolean {
    return this.#phase === 'stopping';
  }

  get uuid(): string {
    return this.#uuid;
  }

  get executed(): GtidSet {
    const { gtidSet } = this.disk.engine;
    return this.#binlogOnly.isEmpty ? gtidSet : gtidSet.union(this.#binlogOnly);
  }

  async #start(freshUuid: () => string): Promise<void> {
    const { process, disk, binlog, times } = this;
    await process.io('begin to start', times.start(), () => {
      disk.serverUuid ??= freshUuid();
      this.#uuid = disk.serverUuid;
    });
    const fine = await process.io('recover', times.sync(), () => {
      try {
        const found = new Map(binlog.recover().map(({ gtid, writes }) => [gtid, writes]));
        const { engine } = disk;
        for (const [gtid, writes] of found) {
          // What the engine lost (a power cut at flush=2) is not there to be committed: its number only.
          if (engine.prepared.has(gtid)) engine.commit({ gtid, writes }, true, this.kernel.now);
        }
        engine.prepared.clear();
        engine.flush();
        this.#binlogOnly = binlog.logged.subtract(engine.gtidSet);
        return true;
      } catch (error) {
        this.kernel.trace(process.name, () => `does not start: ${String(error)}`);
        return false;
      }
    });
    if (!fine) return process.kill('cannot start');
    await process.io('open binlog', times.sync(), () => binlog.openNext());
    this.#phase = 'up';
    this.kernel.trace(process.name, () => `is up, executed ${this.executed.toString()}`);
  }

  /** A new login, when it is let in: not while an ACL statement waits. */
  async logIn(user: string, privileged: boolean, drop: () => void): Promise<Attached> {
    while (this.#aclLocks > 0) await new Promise<void>((resolve) => this.#aclWaiters.push(resolve));
    if (!this.accepting) throw new SqlError(1053, 'Server shutdown in progress');
    if (this.offlineMode && !privileged) throw new SqlError(3032, 'The server is currently in offline mode');
    this.#nextSession += 1;
    const session = { id: this.#nextSession, user, privileged, drop };
    this.attached.set(session.id, session);
    return session;
  }

  get aclLocked(): boolean {
    return this.#aclLocks > 0;
  }

  /**
   * One transaction, from its first statement to the return of its COMMIT.
   * `through`: super_read_only does not stop it (protocol-findings 14). `acl`: it locks out logins until it ends.
   */
  async write(
    writes: Writes,
    kind: Readonly<{ through?: boolean; acl?: boolean; alive?: () => boolean }> = {},
  ): Promise<void> {
    while (this.#readOnlyPending !== null && kind.through !== true) await this.#readOnlyPending;
    if (this.superReadOnly && kind.through !== true) throw new SqlError(ER_READ_ONLY, 'super_read_only is on');
    if (this.stopping) throw new SqlError(1053, 'Server shutdown in progress');
    this.#active += 1;
    if (kind.acl === true) this.#aclLocks += 1;
    try {
      await this.process.io('statement', this.times.statement(), () => {});
      if (kind.alive?.() === false || this.stopping) throw new SqlError(1317, 'Query execution was interrupted');
      await this.commits.submit(writes);
    } finally {
      this.#active -= 1;
      if (kind.acl === true) this.#aclLocks -= 1;
      if (this.#aclLocks === 0) for (const wake of this.#aclWaiters.splice(0)) wake();
      if (this.#active === 0) for (const wake of this.#quiet.splice(0)) wake();
    }
  }

  read(key: string): string | undefined {
    return this.disk.engine.rows.get(key);
  }

  /**
   * Waits for statements that write, waiting commits included; new ones wait behind it. With `lockWaitMs` it fails after that
   * long (design 9.5, protocol-findings 15).
   */
  async setSuperReadOnly(lockWaitMs: number | null): Promise<void> {
    if (this.superReadOnly) return;
    const done = Promise.withResolvers<void>();
    this.#readOnlyPending = done.promise;
    try {
      const quiet = this.#active === 0 ? Promise.resolve() : new Promise<void>((resolve) => this.#quiet.push(resolve));
      await this.#within(lockWaitMs, quiet);
      this.superReadOnly = true;
      this.readOnly = true;
    } finally {
      this.#readOnlyPending = null;
      done.resolve();
    }
  }

  #within(ms: number | null, work: Promise<void>): Promise<void> {
    if (ms === null) return work;
    return new Promise((resolve, reject) => {
      const late = new SqlError(ER_LOCK_WAIT_TIMEOUT, 'Lock wait timeout exceeded; try restarting transaction');
      const cancel = this.process.clock.after(ms, () => reject(late));
      void work.then(() => {
        cancel();
        resolve();
      });
    });
  }

  setOfflineMode(on: boolean): void {
    this.offlineMode = on;
    if (!on) return;
    for (const session of [...this.attached.values()]) if (!session.privileged) this.killSession(session.id);
  }

  /** The client hears of a lost connection at once; a commit that waits goes on waiting (design 9.5). */
  killSession(id: number): void {
    const session = this.attached.get(id);
    this.attached.delete(id);
    session?.drop();
  }

  /** A change somebody makes to a pinned variable. Switching semi-sync off lets every waiter through (design 9.7). */
  change(name: string, value: string): void {
    this.kernel.trace(this.process.name, () => `SET GLOBAL ${name} = ${value}`);
    this.changed.set(name, value);
    if (name === 'rpl_semi_sync_source_enabled' && value === 'OFF') this.commits.semiSync.giveUp();
  }

  /** SIGTERM, or SHUTDOWN: commits that wait are let through as committed, their clients hear a lost connection (design 9.6). */
  async shutDown(): Promise<void> {
    if (this.#phase === 'stopping') return;
    if (this.#phase === 'starting') return this.process.kill('stopped while it started');
    this.#phase = 'stopping';
    const { process, times, binlog, commits, disk } = this;
    this.kernel.trace(process.name, () => `shuts down, ${commits.semiSync.waiting} wait`);
    for (const { id } of [...this.attached.values()]) this.killSession(id);
    for (const dump of [...this.dumps]) dump.end();
    this.replica.abandon();
    commits.semiSync.giveUp();
    await commits.untilIdle();
    await process.io('shut down', times.sync() + 1, () => {
      binlog.stop();
      disk.engine.flush();
    });
    process.kill('has shut down');
  }
}
