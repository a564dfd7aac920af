import type { Epoch, InstanceId, NodeId } from '../base/brands.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { GtidSet } from '../mysql/gtid-set.ts';
import type { DisabledEvents } from './disabled-events.ts';
import type { UnresolvedXa } from './unresolved-xa.ts';
import type { LogValue, Member } from './values.ts';

/** What all nodes agree on after applying the log up to `appliedIndex`. Immutable. */
export type ReplicatedState = Readonly<{
  appliedIndex: InstanceId;
  /** The last election; 0 before the first. */
  epoch: Epoch;
  /** Winner of `epoch`; 0 before the first. */
  master: NodeId | 0;
  /** Appends and renewals of `epoch` are still accepted. */
  open: boolean;
  /** Renewals applied in `epoch`. */
  renewal: number;
  /** The process that proposed the election or the newest renewal; 0 = unknown, or a transfer. */
  leaseIncarnation: number;
  /** Accepted appends since the beginning of the log. */
  appendSeq: number;
  /** Where the last completed transaction was accepted: an election must name at least this index. */
  lastTransactionIndex: InstanceId;
  /** GTIDs of the baseline and of all completed, accepted transactions. */
  gtidSet: GtidSet;
  /** The master's binlog file the log is in, with the instance that holds its format description. */
  file: Readonly<{ epoch: Epoch; name: string; instance: InstanceId }> | null;
  /** A transaction whose last chunk has not come yet. Dropped when the epoch changes. */
  chunk: Readonly<{ gtid: string; firstInstance: InstanceId; crc: number }> | null;
  baseline: Readonly<{ node: NodeId; gtidSet: string }> | null;
  /** Everyone who belongs to the cluster, voters or not. */
  members: readonly Member[];
  /** Raised by each change of the members. */
  configVersion: number;
  /** The instance that made the present set of voters; 0: they are the founders. */
  membersSince: InstanceId;
  /** Stores that were members and may not come back (newest last, REMOVED_MAX of them): their nodes are told so. */
  removed: readonly Pick<Member, 'node' | 'storeId'>[];
  /** The MySQL series the last upgrade was finalized with; '' before the first. */
  mysqlSeries: string;
  xa: UnresolvedXa;
  /** Events of the event scheduler that are disabled (disabled-events.ts). */
  disabledEvents: DisabledEvents;
}>;

export type Refusal = Readonly<{ code: ErrorCode; reason: string }>;
export type Accepted = Readonly<{ change: Partial<ReplicatedState>; transactions?: Applied['transactions'] }>;
/** What the rule says to a value: what changes, or why nothing does. */
export type Verdict = Accepted | Refusal;

export type Applied = Readonly<{
  instance: InstanceId;
  value: LogValue;
  accepted: boolean;
  /** When refused. WRONG_EPOCH: demote. NOT_SUCCESSOR: re-read the state and go on. */
  code: ErrorCode | null;
  reason: string;
  /** Transactions this value completed, in order. */
  transactions: readonly Readonly<{ gtid: string; crc: number }>[];
}>;

export function refuse(code: ErrorCode, reason: string): Refusal {
  return { code, reason };
}
