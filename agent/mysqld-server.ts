import type { GtidSet } from '../mysql/gtid-set.ts';
import type { BinlogIndex } from './binlog-index.ts';
import type { MysqldAdmin } from './mysqld-admin.ts';
import type { MysqldExit, MysqldProcess } from './mysqld-host.ts';
import type { CutPlan } from './tail-cut.ts';

/**
 * All that the agent touches of its node: mysqld's connections, its processes, its files. The agent decides, this does;
 * the real one is host/local-mysqld.ts, a simulator has another. What fails is rejected, as PhxError where somebody can act
 * on it; nothing here retries.
 */
export interface MysqldServer {
  readonly admin: MysqldAdmin;
  readonly processes: MysqldProcesses;
  readonly binlog: LocalBinlog;
  /** Where clients of this host (sync, proxy) reach mysqld. */
  readonly socket: string;
  /** Where mysqld says what is wrong with it; for messages. */
  readonly errorLog: string;

  /** A data directory is there; if not, `creating` is called and a fresh one is made. */
  ensureDatadir(creating: () => void): Promise<void>;
  /**
   * Writes what mysqld is started with. `logsReplicated`: what it replicates goes to its binlog too, without waiting for acks
   * (semi-sync is off until it is promoted). Throws CONFIG_INVALID.
   */
  configure(options?: Readonly<{ logsReplicated: boolean }>): Promise<void>;
  /** Only called while `processes.current()` is null, after `configure`. Rejects with MYSQL_DOWN, TIMEOUT. */
  start(): Promise<MysqldProcess>;

  /** The epoch `pid` (this very process) was opened for writes in, 0 if it was not. Outlives the agent, not mysqld. */
  openedFor(pid: number): Promise<number>;
  markOpened(pid: number, epoch: number): Promise<void>;
  forgetOpened(): Promise<void>;

  /** Writes one fresh block to the disk of the data directory and syncs it. */
  probeDisk(): Promise<void>;
  /** What somebody stored with SET PERSIST, in words; '' if nothing. It is never loaded (design 9.15). */
  ignoredSettings(): Promise<string>;
  /** What root@'%' gets on the first master. Throws CONFIG_INVALID. */
  rootPassword(): Promise<string>;
}

/** Every mysqld of this data directory, whoever its parent is. */
export interface MysqldProcesses {
  /** The child that runs now. null means it was reaped: its locks and files are free. */
  current(): MysqldProcess | null;
  /** `listener` hears of each end of a child; the result stops that. */
  onExit(listener: (exit: MysqldExit) => void): () => void;
  /** Signals the child. */
  signal(pid: number, signal: 'SIGKILL' | 'SIGTERM'): void;
  /** `pid` is a mysqld that was started as ours is. */
  isOurs(pid: number): Promise<boolean>;
  /** Pids of all that were: the child, and orphans of an earlier run (protocol-findings 12). */
  find(): Promise<readonly number[]>;
  /** SIGKILL for one that is not the child. */
  kill(pid: number): void;
  /** Pids of whoever holds the lock mysqld holds for as long as it may write to the data directory. */
  lockHolders(): Promise<readonly number[]>;
}

/** The binlog as it lies on disk. Only used while no mysqld runs. */
export interface LocalBinlog {
  /** Where tails that were cut off are kept. */
  readonly cutDir: string;
  index(): Promise<BinlogIndex>;
  /** The file of one index line in pieces, each valid until the next is asked for. Throws BINLOG_CORRUPT if it is not there. */
  read(index: BinlogIndex, line: string): AsyncIterable<Buffer>;
  /** A server_uuid nobody has had. */
  freshUuid(): string;
  /** Cuts: a plan that is not on disk yet (tail-cut.ts). */
  cut(plan: CutPlan): Promise<void>;
  /** Finishes a cut that was begun and not ended. True if there was one. */
  finishCut(): Promise<boolean>;
  /** What cuts of this data directory took away since the last forgetRemoved. Throws if the note cannot be read. */
  removed(): Promise<GtidSet>;
  forgetRemoved(): Promise<void>;
}
