import { type Ballot, type InstanceId, instanceId, type NodeId } from '../base/brands.ts';
import type { AcceptorRecord, Entry } from './paxos/types.ts';

/** Who this store is: made once with the store, named in the log when the node becomes an acceptor. */
export type StoreIdentity = Readonly<{ cluster: string; node: NodeId; storeId: string; createdWallMs: number }>;

export type OpenReport = Readonly<{
  identity: StoreIdentity;
  /** No acceptor record was ever written. */
  empty: boolean;
  /** The highest ballot promised or accepted at (but CHOSEN_BALLOT), settled instances included. */
  promised: Ballot;
  /** Sequence number of the newest acceptor record. */
  durableSeq: number;
  /**
   * Accepted entries above `applied.appliedIndex` (0 if null), in instance order, not necessarily chosen or contiguous: all the
   * acceptor must remember above it. Up to it every instance is chosen and there to be read.
   */
  tail: readonly Entry[];
  /** The newest saved applied state, never below `base`, or null: then the log is replayed from the first instance. */
  applied: SavedState | null;
  /** Why this store's acceptor may not vote (a hole or a bad checksum was found), or null. */
  amnesia: string | null;
}>;

/** The state machine's state after `appliedIndex`, rebuildable, written without fsync. */
export type SavedState = Readonly<{ appliedIndex: InstanceId; json: string }>;

/**
 * A GTID sample: the state before `instance`; lets a dump start without reading the log from its beginning, and the log be
 * purged up to it. `wallMs`: when it was taken by this node's wall clock, if that is known.
 */
export type Sample = Readonly<{ instance: InstanceId; json: string; wallMs?: number }>;

/**
 * What stands for the part of the log that is gone: the state after its last instance, `appliedIndex`, and the format
 * description event of the master's binlog file the log is in then (base64, '' if it is in none).
 */
export type LogBase = SavedState & Readonly<{ formatDescription: string }>;

/**
 * What can still be read of the record of a value that has gone bad. `fits`: ballot and this value together are what the
 * checksum was made of that the store remembers apart from the record.
 */
export type Remains = Readonly<{ ballot: Ballot; fits: (value: Uint8Array) => boolean }>;

/** The newest instances before the saved state are never purged: the store may still have to write about them. */
export const PURGE_MARGIN = 64;

/** Where the log begins. */
export function firstRetained(base: LogBase | null): InstanceId {
  return instanceId((base?.appliedIndex ?? 0) + 1);
}

/**
 * Durable side of one binlogsvr. Errors: STORE_IO (stop the process: an acceptor that cannot remember must not answer),
 * STORE_CORRUPT (that value must be fetched again from peers).
 */
export interface LogStore {
  /**
   * One synced write, one at a time; the last record for an instance counts. Resolves, with the sequence number of its last
   * record, when it is on disk.
   */
  write(records: readonly AcceptorRecord[]): Promise<number>;
  /**
   * Entries from `from`, contiguous, at most `maxBytes` (at least one if there), checksums verified. Ends before a damaged one;
   * STORE_CORRUPT is thrown only if that is `from` itself. PURGED: `from` is below the first retained instance.
   */
  read(from: InstanceId, maxBytes: number): Promise<readonly Entry[]>;
  /** Of a record that read() calls STORE_CORRUPT; null: nothing can be read of it, or nothing is there to compare it with. */
  remains(instance: InstanceId): Promise<Remains | null>;
  /** Replaces a chosen value whose checksum was bad by the one fetched from peers. Synced, outside the dense sequence. */
  repair(entry: Entry): Promise<void>;
  /** Unsynced. All instances up to `appliedIndex` must have been chosen and written: the store may seal them. */
  saveState(state: SavedState, samples: readonly Sample[]): Promise<void>;
  /** The newest sample at or below `instance`, or null. */
  sampleAtOrBelow(instance: InstanceId): Promise<Sample | null>;
  /** Small durable facts (founders, peers' last seen sequence numbers). Synced. */
  getMeta(key: string): Promise<string | null>;
  putMeta(key: string, value: string): Promise<void>;
  readonly durableSeq: number;
  /** The purged part of the log, null if it is all there. The log begins at the instance after `base.appliedIndex`. */
  readonly base: LogBase | null;
  /**
   * Everything up to `base.appliedIndex` may go; that is at least PURGE_MARGIN below the saved state. Nothing happens if as
   * much was purged before. One synced write, from which on reads below are PURGED; the space comes back by reclaim().
   */
  purge(base: LogBase): Promise<void>;
  /**
   * Puts a base from a peer in the place of everything up to `base.appliedIndex`: one synced, atomic write. Promises, and what
   * was accepted above it, stay. Nothing happens if the saved state is as far already.
   */
  install(base: LogBase): Promise<void>;
  /** Deletes one slice of what was purged, bounded in bytes and instances; false when nothing is left. One at a time. */
  reclaim(): Promise<boolean>;
  /** About how many bytes the log takes from `from` on; what was just written may not count yet. */
  bytesFrom(from: InstanceId): Promise<number>;
  /** This acceptor forgot something, though nothing here shows it: from now on the store opens with that amnesia. */
  markForgotten(reason: string): Promise<void>;
  close(): Promise<void>;
}
