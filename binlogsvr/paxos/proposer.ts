import {
  type Ballot,
  ballotRound,
  type InstanceId,
  makeBallot,
  NO_BALLOT,
  NO_INSTANCE,
  type NodeId,
} from '../../base/brands.ts';
import { invariant } from '../../base/invariant.ts';
import { ruleHolds } from '../../base/rules.ts';
import type { Acceptor } from './acceptor.ts';
import { CATCH_UP_STALL_MS, RESEND_MS } from './bounds.ts';
import type { Learner } from './learner.ts';
import { after, type LogWindow } from './log-window.ts';
import type { Lane, Pipeline, Proposal } from './pipeline.ts';
import { Quorum } from './quorum.ts';
import type { Chosen, Effects, Entry, Message, ValueBytes } from './types.ts';

type Promise1b = Extract<Message, { kind: 'promise' }>;
type Nack = Extract<Message, { kind: 'nack' }>;
type Accepted = Extract<Message, { kind: 'accepted' }>;

export type ProposerState = 'idle' | 'preparing' | 'catching-up' | 'filling' | 'leading';

/** Legal moves; 'lost' (to idle) and a new set of voters (to preparing) are possible from every active state. */
const NEXT = {
  idle: ['preparing'],
  preparing: ['preparing', 'catching-up', 'idle'],
  'catching-up': ['preparing', 'filling', 'idle'],
  filling: ['preparing', 'leading', 'idle'],
  leading: ['preparing', 'idle'],
} as const satisfies Record<ProposerState, readonly ProposerState[]>;

export type ProposerOptions = Readonly<{
  node: NodeId;
  voters: readonly NodeId[];
  /** See PaxosOptions.votersSince. */
  votersSince: InstanceId;
  /** Fills holes. */
  noop: ValueBytes;
  /** See PaxosOptions.changesVoters. */
  changesVoters: (value: ValueBytes) => boolean;
}>;

/**
 * The distinguished proposer (Paxos Made Simple, 2.4 and 3).
 *
 *          campaign            majority promised,        everything a promise      everything found in
 *                              own promise on disk       calls chosen is emitted   phase 1 is emitted: 'won'
 *   idle ───────────► preparing ───────────► catching-up ───────────► filling ───────────► leading
 *    ▲                 ▲   │                     │                       │                    │
 *    │                 └───┼─ voters changed: ───┴───────────────────────┴────────────────────┤
 *    │                     │  a new ballot                                                    │
 *    └─────────────────────┴──────────────────────────────────────────────────────────────────┘
 *      'lost': a higher ballot was seen, no majority can promise any more, nobody could teach what a promise
 *      called chosen, a rival's value was chosen, or this node is no longer a voter
 */
export class Proposer {
  readonly #options: ProposerOptions;
  readonly #window: LogWindow;
  readonly #acceptor: Acceptor;
  readonly #learner: Learner;
  readonly #pipeline: Pipeline;
  #quorum: Quorum;
  #state: ProposerState = 'idle';
  #ballot: Ballot = NO_BALLOT;
  /** Highest ballot ever seen, so that the next campaign goes above it. */
  #seen: Ballot = NO_BALLOT;

  // Phase 1.
  #promises = new Set<NodeId>();
  #refusals = new Set<NodeId>();
  /** Highest-ballot value per instance that a promise told. */
  #found = new Map<InstanceId, Entry>();
  /** Highest instance a promise called chosen. */
  #target: InstanceId = NO_INSTANCE;
  #preparedAt = 0;

  // Between phase 1 and leading.
  #catchUp: { mark: number; since: number } = { mark: 0, since: 0 };
  #fillNext: InstanceId = NO_INSTANCE;
  #fillUpTo: InstanceId = NO_INSTANCE;

  /** Where the next own value goes: above everything found (protocol-findings 3). */
  #next: InstanceId = NO_INSTANCE;
  /** All peers were told that everything up to here is chosen. */
  #announced: InstanceId = NO_INSTANCE;
  /**
   * Values that may change the voters were emitted, so many inputs `voters` are to come: nothing goes on before the last
   * of them (protocol-findings 5).
   */
  #votersAwaited = 0;
  /** The instance that made the present set of voters. */
  #votersSince: InstanceId;
  #now = 0;

