import type { InstanceId, NodeId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { GtidSet } from '../mysql/gtid-set.ts';
import type { PeerStatus } from '../proto/binlogsvr-types.ts';
import { AppliedLog, type LogEntry, type LogFile } from './applied-log.ts';
import { Barriers } from './barriers.ts';
import { Campaigner } from './campaigner.ts';
import { Conditions } from './conditions.ts';
import { newestState } from './config-state.ts';
import { InOrder } from './in-order.ts';
import { Leases } from './leases.ts';
import { LogKeeping } from './log-keeping.ts';
import type { LogSource } from './log-source.ts';
import { Membership } from './membership-service.ts';
import { Outbox } from './outbox.ts';
import { PaxosNode } from './paxos/node.ts';
import { CHOSEN_BALLOT, type Chosen, type Effects, type Envelope, type Input } from './paxos/types.ts';
import { PeerBook } from './peer-book.ts';
import { PeerFloors } from './peer-floors.ts';
import type { PeerHandler, PeerHello, PeerMessage } from './peer-transport.ts';
import { type Lane, Proposals } from './proposals.ts';
import { Removal } from './removal.ts';
import { ReplicaEvents } from './replica-events.ts';
import type { ReplicaOptions } from './replica-options.ts';
import { apply } from './state-machine.ts';
import { StateSaver } from './state-saver.ts';
import type { Applied, ReplicatedState } from './state-types.ts';
import { StoreWriter } from './store-writer.ts';
import { changesMembers, changesVoters, decodeValue, encodeValue } from './value-codec.ts';
import type { LogValue, Member } from './values.ts';
import { Voting } from './voting.ts';

const TICK_MS = 50;

/**
 * One node of the replicated log: the only performer of what the pure core (paxos/node.ts) and the state machine decide.
 *
 *   peers, proposals, ticks ──► core.step ──► sendNow ────────────────────────────────────► peers
 *                                ▲     │ └──► persist ──► StoreWriter ──► sendAfterPersist ──► peers
 *                                │     │                       │
 *                                └─────┼────── persisted ◄─────┘
 *                                      └──► chosen ──► state machine ──► proposals, listeners, waiters
 */
export class Replica implements LogSource, PeerHandler {
  readonly #o: ReplicaOptions;
  readonly #self: Member;
  readonly #incarnation: number;
  /** Changes of who belongs to the cluster. */
  readonly membership: Membership;
  readonly #core: PaxosNode;
  readonly #voting: Voting;
  readonly floors: PeerFloors;
  readonly removal = new Removal(this);
  readonly #writer: StoreWriter;
  readonly #saver: StateSaver;
  readonly #applied: AppliedLog;
  readonly #proposals: Proposals;
  readonly #conditions = new Conditions();
  readonly #campaigner: Campaigner;
  readonly #barriers: Barriers;
  readonly keeping: LogKeeping;
  readonly #leases: Leases;
  readonly #peers = new PeerBook();
  readonly #outbox: Outbox;
  readonly events = new ReplicaEvents();
  readonly onApplied: ReplicaEvents['onApplied'] = (listener) => this.events.onApplied(listener);
  /** A listener may make the core step again: applying stays in order. */
  readonly #applying = new InOrder<Chosen>((chosen) => this.#apply(chosen));
  #state: ReplicatedState;
  #stopped = false;
  #cancelTick: () => void = () => {};

  private constructor(options: ReplicaOptions, voting: Voting, floors: PeerFloors, state: ReplicatedState) {
    const { self, store, report, clock, log, random, lease, transport } = options;
    this.#o = options;
    this.#self = { node: self, storeId: report.identity.storeId };
    this.#incarnation = 1 + random.below(2 ** 31);
    this.#voting = voting;
    this.floors = floors;
    this.#state = state;
    this.#leases = new Leases(self, lease, clock, state, report.tail);
    this.#outbox = new Outbox(transport, store, this.#leases, clock);
    this.#core = new PaxosNode({
      node: self,
      voters: voting.nodes,
      votersSince: state.membersSince,
      mayVote: voting.current.mayVote,
      promised: report.promised,
      chosenUpTo: state.appliedIndex,
      tail: report.tail,
      noop: encodeValue({ kind: 'noop' }),
      changesVoters,
      random,
    });
    this.#writer = new StoreWriter(
      store,
      (after, upTo) => this.#written(after, upTo),
      (error) => this.#fatal(error),
      clock,
      (bytesMax) => this.#step({ kind: 'flight', bytesMax }),
    );
    this.#saver = new StateSaver(store, log, clock, state, options.pace);
    this.#applied = new AppliedLog(store, state.appliedIndex, (instance) => this.keeping.repairs.repair(instance));
    this.#proposals = new Proposals({
      propose: (bytes, lane) => this.#proposeNow(bytes, lane),
      mayWait: () => !this.#stopped && (this.#core.leading || this.#core.campaigning),
    });
    const shared = {
      self,
      clock,
      random,
      log,
      store,
      conditions: this.#conditions,
      state: () => this.#state,
      leading: () => this.#core.leading,
      appliedIndex: () => this.#state.appliedIndex,
    };
    this.#campaigner = new Campaigner({
      ...shared,
      campaigning: () => this.#core.campaigning,
      quorum: () => this.quorum,
      voteless: () => (this.mayVote ? null : this.votingReason),
      takeoverInMs: () => this.takeoverInMs,
      campaign: () => this.#step({ kind: 'campaign' }),
      giveUp: () => this.#step({ kind: 'giveUp' }),
    });
    this.#barriers = new Barriers(
      {
        ...shared,
        voters: () => this.#voting.nodes,
        ownAnswer: () => (this.mayVote ? this.#core.highestAccepted : null),
        ask: (node, id) => transport.send(node, { kind: 'query', id }),
        lead: (timeoutMs) => this.lead(timeoutMs),
      },
      random.below(2 ** 31) * 1024,
    );
    this.keeping = new LogKeeping({
      ...shared,
      transport,
      upkeep: options,
      applied: () => this.#applied,
      savedIndex: () => this.#saver.savedIndex,
      settled: () => this.#core.chosenUpTo,
      peersUp: () => this.#peers.up,
      voting,
      holding: (instance) => this.#core.holding(instance),
      stopped: () => this.#stopped,
      sendLearned: (to, entries) =>
        this.#outbox.send({ to, message: { kind: 'learned', entries, chosenUpTo: this.#core.chosenUpTo } }),
      installed: (installed) => this.#installed(installed),
      failed: (error) => this.#fatal(error),
    });
    this.membership = new Membership({
      ...shared,
      hellos: () => this.#peers.hellos,
      lead: (timeoutMs) => this.lead(timeoutMs),
      chosenUpTo: () => this.#core.chosenUpTo,
      inFlight: () => this.#core.inFlight,
      storeOf: (node) => this.#peers.storeOf(node),
      peerChosen: (node) => this.#peers.chosenUpTo(node),
      // Id 0 is no barrier's: only how far the peer is is wanted.
      ask: (node) => transport.send(node, { kind: 'query', id: 0 }),
      hold: (held) => this.#proposals.hold(held),
      proposeNow: (value) => this.#proposeNow(encodeValue(value), 'lease'),
      submit: (value, deadline) => this.#proposals.submitAlone(encodeValue(value), deadline),
    });
  }

  /** Ready at once: it waits for no peer. Until a majority is met it only answers. */
  static async open(options: ReplicaOptions): Promise<Replica> {
    const { store, report, log, nodes } = options;
    const state = await newestState(store, report);
    const self = { node: options.self, storeId: report.identity.storeId };
    const voting = await Voting.load(
      { store, log, self, nodes, join: options.join, addresses: options.addresses },
      state,
    );
    const replica = new Replica(options, voting, await PeerFloors.load(store, options.pace), state);
    options.transport.start(replica);
    options.transport.roster(state);
    replica.#start();
    return replica;
  }

  get state(): ReplicatedState {
    return this.#state;
  }

  /** This process among all that ever ran this node, at random: goes into what only this process may count upon. */
  get incarnation(): number {
    return this.#incarnation;
  }

  get chosenIndex(): InstanceId {
    return this.#core.chosenUpTo;
  }

  /** This node is the distinguished proposer, and everything chosen before is applied here. */
  get leading(): boolean {
    return this.#core.leading;
  }

  get mayVote(): boolean {
    return this.#voting.current.mayVote;
  }

  get votingReason(): string {
    return this.#voting.current.reason;
  }

  /** The acceptors this cluster began with; empty before they are agreed. */
  get founders(): readonly Member[] {
    return this.#voting.founders;
  }

  /** Enough bound acceptors are connected, this node's own included, for something to be chosen. */
  get quorum(): boolean {
    return this.#voting.isQuorum((node) => this.#peers.storeOf(node));
  }

  /** How long, by this node's clock, before the lease of the open epoch may be taken over. */
  get takeoverInMs(): number {
    return this.#leases.takeoverInMs(this.#state);
  }

  /** What this node may say of its own lease; 0 unless it holds it. */
  get leaseRemainingMs(): number {
    return this.#leases.remainingMs(this.#state);
  }

  peers(): readonly PeerStatus[] {
    return this.#o.transport.peers().map((link) => ({ ...link, chosenIndex: this.#peers.chosenUpTo(link.node) }));
  }

  /**
   * Resolves when the value's slot is applied here with these very bytes. Rejects NOT_LEADER or BUSY when the value will
   * never be applied, TIMEOUT or UNAVAILABLE when its outcome is unknown.
   */
  propose(value: LogValue, lane: Lane, timeoutMs: number): Promise<Applied> {
    this.#leases.proposing(value);
    return this.proposeBytes(encodeValue(value), lane, timeoutMs);
  }

  /** propose() for a value that is encoded already and known to decode; not for elections and renewals. */
  proposeBytes(bytes: Uint8Array, lane: Lane, timeoutMs: number): Promise<Applied> {
    return this.#proposals.submit(bytes, lane, this.#o.clock.now() + timeoutMs);
  }

  /**
   * Campaigns until this node is the proposer, which means that everything chosen before is applied here.
   * @throws PhxError LEASE_RUNS, NO_QUORUM, TIMEOUT
   */
  lead(timeoutMs: number): Promise<void> {
    return this.#campaigner.lead(timeoutMs);
  }

  /**
   * Resolves when everything chosen anywhere before the call is applied here.
   * @throws PhxError NO_QUORUM, TIMEOUT
   */
  barrier(timeoutMs: number): Promise<void> {
    return this.#barriers.pass(timeoutMs);
  }

  readLog(from: InstanceId, maxBytes: number): Promise<readonly LogEntry[]> {
    return this.#applied.read(from, this.#state.appliedIndex, maxBytes);
  }

  async waitApplied(beyond: InstanceId, signal: AbortSignal): Promise<void> {
    await this.#conditions.wait(() => this.#state.appliedIndex > beyond, Number.POSITIVE_INFINITY, signal);
  }

  sampleFor(set: GtidSet | null): Promise<Readonly<{ state: ReplicatedState }>> {
    return this.#applied.sampleFor(set, this.#state);
  }

  formatDescriptionOf(file: LogFile): Promise<Uint8Array> {
    return this.#applied.formatDescriptionOf(file, this.#state.appliedIndex);
  }

  /** The holder gives its lease up: from now on it states 0 for this epoch, whatever becomes of the Fence. */
  releaseLease(epoch: number): void {
    this.#leases.release(epoch);
    this.events.changed();
  }

  /** GTIDs of the transactions this node's log does not hold: the baseline's, and those that were purged. */
  get purged(): GtidSet {
    return this.#applied.purged(this.#state);
  }

  /** Stops and saves the applied state. The transport and the store remain the caller's to close. */
  async close(): Promise<void> {
    if (this.#stopped) return;
    this.#stop();
    await this.#writer.stop();
    await this.keeping.purger.close();
    await this.#saver.close(this.#o.clock.now());
    await this.floors.save();
  }

  // What peers say (PeerHandler).

  hello(): PeerHello {
    return {
      ...this.#self,
      incarnation: this.#incarnation,
      durableSeq: this.#o.store.durableSeq,
      chosenUpTo: this.#core.chosenUpTo,
      empty: this.#o.report.empty && !this.#writer.used,
      founders: this.#voting.founders,
      leaseAge: this.#leases.age(),
      ...(this.#o.runs === undefined ? {} : { runs: this.#o.runs }),
      ...this.#voting.joins(this.#state),
    };
  }

  admit(hello: PeerHello): string | null {
    return this.#voting.objection(hello, this.#state) ?? this.floors.check(hello);
  }

  onPeerUp(hello: PeerHello): void {
    if (this.#stopped) return;
    this.#meet(hello);
    this.#step({ kind: 'peerUp', peer: hello.node });
    this.#barriers.peerUp();
    this.keeping.repairs.peerUp();
  }

  onPeerChanged(hello: PeerHello): void {
    if (!this.#stopped) this.#meet(hello);
  }

  onPeerDown(node: NodeId): void {
    this.#peers.leave(node);
    this.events.changed();
  }

  onMessage(from: NodeId, storeId: string, message: PeerMessage): void {
    if (this.#stopped) return;
    const now = this.#o.clock.now();
    const voter = this.#voting.isVoter(from, storeId);
    if ('chosenUpTo' in message && message.kind !== 'accept') this.#peers.heard(from, storeId, message.chosenUpTo);
    if ('leaseAge' in message) this.#leases.told(message.leaseAge);
    if ('durableSeq' in message) this.floors.confirmed(from, storeId, message.durableSeq);
    switch (message.kind) {
      case 'query': {
        const { highestAccepted, chosenUpTo } = this.#core;
        this.#o.transport.send(from, { kind: 'answer', id: message.id, highestAccepted, chosenUpTo });
        return;
      }
      case 'answer':
        if (voter) this.#barriers.answer(message.id, from, message.highestAccepted);
        this.#conditions.poke(now);
        return;
      case 'needs':
      case 'snapshot':
      case 'snapshotAsk':
      case 'recall':
      case 'recalled':
        this.keeping.message(from, storeId, message);
        return;
      case 'successorAsk':
      case 'successorSays':
        this.events.succession(from, message);
        return;
      case 'progress':
        this.events.progress(from, message);
        return;
      case 'accept':
        for (const entry of message.entries) this.#leases.accepting(entry.value);
        break;
      case 'learned':
        this.keeping.repairs.learned(from, storeId, message.entries);
        break;
      case 'nack':
        this.#campaigner.refused(message.reason);
        break;
    }
    const leaseRuns = message.kind === 'prepare' && this.#leases.forbids(from, this.#state);
    this.#step({ kind: 'message', from, message, voter, leaseRuns });
  }

  #meet(hello: PeerHello): void {
    this.#peers.meet(hello);
    this.#leases.told(hello.leaseAge);
    this.#voting.met(hello);
    this.events.changed();
  }

  #step(input: Input): Effects {
    const effects = this.#core.step(input);
    for (const envelope of effects.sendNow) this.#outbox.send(envelope);
    this.#writer.add(effects.persist, effects.sendAfterPersist);
    for (const asked of effects.serveLearn) void this.keeping.server.serve(asked.to, asked.from);
    this.#applying.add(effects.chosen);
    if (effects.leadership !== null) {
      const what = effects.leadership === 'won' ? 'became proposer' : 'ceased to be proposer';
      this.#o.log.info(what, { node: this.#self.node, promised: this.#core.promised });
    }
    if (effects.leadership !== null || effects.chosen.length > 0) {
      this.#proposals.pump();
      this.#conditions.poke(this.#o.clock.now());
      this.events.changed();
    }
    return effects;
  }

  #apply({ instance, value: bytes }: Chosen): void {
    const now = this.#o.clock.now();
    const value = decodeValue(bytes);
    const { state, applied } = apply(this.#state, instance, value);
    this.#state = state;
    this.#leases.applied(value, applied.accepted, state);
    this.#applied.push({ instance, ballot: CHOSEN_BALLOT, value: bytes }, value);
    this.#saver.applied(state, bytes.length, now);
    this.events.applied(applied, state);
    this.#proposals.applied(bytes, applied);
    if (!changesMembers(bytes)) return;
    this.#voting.applied(state, changesVoters(bytes));
    this.#o.transport.roster(state);
  }

  /** A snapshot is in the store: the log of this node goes on behind it. */
  #installed(state: ReplicatedState): void {
    this.#state = state;
    this.#leases.installed(state);
    this.#applied.restart(state.appliedIndex);
    this.#saver.installed(state);
    this.events.installed(state);
    this.#voting.installed(state);
    this.#o.transport.roster(state);
    const { nodes: voters } = this.#voting;
    this.#step({ kind: 'voters', voters, mayVote: this.mayVote, since: state.membersSince });
    // Last: what is known to be chosen behind it is applied at once, and may be a change of the members.
    this.#step({ kind: 'installed', upTo: state.appliedIndex });
    this.#conditions.poke(this.#o.clock.now());
    this.events.changed();
  }

  #written(after: readonly Envelope[], upTo: number): void {
    for (const envelope of after) this.#outbox.send(envelope);
    this.#step({ kind: 'persisted', upTo });
  }

  #proposeNow(bytes: Uint8Array, lane: Lane): InstanceId | null {
    if (this.#stopped) return null;
    return this.#step({ kind: 'propose', value: bytes, lane }).proposed;
  }

  #start(): void {
    this.#voting.start({
      state: () => this.#state,
      empty: () => this.#o.report.empty && !this.#writer.used,
      stopped: () => this.#stopped,
      voters: (voters, mayVote) => this.#step({ kind: 'voters', voters, mayVote, since: this.#state.membersSince }),
      announce: () => this.#o.transport.announce(),
      changed: () => this.events.changed(),
      failed: (error) => this.#fatal(error),
    });
    this.#armTick();
  }

  #armTick(): void {
    this.#cancelTick = this.#o.clock.after(TICK_MS, () => {
      this.#armTick();
      this.#tick();
    });
  }

  #tick(): void {
    const now = this.#o.clock.now();
    this.#step({ kind: 'tick', now });
    this.#proposals.expire(now);
    this.#saver.tick(now);
    this.#barriers.tick(now);
    this.#campaigner.tick(now);
    this.membership.tick(now);
    this.keeping.tick(now);
    this.floors.tick(now).catch((error: unknown) => this.#fatal(error));
    if (this.#leases.takeoverDueChanged(this.#state)) this.events.changed();
    this.#conditions.poke(now);
  }

  #stop(): void {
    this.#stopped = true;
    this.#cancelTick();
    this.#proposals.close();
    this.#conditions.close();
  }

  #fatal(error: unknown): void {
    if (this.#stopped) return;
    this.#o.log.error('store failed: this node stops', { reason: reasonOf(error) });
    this.#stop();
    this.#o.onFatal(error);
  }
}
