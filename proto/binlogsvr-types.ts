/** The messages of proto/binlogsvr.proto as TypeScript sees them (camelCase, defaults filled in), and the client's face. */
import type { NodePorts } from '../base/topology.ts';

export type Outcome = Readonly<{
  accepted: boolean;
  /** An ErrorCode when not accepted, else ''. */
  code: string;
  reason: string;
  instance: number;
  epoch: number;
  appendSeq: number;
}>;

/** What the agent has to know of this node's seat in the cluster. */
export type MembershipView = Readonly<{
  /** 'none': not a member (yet). 'removed': its store may not come back. */
  kind: 'voter' | 'learner' | 'witness' | 'none' | 'removed';
  election: ElectionRule;
  /** Why this node may not stand for election now, '' if it may. */
  standRefusal: string;
  /** How long it leaves standing to a preferred node that is connected. */
  standInMs: number;
  /** This node is master and has to hand over to that node; 0: no. */
  handOverTo: number;
  /** Names that order, so that one which was undone is not carried out again. Absent: 0. */
  handOverId?: number;
  /** The master of this epoch asks whether this node can take over from it. Absent: 0, nobody asks. */
  takesOver?: number;
}>;

/** 'prefer': the others leave it some time to stand first. 'never': it is not elected. */
export type ElectionRule = 'prefer' | 'neutral' | 'never';
/** voter: MySQL and a vote. learner: MySQL, no vote. witness: a vote, no MySQL. */
export type MemberKind = 'voter' | 'learner' | 'witness';

/** One change of members, asked of the master's node (MemberOutcome.ask names it). */
export type MemberChange =
  | Readonly<{ change: 'add'; node: number; kind: 'voter' | 'witness'; election: ElectionRule }>
  | Readonly<{ change: 'remove'; node: number }>
  /** `by` takes the seat of `node`. */
  | Readonly<{ change: 'replace'; node: number; by: number }>
  | Readonly<{ change: 'setElection'; node: number; election: ElectionRule }>;

export type MemberStatus = Readonly<{
  node: number;
  storeId: string;
  kind: MemberKind;
  election: ElectionRule;
  /** '' = as configured. */
  host: string;
  rpc: number;
}> &
  /** 0 = as configured. */
  NodePorts;

/** What became of a change of members. */
export type MemberOutcome = Outcome &
  Readonly<{
    /** The configuration now, and how many vote in it. */
    configVersion: number;
    voters: number;
    /** The node to ask instead, if this one may not decide; else 0. */
    ask: number;
  }>;

/** What became of a planned switchover. */
export type SwitchoverOutcome = Readonly<{
  accepted: boolean;
  code: string;
  reason: string;
  /** The node to ask instead, if this one is not the master's; else 0. */
  ask: number;
  /** Who is master of `epoch`, as the answering node knows it. */
  master: number;
  epoch: number;
}>;

export type SyncStatus = Readonly<{
  state: 'detached' | 'connecting' | 'attached';
  epoch: number;
  reason: string;
  ackedTransactions: number;
  appends: number;
  pid: number;
  spareReady: boolean;
  /** Acks of heartbeats: each repeats what a lost connection may have lost. */
  repeatedAcks: number;
  /** Flow control lets this go by between two acks. Absent: 0. */
  delayMs?: number;
}>;

export type AgentRole = 'stopped' | 'recovering' | 'replica' | 'promoting' | 'master' | 'demoting' | 'failed';

/** One node's account of a change of master. */
export type TurnAccount = Readonly<{
  kind: 'failover' | 'switchover';
  /** The node as the master that was, or as the one that comes. */
  side: 'former' | 'next';
  /** The epoch that begins with it; of a switchover that was undone the one that goes on. */
  epoch: number;
  /** Wall ms of that node at its first mark. */
  atWall: number;
  /** Milliseconds since the first mark, in order. */
  marks: readonly Readonly<{ name: string; ms: number }>[];
  /** What came of it, in words. */
  end: string;
}>;