  constructor(options: ProposerOptions, window: LogWindow, acceptor: Acceptor, learner: Learner, pipeline: Pipeline) {
    this.#options = options;
    this.#window = window;
    this.#acceptor = acceptor;
    this.#learner = learner;
    this.#pipeline = pipeline;
    this.#votersSince = options.votersSince;
    this.#quorum = new Quorum(options.voters);
  }

  get state(): ProposerState {
    return this.#state;
  }

  get awaitsVoters(): boolean {
    return this.#votersAwaited > 0;
  }

  get ballot(): Ballot {
    return this.#ballot;
  }

  get voters(): readonly NodeId[] {
    return this.#quorum.voters;
  }

  isVoter(node: NodeId): boolean {
    return this.#quorum.has(node);
  }

  /** Nothing happens while leading, nor while campaigning unless a ballot above the own one was seen. */
  campaign(effects: Effects): void {
    if (this.#state === 'leading' || (this.#state !== 'idle' && this.#seen <= this.#ballot)) return;
    this.#prepare(effects);
  }

  /** Ends a campaign, not a leadership. */
  giveUp(effects: Effects): void {
    if (this.#state !== 'idle' && this.#state !== 'leading') this.lose(effects);
  }

  setVoters(voters: readonly NodeId[], since: InstanceId, effects: Effects): void {
    this.#quorum = new Quorum(voters);
    if (this.#votersAwaited > 0) this.#votersAwaited -= 1;
    if (since > this.#votersSince) this.#votersSince = since;
    if (this.#votersAwaited > 0 || this.#state === 'idle') return;
    if (ruleHolds('phase1-after-membership')) this.#prepare(effects);
  }

  /** The instance, or null: not leading, or the lane is full. */
  propose(value: ValueBytes, lane: Lane, effects: Effects): InstanceId | null {
    if (this.#state !== 'leading' || this.#votersAwaited > 0) return null;
    const changesVoters = this.#options.changesVoters(value);
    if (!this.#pipeline.hasRoom(value.length, lane, changesVoters)) return null;
    const instance = this.#next;
    this.#next = after(instance);
    this.#sendAccepts([this.#begin(instance, value, lane, changesVoters, effects)], effects);
    return instance;
  }

  onPromise(from: NodeId, promise: Promise1b, voter: boolean): void {
    if (promise.ballot !== this.#ballot || this.#state !== 'preparing' || !voter || !this.isVoter(from)) return;
    this.#learner.hear(from, promise.chosenUpTo);
    // Until a majority of the new voters holds the change that made them voters, and with it everything before, it must
    // not be they who decide: the loss of a few of the old ones could take with it what the others never had. Who lacks
    // it has heard by the prepare that there is something to learn, and promises again when asked again.
    if (promise.chosenUpTo < this.#votersSince && ruleHolds('change-held-by-new-majority')) return;
    this.#promises.add(from);
    this.#refusals.delete(from);
    if (promise.chosenUpTo > this.#target) this.#target = promise.chosenUpTo;
    for (const entry of promise.accepted) this.#consider(entry);
  }

  /** `ballot`: deposed at once. `lease`, `not-voter`: just no promise from this one. */
  onNack(from: NodeId, nack: Nack, voter: boolean, effects: Effects): void {
    this.#see(nack.promised);
    if (nack.ballot !== this.#ballot || this.#state === 'idle' || !voter || !this.isVoter(from)) return;
    if (nack.reason === 'ballot') {
      if (nack.promised > this.#ballot) this.lose(effects);
      return;
    }
    if (this.#state !== 'preparing' || this.#promises.has(from)) return;
    this.#refusals.add(from);
    if (!this.#quorum.possibleWithout(this.#refusals)) this.lose(effects);
  }

  /** Phase 2b. Votes of another ballot, or of a store that is not bound as acceptor, do not count. */
  onAccepted(from: NodeId, accepted: Accepted, voter: boolean): void {
    if (accepted.ballot !== this.#ballot || this.#state === 'idle' || !voter || !this.isVoter(from)) return;
    for (const instance of accepted.instances) this.#vote(this.#pipeline.get(instance), from);
  }

  /** The own votes: only for what is on disk at this very ballot. */
  onPersisted(): void {
    for (const proposal of this.#pipeline.all()) {
      if (this.#acceptor.hasVoted(proposal.instance, this.#ballot)) this.#vote(proposal, this.#options.node);
    }
  }

  /**
   * Gives up when a rival is known: a higher promise, or a chosen value which is not this proposer's where only its own
   * could be. Called in each step before anything is emitted or announced: "chosen up to here" said at this ballot
   * settles what was proposed at it, so it must not be said over a rival's value.
   */
  checkRivals(effects: Effects): void {
    if (this.#state === 'idle') return;
    this.#see(this.#acceptor.promised);
    if (this.#acceptor.promised > this.#ballot || this.#isOverruled()) this.lose(effects);
  }

  /** With the own ballot the highest, no value but the own could be chosen where it was proposed or is about to be. */
  #isOverruled(): boolean {
    if (this.#state !== 'filling' && this.#state !== 'leading') return false;
    if (this.#window.highest >= this.#next) return true;
    for (const { instance } of this.#pipeline.all()) {
      if (this.#window.get(instance)?.ballot !== this.#ballot) return true;
    }
    return false;
  }

  onEmitted(chosen: readonly Chosen[]): void {
    for (const { instance, value } of chosen) {
      this.#pipeline.remove(instance);
      if (!this.#options.changesVoters(value)) continue;
      this.#votersAwaited += 1;
      this.#votersSince = instance;
    }
  }

  /** Takes every step that has become possible. */
  advance(effects: Effects): void {
    if (this.#state === 'idle' || this.#votersAwaited > 0) return;
    if (this.#state === 'preparing' && this.#isPrepared()) {
      this.#move('catching-up');
      this.#catchUp = { mark: -1, since: this.#now };
    }
    if (this.#state === 'catching-up') {
      if (this.#window.chosenUpTo >= this.#target) this.#startFilling();
      else this.#learner.hurry(effects);
    }
    if (this.#state === 'filling') {
      this.#fill(effects);
      if (this.#window.chosenUpTo >= this.#fillUpTo) {
        this.#found.clear();
        this.#move('leading');
        effects.leadership = 'won';
      }
    }
  }

  /** Tells all at once when nothing is left under way, as no next message would carry it (protocol-findings 17). */
  announce(peers: Iterable<NodeId>, always: boolean, effects: Effects): void {
    if (this.#state !== 'filling' && this.#state !== 'leading') return;
    const now = always || (this.#pipeline.size === 0 && ruleHolds('announced-at-once'));
    if (this.#window.chosenUpTo <= this.#announced || !now) return;
    this.#announced = this.#window.chosenUpTo;
    for (const to of peers) effects.sendNow.push({ to, message: this.commitMessage() });
  }

  /** How far this node is; from a leader also that its proposals up to there are chosen. */
  commitMessage(): Message {
    const leads = this.#state === 'filling' || this.#state === 'leading';
    return { kind: 'commit', ballot: leads ? this.#ballot : NO_BALLOT, chosenUpTo: this.#window.chosenUpTo };
  }

  onTick(now: number, effects: Effects): void {
    this.#now = now;
    if (this.#state === 'preparing' && now - this.#preparedAt >= RESEND_MS) {
      this.#preparedAt = now;
      for (const to of this.#others()) if (!this.#promises.has(to)) this.#sendPrepare(to, effects);
    }
    if (this.#state === 'catching-up') {
      const mark = this.#window.chosenUpTo + this.#window.knownUpTo;
      if (mark !== this.#catchUp.mark) this.#catchUp = { mark, since: now };
      else if (now - this.#catchUp.since >= CATCH_UP_STALL_MS) this.lose(effects);
    }
    const due = this.#pipeline.dueForResend(now);
    if (due.length > 0) this.#sendAccepts(due, effects);
  }

  /** So much was chosen without this node that a snapshot came: whatever it was proposing is settled elsewhere. */
  onInstalled(effects: Effects): void {
    if (this.#state !== 'idle') this.lose(effects);
  }

  onPeerUp(peer: NodeId, effects: Effects): void {
    if (!this.isVoter(peer) || peer === this.#options.node) return;
    if (this.#state === 'preparing' && !this.#promises.has(peer)) this.#sendPrepare(peer, effects);
    this.#pipeline.send([...this.#pipeline.all()], [peer], this.#ballot, this.#window.chosenUpTo, effects);
  }

  lose(effects: Effects): void {
    this.#move('idle');
    this.#see(this.#ballot);
    this.#ballot = NO_BALLOT;
    this.#reset();
    effects.leadership = 'lost';
  }

  /** Phase 1a for every instance above what this node knows. */
  #prepare(effects: Effects): void {
    if (!this.#acceptor.mayVote || !this.isVoter(this.#options.node)) {
      if (this.#state === 'idle') effects.leadership = 'lost';
      else this.lose(effects);
      return;
    }
    this.#see(this.#acceptor.promised);
    this.#ballot = makeBallot(ballotRound(this.#seen) + 1, this.#options.node);
    this.#see(this.#ballot);
    this.#move('preparing');
    this.#reset();
    this.#preparedAt = this.#now;
    this.#acceptor.promiseOwn(this.#ballot, effects);
    for (const to of this.#others()) this.#sendPrepare(to, effects);
  }

  #sendPrepare(to: NodeId, effects: Effects): void {
    const from = after(this.#window.chosenUpTo);
    effects.sendNow.push({ to, message: { kind: 'prepare', ballot: this.#ballot, from } });
  }

  /**
   * The own promise must be on disk whatever the others say: a proposer that restarts then always finds a ballot at
   * which it has not proposed anything yet.
   */
  #isPrepared(): boolean {
    return this.#acceptor.promiseDurable && this.#quorum.reached(new Set([...this.#promises, this.#options.node]));
  }

  #consider(entry: Entry): void {
    const known = this.#found.get(entry.instance);
    if (known === undefined || known.ballot < entry.ballot) this.#found.set(entry.instance, entry);
  }

  #startFilling(): void {
    for (const instance of this.#found.keys()) if (instance <= this.#window.chosenUpTo) this.#found.delete(instance);
    for (const slot of this.#window.slots()) this.#consider(slot);
    let highest = this.#window.chosenUpTo;
    for (const instance of this.#found.keys()) {
      if (instance > highest && ruleHolds('own-above-found')) highest = instance;
    }
    this.#fillNext = after(this.#window.chosenUpTo);
    this.#fillUpTo = highest;
    this.#next = after(highest);
    this.#announced = NO_INSTANCE;
    this.#move('filling');
  }

  /** Proposes again what was found and no-ops in between, within the window; what is known chosen needs no proposal. */
  #fill(effects: Effects): void {
    const batch: Proposal[] = [];
    for (; this.#fillNext <= this.#fillUpTo; this.#fillNext = after(this.#fillNext)) {
      const instance = this.#fillNext;
      if (instance <= this.#window.chosenUpTo) continue;
      const slot = this.#window.get(instance);
      // Beyond a change of the voters this ballot's phase 1 says nothing, whoever got the change chosen.
      if (slot?.chosen && this.#options.changesVoters(slot.value)) break;
      if (slot?.chosen) continue;
      const value = this.#found.get(instance)?.value ?? this.#options.noop;
      const changesVoters = this.#options.changesVoters(value);
      if (!this.#pipeline.hasRoom(value.length, 'data', changesVoters)) break;
      batch.push(this.#begin(instance, value, 'data', changesVoters, effects));
    }
    this.#sendAccepts(batch, effects);
  }

  #begin(instance: InstanceId, value: ValueBytes, lane: Lane, changesVoters: boolean, effects: Effects): Proposal {
    this.#acceptor.acceptOwn(instance, this.#ballot, value, effects);
    return this.#pipeline.add(instance, value, lane, changesVoters, this.#now);
  }

  #sendAccepts(proposals: readonly Proposal[], effects: Effects): void {
    this.#pipeline.send(proposals, this.#others(), this.#ballot, this.#window.chosenUpTo, effects);
  }

  #vote(proposal: Proposal | undefined, node: NodeId): void {
    if (proposal === undefined) return;
    proposal.votes.add(node);
    if (!this.#quorum.reached(proposal.votes)) return;
    const slot = this.#window.get(proposal.instance);
    invariant(slot !== undefined && slot.ballot === this.#ballot, `paxos: own proposal ${proposal.instance} is gone`);
    this.#window.markChosen(slot);
  }

  #others(): NodeId[] {
    return this.#quorum.voters.filter((voter) => voter !== this.#options.node);
  }

  #see(ballot: Ballot): void {
    if (ballot > this.#seen) this.#seen = ballot;
  }

  #reset(): void {
    this.#promises = new Set();
    this.#refusals = new Set();
    this.#found = new Map();
    this.#target = NO_INSTANCE;
    this.#pipeline.clear();
  }

  #move(to: ProposerState): void {
    invariant((NEXT[this.#state] as readonly ProposerState[]).includes(to), `paxos: proposer ${this.#state} -> ${to}`);
    this.#state = to;
  }
}
