import type { Epoch, InstanceId, NodeId } from '../base/brands.ts';

/** What the replicated log holds. Every value is conditional, so that a duplicate changes nothing (protocol-findings 8). */
export type LogValue =
  | Readonly<{ kind: 'noop' }>
  | Readonly<{ kind: 'baseline'; node: NodeId; gtidSet: string; members: readonly Member[] }>
  | AppendValue
  | Readonly<{ kind: 'elect'; node: NodeId; basedOnEpoch: Epoch; executedUpTo: InstanceId }>
  | Readonly<{ kind: 'renew'; epoch: Epoch; renewal: number }>
  | Readonly<{ kind: 'fence'; epoch: Epoch; basedOnRenewal: number; by: NodeId; release: boolean }>
  | Readonly<{ kind: 'transfer'; epoch: Epoch; to: NodeId; executedUpTo: InstanceId }>
  | Readonly<{ kind: 'replaceStore'; node: NodeId; oldStoreId: string; newStoreId: string; configVersion: number }>;

/** An acceptor: a node together with the store that must not forget (protocol-findings 6). */
export type Member = Readonly<{ node: NodeId; storeId: string }>;

/**
 * Binlog of the master of `epoch`. `follows` counts the accepted appends before this one: the log is one sequence, so the
 * number names the GTID set this append continues, without repeating the set in every append.
 */
export type AppendValue = Readonly<{ kind: 'append'; epoch: Epoch; follows: number; items: readonly AppendItem[] }>;

export type AppendItem =
  /** The master began, or resumed, this binlog file; `formatDescription` is its event, checksum included. */
  | Readonly<{ kind: 'file'; name: string; formatDescription: Uint8Array }>
  /**
   * A transaction (first and last) or one chunk of it: `events` are the bytes of its binlog events as the master wrote
   * them, end to end; a chunk may end inside an event. `crc` is the CRC-32 of the whole transaction, 0 unless `last`.
   */
  | Readonly<{ kind: 'part'; gtid: string; first: boolean; last: boolean; crc: number; events: Uint8Array }>;
