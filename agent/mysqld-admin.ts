import type { MonoMs } from '../base/brands.ts';

/** What mysqld says about itself, without touching anything that a waiting commit holds. */
export type Probe = Readonly<{
  /** When the question left and when the answer came. */
  askedAt: MonoMs;
  answeredAt: MonoMs;
  gtidExecuted: string;
  superReadOnly: boolean;
  offlineMode: boolean;
  semiSync: SemiSync;
  /** What deviates of the pinned settings, in words; '' if nothing does. */
  pinned: string;
  /** XA transactions prepared after `gtidExecuted` was read (mysql/xa.ts names them); absent: none. */
  prepared?: readonly string[];
  /** It was started with log_replica_updates=ON; absent: no. */
  logsReplicated?: boolean;
}>;

export type SemiSync = Readonly<{
  /** Commits wait for acks. */
  on: boolean;
  clients: number;
  /** Commits that wait now. */
  waiting: number;
  /** Commits acked so far. */
  acked: number;
}>;

/** The one replication channel. */
export type Channel = Readonly<{
  receiver: 'ON' | 'OFF' | 'CONNECTING';
  applier: boolean;
  /** Last error of either, in words; '' if none. */
  error: string;
  /** What the applier found to be other than the log's transactions left it, in words; '' or absent: nothing. */
  conflict?: string;
  /** The name of a channel that is not ours; '' or absent: there is none. */
  foreign?: string;
  /** The lock an applier waits for, in mysqld's words; '' or absent: none that shows. */
  blocked?: string;
}>;

export type Waiter = Readonly<{ user: string; host: string; statement: string }>;

/** One row of a result: column name to value. */
export type Row = Readonly<Record<string, unknown>>;

/**
 * What the agent asks of the local mysqld, as the account that may do everything. Each question has its own deadline.
 * Errors: MYSQL_DOWN (cannot be reached, connection lost), MYSQL_AUTH, TIMEOUT, BUSY (the question before has not ended);
 * what mysqld itself refuses is rejected as it came.
 */
export interface MysqldAdmin {
  /** Opens every connection; rejects while mysqld does not take logins yet. */
  connect(): Promise<void>;
  /** After mysqld ended: nothing of the old process is used again. */
  reset(): void;
  probe(): Promise<Probe>;
  /** null: no channel is configured. A channel beside ours is an error of its own (design 9.17). */
  channel(): Promise<Channel | null>;
  /** Statements of a role change, in one round trip; rows of each. A missed deadline gives the connection up. */
  work(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]>;
  /** Statements beside all that, on a connection of their own; rows of each. Rejects with BUSY while those before have not ended. */
  aside(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]>;
  /** Whether somebody new can log in, within `deadlineMs`. */
  canLogIn(deadlineMs: number): Promise<boolean>;
  /** Whose commits wait, for the journal. */
  waiters(): Promise<readonly Waiter[]>;
}
