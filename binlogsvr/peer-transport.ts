import type { InstanceId, NodeId } from '../base/brands.ts';
import type { Holding, Message } from './paxos/types.ts';
import type { Removal } from './removal.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Member, PeerAddress } from './values.ts';

/** How long ago the sender first accepted or learned the newest lease value it knows (protocol-findings 17). */
export type LeaseAge = Readonly<{ epoch: number; renewal: number; incarnation?: number; ageMs: number }>;

type Plain = Exclude<Message, { kind: 'promise' | 'accepted' | 'learned' }>;

/** A piece of the sender's log base (store-port.ts) encoded by log-base.ts: `data` of `total` bytes at `offset`. CRC-32s. */
export type SnapshotPiece = Readonly<{
  kind: 'snapshot';
  index: InstanceId;
  /** Of the whole; with `index` it names the snapshot. */
  crc: number;
  total: number;
  offset: number;
  pieceCrc: number;
  data: Uint8Array;
}>;
export type SnapshotAsk = Readonly<{ kind: 'snapshotAsk'; index: InstanceId; crc: number; offset: number }>;
/** About once a second. `executed`: the sender's MySQL has so much of the log durably; null: it needs none of it. */
export type Needs = Readonly<{ kind: 'needs'; executed: InstanceId | null }>;

/** The master of `epoch` asks whether the receiver can take over from it (succession.ts). */
export type SuccessorAsk = Readonly<{ kind: 'successorAsk'; epoch: number }>;
/** `refusal`: why it cannot, '' if it can. `executed`: by its MySQL, of the log; `lagMs`: age of the oldest append that is not. */
export type SuccessorSays = Readonly<{
  kind: 'successorSays';
  epoch: number;
  executed: InstanceId;
  lagMs: number;
  refusal: string;
}>;

/**
 * To the master, with every report of the sender's agent (candidates.ts). `executed`: by its MySQL, of the log; `catchUpMs`: how long
 * the rest takes it, null: not known; `refusal`: why it cannot be elected now, '' if it can.
 */
export type Progress = Readonly<{
  kind: 'progress';
  executed: InstanceId;
  catchUpMs: number | null;
  refusal: string;
}>;

/** The sender knows the instance to be chosen, but its value has gone bad there: what has the receiver? */
export type Recall = Readonly<{ kind: 'recall'; instance: InstanceId }>;
/** True however late it arrives: who accepted the chosen value goes back to no lower ballot. */
export type Recalled = Readonly<{ kind: 'recalled'; instance: InstanceId; holding: Holding }>;

/** What travels between peers: the messages of the core, some with a word of the replica's, and the barrier's question. */
export type PeerMessage =
  | Plain
  | (Extract<Message, { kind: 'promise' }> & Readonly<{ durableSeq: number; leaseAge: LeaseAge | null }>)
  | (Extract<Message, { kind: 'accepted' }> & Readonly<{ durableSeq: number }>)
  | (Extract<Message, { kind: 'learned' }> & Readonly<{ leaseAge: LeaseAge | null; firstRetained: number }>)
  | SnapshotPiece
  | SnapshotAsk
  | Needs
  | SuccessorAsk
  | SuccessorSays
  | Progress
  | Recall
  | Recalled
  | Readonly<{ kind: 'query'; id: number }>
  | Readonly<{ kind: 'answer'; id: number; highestAccepted: number; chosenUpTo: number }>;

/** What a node runs: our version, and MySQL's in full, '' where there is none. */
export type Software = Readonly<{ build: string; mysql: string }>;

/** What a node says of itself and its store before anything else. */
export type PeerHello = Readonly<{
  node: NodeId;
  storeId: string;
  /** Random per process: the same process cannot have gone back, whatever order its streams' hellos arrive in. */
  incarnation: number;
  /** Highest acceptor record on disk. */
  durableSeq: number;
  chosenUpTo: number;
  /** No acceptor record yet. */
  empty: boolean;
  /** The acceptors this node bound itself to while founding, or none. */
  founders: readonly Member[];
  /** So that a node that was restarted does not wait once more for a lease that ran out meanwhile. */
  leaseAge: LeaseAge | null;
  /** Absent: said by a version that does not tell. */
  runs?: Software;
  /** Said by a node that is no member and wants to be: where it is dialled. */
  joins?: PeerAddress;
}>;

export interface Floors {
  /** The record that store once confirmed to be on disk, if it now has less; else 0. */
  wentBack(hello: PeerHello): number;
  /** `by` refuses this node, whose store once confirmed record `seq` to it (0: for another reason). */
  refused(by: NodeId, seq: number): void;
}

/** The replica, as a transport sees it. All calls are made from the transport's own turn of the event loop, never nested in send(). */
export interface PeerHandler {
  /** What to tell a peer now. */
  hello(): PeerHello;
  /** Why this peer is not to be talked to, or null. The transport has checked cluster, configuration and node id before. */
  admit(hello: PeerHello): string | null;
  /** Which stores were removed: told with a refusal, and heard with one. */
  readonly removal: Pick<Removal, 'of' | 'told'>;
  /** What is known of stores that went back: told with a refusal, and heard with one. */
  readonly floors: Floors;
  /** A stream to the peer came up (perhaps the second one); whatever was unanswered may be lost. */
  onPeerUp(hello: PeerHello): void;
  /** The peer told its hello again, because something in it changed. */
  onPeerChanged(hello: PeerHello): void;
  /** No stream to the peer is left. */
  onPeerDown(node: NodeId): void;
  /** `storeId` is that of the hello the message's stream began with. */
  onMessage(from: NodeId, storeId: string, message: PeerMessage): void;
}

export type PeerLink = Readonly<{
  node: NodeId;
  connected: boolean;
  /** Of the last hello, '' before the first. */
  storeId: string;
  /** Why not connected, '' if connected. */
  reason: string;
}>;

/** Carries messages to peers: unreliable, unordered across kinds, bounded. gRPC in production, a queue in tests. */
export interface PeerTransport {
  start(handler: PeerHandler): void;
  /** Never blocks, never throws; dropped when the peer is away or its queue is full (the core sends again). */
  send(to: NodeId, message: PeerMessage): void;
  /** Tells every connected peer the hello as it is now. */
  announce(): void;
  /** Who belongs to the cluster by the log: those are dialled, and who was removed is let go. Again after each change. */
  roster(state: Pick<ReplicatedState, 'members' | 'removed'>): void;
  peers(): readonly PeerLink[];
  close(): Promise<void>;
}

/** Bytes of values in a message: what makes it bulk. */
export function valueBytesOf(message: PeerMessage): number {
  if (message.kind === 'snapshot') return message.data.length;
  if (message.kind === 'recalled') return 'value' in message.holding ? message.holding.value.length : 0;
  const entries =
    message.kind === 'accept' || message.kind === 'learned'
      ? message.entries
      : message.kind === 'promise'
        ? message.accepted
        : [];
  let bytes = 0;
  for (const entry of entries) bytes += entry.value.length;
  return bytes;
}
