import type { Epoch, InstanceId, NodeId } from '../base/brands.ts';
import type { NodePorts } from '../base/topology.ts';
import type { StreamItem } from '../mysql/transaction-stream.ts';
import type { ElectionRule, MemberKind } from '../proto/binlogsvr-types.ts';

/** What the replicated log holds. Every value is conditional, so that a duplicate changes nothing (protocol-findings 8). */
export type LogValue =
  | Readonly<{ kind: 'noop' }>
  | Readonly<{ kind: 'baseline'; node: NodeId; gtidSet: string; members: readonly Member[] }>
  | AppendValue
  | Readonly<{ kind: 'elect'; node: NodeId; basedOnEpoch: Epoch; executedUpTo: InstanceId; incarnation?: number }>
  /** `incarnation` (absent in old logs): the process that proposed it. The same renewal of another one is another lease. */
  | Readonly<{ kind: 'renew'; epoch: Epoch; renewal: number; incarnation?: number }>
  | Readonly<{ kind: 'fence'; epoch: Epoch; basedOnRenewal: number; by: NodeId; release: boolean }>
  | Readonly<{ kind: 'transfer'; epoch: Epoch; to: NodeId; executedUpTo: InstanceId }>
  | Readonly<{ kind: 'replaceStore'; node: NodeId; oldStoreId: string; newStoreId: string; configVersion: number }>
  /** All members' MySQL has reached this series: what it cannot undo may be used from here on. */
  | Readonly<{ kind: 'finalizeUpgrade'; mysqlSeries: string }>
  | MembershipValue;

/**
 * A change of who belongs to the cluster. Each names the configuration it changes, so that of two made at the same time
 * one is refused (protocol-findings 5).
 */
export type MembershipValue =
  /** The node votes from here on: a learner that has caught up, or a node not known yet. */
  | Readonly<{ kind: 'addMember'; member: Member; configVersion: number }>
  /** The node follows the log without a vote. */
  | Readonly<{ kind: 'addLearner'; member: Member; configVersion: number }>
  | Readonly<{ kind: 'removeMember'; node: NodeId; configVersion: number }>
  /** `member` takes the seat of `node`, in one step: another node, or the same one with another store or address. */
  | Readonly<{ kind: 'replaceMember'; node: NodeId; member: Member; configVersion: number }>
  | Readonly<{ kind: 'setElection'; node: NodeId; election: ElectionRule; configVersion: number }>;

export type { ElectionRule, MemberKind };
/** `ports` are what the other nodes' proxies and status need; absent in older logs: as configured there. */
export type PeerAddress = Readonly<{ host: string; rpc: number; ports?: NodePorts }>;

/**
 * A node together with the store that must not forget (protocol-findings 6). What is the usual is absent, so that a
 * member has one form only, and that of logs older than the field: see kindOf() and electionOf() in membership.ts.
 */
export type Member = Readonly<{
  node: NodeId;
  storeId: string;
  /** Absent: a voter. */
  kind?: Exclude<MemberKind, 'voter'>;
  /** Absent: neutral. */
  election?: Exclude<ElectionRule, 'neutral'>;
  /** Where peers dial it. Absent for founders: all nodes were configured with their addresses. */
  address?: PeerAddress;
}>;

/**
 * Binlog of the master of `epoch`. `follows` counts the accepted appends before this one: the log is one sequence, so the
 * number names the GTID set this append continues, without repeating the set in every append.
 */
export type AppendValue = Readonly<{ kind: 'append'; epoch: Epoch; follows: number; items: readonly AppendItem[] }>;

export type AppendItem =
  /**
   * The master began, or resumed, this binlog file; `formatDescription` is its event, checksum included. `tellsXa`: of the
   * transactions that follow each that does something to an XA transaction says so. Absent in old logs.
   */
  | Readonly<{ kind: 'file'; name: string; formatDescription: Uint8Array; tellsXa?: true }>
  /**
   * A transaction (first and last) or one chunk of it: `events` are the bytes of its binlog events as the master wrote
   * them, end to end; a chunk may end inside an event. `crc` is the CRC-32 of the whole transaction, 0 unless `last`.
   * `xa`: what the transaction does to an XA transaction; at `last` only, absent if nothing, and in old logs.
   */
  | Extract<StreamItem, { kind: 'part' }>;
