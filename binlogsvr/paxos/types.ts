import type { Ballot, InstanceId, NodeId } from '../../base/brands.ts';

/** A value as the core sees it: bytes it never looks into. */
export type ValueBytes = Uint8Array;

export type Entry = Readonly<{ instance: InstanceId; ballot: Ballot; value: ValueBytes }>;

/** Stands for "chosen" in a record or entry that was learned from a peer: above every ballot a node can make. */
export const CHOSEN_BALLOT = Number.MAX_SAFE_INTEGER as Ballot;

/** Messages between acceptors, proposers and learners. Paxos Made Simple, section 2.2 and 3. */
export type Message =
  /** Phase 1a for every instance from `from` on. */
  | Readonly<{ kind: 'prepare'; ballot: Ballot; from: InstanceId }>
  /** Phase 1b: what this acceptor accepted above `chosenUpTo`; everything up to there it knows chosen. */
  | Readonly<{ kind: 'promise'; ballot: Ballot; chosenUpTo: InstanceId; accepted: readonly Entry[] }>
  /** `promised` is the ballot that stands in the way, 0 when it is the lease or that this node may not vote. */
  | Readonly<{ kind: 'nack'; ballot: Ballot; promised: Ballot; reason: 'ballot' | 'lease' | 'not-voter' }>
  /** Phase 2a; also tells how far the leader knows values chosen. Entries carry the same ballot. */
  | Readonly<{ kind: 'accept'; ballot: Ballot; entries: readonly Entry[]; chosenUpTo: InstanceId }>
  /** Phase 2b. */
  | Readonly<{ kind: 'accepted'; ballot: Ballot; instances: readonly InstanceId[] }>
  /** Whatever was accepted at `ballot` up to there is chosen. Ballot 0: only a hint how far the sender is. */
  | Readonly<{ kind: 'commit'; ballot: Ballot; chosenUpTo: InstanceId }>
  | Readonly<{ kind: 'learn'; from: InstanceId }>
  /** Chosen values, contiguous from the `from` that was asked. */
  | Readonly<{ kind: 'learned'; entries: readonly Entry[]; chosenUpTo: InstanceId }>;

/** What an acceptor has to say of one instance. */
export type Holding =
  /** It knows this value to be chosen. */
  | Readonly<{ kind: 'chosen'; value: ValueBytes }>
  /** The highest ballot it accepted there, and the value. */
  | Readonly<{ kind: 'accepted'; ballot: Ballot; value: ValueBytes }>
  /** It never accepted anything there. */
  | Readonly<{ kind: 'nothing' }>
  /** It cannot tell: purged, or gone bad here too. */
  | Readonly<{ kind: 'unknown' }>;

export type Envelope = Readonly<{ to: NodeId; message: Message }>;

/** What must be on disk before the messages that rest on it leave. */
export type AcceptorRecord =
  | Readonly<{ kind: 'promised'; ballot: Ballot }>
  /** `ballot` is CHOSEN_BALLOT for a value learned as chosen. */
  | Readonly<{ kind: 'accepted'; entry: Entry }>;

export type Chosen = Readonly<{ instance: InstanceId; value: ValueBytes }>;

/** What step() hands back; only binlogsvr/replica.ts acts on it, top to bottom. */
export type Effects = {
  /** Rests on nothing new on disk: prepare, accept, nack, commit, learn. */
  sendNow: Envelope[];
  /** Write and fsync ... */
  persist: AcceptorRecord[];
  /** ... before a promise or an accepted leaves. The core is told by the input `persisted`. */
  sendAfterPersist: Envelope[];
  /** In instance order without a gap; each is durable on this node first. */
  chosen: Chosen[];
  /** Chosen values a peer asked for: the replica reads them from the store and answers with `learned`. */
  serveLearn: { to: NodeId; from: InstanceId }[];
  /** This node became, or ceased to be, the distinguished proposer. */
  leadership: 'won' | 'lost' | null;
  /** Answer to `propose`: where the value was proposed, or null: this node does not lead or the window is full. */
  proposed: InstanceId | null;
};

export type Input =
  /** `voter`: the sender's store is the acceptor bound for its node; `leaseRuns`: by our clock a lease forbids this stranger. */
  | Readonly<{ kind: 'message'; from: NodeId; message: Message; voter: boolean; leaseRuns: boolean }>
  /** The store has written everything handed out in `persist` up to and including the n-th record since start (from 1). */
  | Readonly<{ kind: 'persisted'; upTo: number }>
  /** Try to become the distinguished proposer. */
  | Readonly<{ kind: 'campaign' }>
  /** A campaign whose peers are silent ends; nothing happens to who leads or does not campaign. */
  | Readonly<{ kind: 'giveUp' }>
  /** The lease value lane has a reserved window, so that a renewal never waits behind bulk. */
  | Readonly<{ kind: 'propose'; value: ValueBytes; lane: 'lease' | 'data' }>
  /** About every 50 ms: resend what was lost. `now` in ms, monotonic. */
  | Readonly<{ kind: 'tick'; now: number }>
  /** A stream to this peer came up: everything unanswered may be lost. */
  | Readonly<{ kind: 'peerUp'; peer: NodeId }>
  /** Own bulk under way is bounded by so many bytes from now on (flight-bound.ts). */
  | Readonly<{ kind: 'flight'; bytesMax: number }>
  /** A snapshot took the place of everything up to there, durably; nothing of it is emitted. `voters` comes next. */
  | Readonly<{ kind: 'installed'; upTo: InstanceId }>
  /**
   * A membership value was applied. A leader runs phase 1 again under the new set. `since`: the instance that made this
   * set, where it was not emitted by this core (a snapshot was installed).
   */
  | Readonly<{ kind: 'voters'; voters: readonly NodeId[]; mayVote: boolean; since?: InstanceId }>;