export type AgentReport = Readonly<{
  role: AgentRole;
  /** What the node is doing or waiting for, in words. */
  reason: string;
  gtidExecuted: string;
  /** A healthy slave: the RO port may use it. */
  servingReads: boolean;
  /** Promoted in `epoch` and open: RW ports may use it. */
  servingWrites: boolean;
  epoch: number;
  /** sync must be attached to mysqld for this epoch; 0 = detached. */
  attachEpoch: number;
  mysqlSocket: string;
  mysqldPid: number;
  ioRunning: boolean;
  sqlRunning: boolean;
  /** What was found changed about the pinned settings, in words; '' if nothing. */
  pinned: string;
  /** Wall ms of the agent's start. */
  incarnation: number;
  /** The mysqld that runs can take over from the master of this epoch, who asks for it. Absent: 0, none. */
  takesOver?: number;
  /** Why not, although that is asked for; else ''. */
  takeOverObjection?: string;
  /** The hand-over (MembershipView.handOverId) that was undone last, and why. */
  undoneId?: number;
  undoneReason?: string;
  /** The last changes of master, oldest first. Not in views, but in status. */
  turns?: readonly TurnAccount[];
  /** Of the server this node runs. Absent: said by an agent that does not tell. */
  mysqlVersion?: string;
  /** While this node's data is copied from another node: the log behind these GTIDs is kept for it. '' or absent: nothing is. */
  cloneBase?: string;
  /** What the agent found on this node that endangers the cluster though it serves, in words. Absent: nothing. */
  warnings?: readonly string[];
  /** Of a slave that is behind. null or absent: it is not, or executes nothing large. */
  applying?: Applying | null;
}>;

/** The XA transactions that are prepared in the log and not resolved. */
export type XaView = Readonly<{
  /** Under which GTID each was prepared; oldest first. */
  prepared: readonly Readonly<{ xid: string; gtid: string }>[];
  /** GTID of the newest transaction that prepared or resolved one; '' = none. */
  last: string;
  /** There are no others. */
  complete: boolean;
}>;

/** How far a slave is in a large transaction. */
export type Applying = Readonly<{
  gtid: string;
  /** Changed so far. */
  rows: number;
  /** Since it was begun. */
  ms: number;
}>;

export type View = Readonly<{
  node: number;
  epoch: number;
  /** Node elected for `epoch`, 0 = none yet. */
  master: number;
  /** `epoch` still accepts appends (not fenced). */
  open: boolean;
  renewal: number;
  appliedIndex: number;
  chosenIndex: number;
  appendSeq: number;
  gtidSet: string;
  baseline: boolean;
  /** Absent: said by a binlogsvr that knows of no members. */
  membership?: MembershipView | null;
  /** Everyone who belongs to the cluster by what this node has applied, and the configuration that is; empty before it is founded. */
  members?: readonly MemberStatus[];
  configVersion?: number;
  voting: boolean;
  votingReason: string;
  /** By this node's clock the lease of the open epoch is over: it may be fenced. */
  takeoverDue: boolean;
  takeoverInMs: number;
  /** 0 unless this node holds the lease. */
  leaseRemainingMs: number;
  leader: boolean;
  agent: AgentReport | null;
  /** `agent` is younger than AGENT_REPORT_STALE_MS. */
  agentAlive: boolean;
  sync: SyncStatus | null;
  quorum: boolean;
  /** As NodeStatus.lagMs: how far this node's mysqld is behind what this node has applied; the RO ports' bound looks at it. */
  lagMs: number;
  /** Why this node's MySQL can only go on after it was cloned from another, in words; '' if it need not be. */
  needsClone: string;
  /** GTIDs this node's log cannot serve: the baseline's, and what was purged. Absent: said by a binlogsvr that does not tell. */
  purged?: string;
  /** null or absent: said by a binlogsvr that does not tell. */
  xa?: XaView | null;
  /** Events of the event scheduler that are disabled, by the log: `schema`.`event`, in lower case the latter. Absent: none. */
  disabledEvents?: readonly string[];
}>;

export type LeaseReply = Readonly<{ node: number; epoch: number; remainingMs: number }>;

export type PeerStatus = Readonly<{
  node: number;
  connected: boolean;
  storeId: string;
  chosenIndex: number;
  reason: string;
}>;

/** What of the log this node keeps, and for whom. */
export type PurgeStatus = Readonly<{
  firstRetained: number;
  /** On disk, about. */
  bytes: number;
  keepMs: number;
  keepBytes: number;
  capBytes: number;
  /** Up to where each member's MySQL has the log durably, as far as this node has heard. */
  needs: readonly Readonly<{ node: number; executed: number }>[];
  /** What keeps old log from being purged, in words; '' if nothing. */
  heldBy: string;
  /** Nodes the log no longer waits for: it reached its cap. */
  leftBehind: readonly number[];
}>;

/** Flow control, as the master's node has it. */
export type FlowStatus = Readonly<{
  /** Between two acks. */
  delayMs: number;
  /** The least-lagged node that may be elected; 0: there is none. */
  candidate: number;
  /** How long it has been behind; -1: no candidate. */
  candidateLagMs: number;
  /** Until that node takes writes if this one dies as a whole now; -1: no candidate, or not known yet. */
  predictedFailoverMs: number;
}>;

export type NodeStatus = Readonly<{
  view: View;
  executedIndex: number;
  lagMs: number;
  /** By the log; absent before there were changes of members. */
  members?: readonly MemberStatus[];
  configVersion?: number;
  /** Of its agent. */
  turns?: readonly TurnAccount[];
  peers: readonly PeerStatus[];
  pid: number;
  /** A NodePids (base/ipc.ts) as JSON, or ''. */
  pidsJson: string;
  version: string;
  uptimeMs: number;
  purge: PurgeStatus | null;
  /** Values of the log that have gone bad on this node's disk, and what each waits for, in words; '' if none; absent: not known. */
  badValues?: string;
  /** Of the master's node; null or absent: this is none. */
  flow?: FlowStatus | null;
}>;

/** `replicated`: it came from the log, so its number says what it is; its bytes are those this server wrote of it. */
export type TailTransaction = Readonly<{ gtid: string; crc: number; replicated?: boolean }>;

/** Administration of who belongs to the cluster and who leads it. */
export interface MembershipClient {
  /** To node `to`, 0: whoever is freshest. Not accepted: the master goes on. @throws PhxError TIMEOUT, UNAVAILABLE: unknown */
  switchover(to: number, timeoutMs: number): Promise<SwitchoverOutcome>;
  /** Accepted: `reason` names what was finalized. @throws PhxError TIMEOUT, UNAVAILABLE: unknown, ask again */
  finalizeUpgrade(timeoutMs: number): Promise<MemberOutcome>;
  /** An answer that is not accepted changed nothing. @throws PhxError TIMEOUT, UNAVAILABLE: unknown, look at the status */
  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberOutcome>;
}

/** Typed client of one node's binlogsvr. Every call rejects with PhxError (UNAVAILABLE, TIMEOUT, ...) after `timeoutMs`. */
export interface BinlogsvrClient extends AsyncDisposable {
  readonly address: string;
  baseline(gtidSet: string, timeoutMs: number): Promise<Outcome>;
  /** Stand for election; refused NOT_EXECUTED if `gtidExecuted` is not exactly the store's set. */
  stand(gtidExecuted: string, basedOnEpoch: number, timeoutMs: number): Promise<Outcome>;
  renew(epoch: number, timeoutMs: number): Promise<Outcome>;
  /** `release`: said by the holder itself, lease over at once; else refused LEASE_RUNS before the takeover time. */
  fence(epoch: number, release: boolean, timeoutMs: number): Promise<Outcome>;
  /**
   * The holder, with its mysqld closed, makes `to` master once that has executed everything. A refusal left everything as it was;
   * an error means that the lease is given up and the log decides.
   */
  transfer(epoch: number, to: number, timeoutMs: number): Promise<Outcome>;
  barrier(timeoutMs: number): Promise<View>;
  /** How many leading transactions the store holds with that checksum; the rest are not in it. */
  compareTail(
    transactions: Iterable<TailTransaction>,
    timeoutMs: number,
  ): Promise<{ matching: number; reason: string }>;
  report(report: AgentReport, timeoutMs: number): Promise<View>;
  /** Views until `signal` fires; ends with an error when the stream breaks (the caller subscribes again). */
  subscribe(signal: AbortSignal): AsyncIterable<View>;
  lease(timeoutMs: number): Promise<LeaseReply>;
  status(timeoutMs: number): Promise<NodeStatus>;
  /** Long-lived stream of encoded phxsql.log.Append values, answered in order; for a sync in its own process. */
  appendStream(signal: AbortSignal): { append(value: Uint8Array): Promise<Outcome>; close(): void };
}
