import { type Ballot, type InstanceId, instanceId, NO_INSTANCE, type NodeId } from '../../base/brands.ts';
import type { Random } from '../../base/ports.ts';
import { Acceptor } from './acceptor.ts';
import { DEFAULT_BOUNDS, HINT_MS, type PaxosBounds } from './bounds.ts';
import { noEffects } from './effects.ts';
import { Learner } from './learner.ts';
import { LogWindow } from './log-window.ts';
import { Pipeline } from './pipeline.ts';
import { Proposer, type ProposerState } from './proposer.ts';
import type { Effects, Entry, Holding, Input, ValueBytes } from './types.ts';

export type PaxosOptions = Readonly<{
  node: NodeId;
  voters: readonly NodeId[];
  /** The instance that made this set of voters; 0 or absent for the first one. At most `chosenUpTo`. */
  votersSince?: InstanceId;
  /** This node's store is bound as an acceptor. Otherwise it only learns. */
  mayVote: boolean;
  /** From the newest promise record; accepted ballots in `tail` raise it. */
  promised: Ballot;
  /** Everything up to here was emitted in an earlier life and will not be again. */
  chosenUpTo: InstanceId;
  /** Accepted entries on disk above `chosenUpTo`, chosen or not. */
  tail: readonly Entry[];
  /** What a new leader puts into holes. */
  noop: ValueBytes;
  /**
   * Values after which the voters may differ. Such a value is proposed with nothing else under way, and once it is
   * emitted this node's proposer rests until the input `voters` comes, which must be given after each of them,
   * accepted by the state machine or not: a phase 1 holds only for the voters it was won with (protocol-findings 5).
   */
  changesVoters?: (value: ValueBytes) => boolean;
  /** Which peer is asked first when several could teach. */
  random: Random;
  bounds?: PaxosBounds;
}>;

/**
 * Multi-Paxos as a pure machine: an input goes in, what has to be done comes out; time and chance are inputs. Only
 * binlogsvr/replica.ts acts on the effects. The contract with it:
 * - `persist` is written in the order it was handed out, and `sendAfterPersist` leaves only when every record handed out
 *   up to and including its own step is on disk;
 * - records are counted from 1 since construction over all steps, `persisted.upTo` is the last one on disk;
 * - an error of the store ends the process: nothing here can take a record back.
 */
export class PaxosNode {
  readonly #window: LogWindow;
  readonly #acceptor: Acceptor;
  readonly #learner: Learner;
  readonly #proposer: Proposer;
  readonly #pipeline: Pipeline;
  readonly #node: NodeId;
  /** Everyone met so far, voters or not; learners are told what is chosen too. */
  readonly #met = new Set<NodeId>();
  #hintedAt: number | null = null;

  constructor(options: PaxosOptions) {
    const bounds = options.bounds ?? DEFAULT_BOUNDS;
    this.#node = options.node;
    this.#window = new LogWindow(options.chosenUpTo, options.tail, bounds);
    this.#acceptor = new Acceptor(this.#window, options.promised, options.mayVote);
    this.#learner = new Learner(this.#window, bounds, options.random);
    this.#pipeline = new Pipeline(bounds);
    const { node, voters, votersSince = NO_INSTANCE, noop, changesVoters = () => false } = options;
    const proposerOptions = { node, voters, votersSince, noop, changesVoters };
    this.#proposer = new Proposer(proposerOptions, this.#window, this.#acceptor, this.#learner, this.#pipeline);
    for (const voter of voters) this.#meet(voter);
  }

  /** Everything up to here is chosen, durable here and was emitted. */
  get chosenUpTo(): InstanceId {
    return this.#window.chosenUpTo;
  }

  /** The answer to a quorum barrier: whatever is chosen was accepted by one of any majority. */
  get highestAccepted(): InstanceId {
    return this.#window.highest;
  }

  /**
   * What this node's acceptor has above `chosenUpTo`; below that the store has it. A record not on disk yet counts: it was
   * proposed at its ballot, and none it replaced had a higher one.
   */
  holding(instance: InstanceId): Holding {
    if (instance <= this.chosenUpTo) return { kind: 'unknown' };
    const slot = this.#window.get(instance);
    if (slot === undefined) return { kind: 'nothing' };
    const { ballot, value, chosen } = slot;
    return chosen ? { kind: 'chosen', value } : { kind: 'accepted', ballot, value };
  }

  /** May propose. Not between a change of the voters and the input `voters`: it is on its way to lead then, as any campaign. */
  get leading(): boolean {
    return this.#proposer.state === 'leading' && !this.#proposer.awaitsVoters;
  }

  get campaigning(): boolean {
    return this.#proposer.state !== 'idle' && !this.leading;
  }

  get proposerState(): ProposerState {
    return this.#proposer.state;
  }

  get promised(): Ballot {
    return this.#acceptor.promised;
  }

  get mayVote(): boolean {
    return this.#acceptor.mayVote;
  }

  get voters(): readonly NodeId[] {
    return this.#proposer.voters;
  }

  /** Own proposals that are not emitted yet. */
  get inFlight(): number {
    return this.#pipeline.size;
  }

  /** Bytes of values held above `chosenUpTo`. */
  get bytesHeld(): number {
    return this.#window.bytes;
  }

  /** Records handed out so far: what `persisted.upTo` will be when all of them are on disk. */
  get recordsHandedOut(): number {
    return this.#window.handedOut;
  }

  step(input: Input): Effects {
    const effects = noEffects();
    switch (input.kind) {
      case 'message':
        this.#meet(input.from);
        this.#onMessage(input, effects);
        break;
      case 'persisted':
        this.#window.persisted(input.upTo);
        this.#proposer.onPersisted();
        this.#learner.onPersisted(effects);
        break;
      case 'campaign':
        this.#proposer.campaign(effects);
        break;
      case 'giveUp':
        this.#proposer.giveUp(effects);
        break;
      case 'propose':
        effects.proposed = this.#proposer.propose(input.value, input.lane, effects);
        break;
      case 'tick':
        this.#onTick(input.now, effects);
        break;
      case 'peerUp':
        this.#meet(input.peer);
        this.#learner.onPeerUp(input.peer);
        this.#proposer.onPeerUp(input.peer, effects);
        effects.sendNow.push({ to: input.peer, message: this.#proposer.commitMessage() });
        break;
      case 'flight':
        this.#pipeline.bytesMax = input.bytesMax;
        break;
      case 'installed':
        this.#window.installed(input.upTo);
        this.#learner.onInstalled();
        this.#proposer.onInstalled(effects);
        break;
      case 'voters':
        for (const voter of input.voters) this.#meet(voter);
        this.#acceptor.mayVote = input.mayVote;
        this.#proposer.setVoters(input.voters, input.since ?? NO_INSTANCE, effects);
        break;
      default:
        input satisfies never;
    }
    this.#settle(effects);
    return effects;
  }

  #onMessage(input: Extract<Input, { kind: 'message' }>, effects: Effects): void {
    const { from, message, voter, leaseRuns } = input;
    switch (message.kind) {
      case 'prepare':
        // Who is behind the candidate may have to catch up before its promise counts.
        this.#learner.hear(from, instanceId(Math.max(0, message.from - 1)));
        this.#acceptor.onPrepare(from, message, voter, leaseRuns, effects);
        break;
      case 'promise':
        this.#proposer.onPromise(from, message, voter);
        break;
      case 'nack':
        this.#proposer.onNack(from, message, voter, effects);
        break;
      case 'accept':
        this.#acceptor.onAccept(from, message, effects);
        this.#learner.onCommit(from, message.ballot, message.chosenUpTo, effects);
        this.#learner.onAccepted(message.ballot);
        break;
      case 'accepted':
        this.#proposer.onAccepted(from, message, voter);
        break;
      case 'commit':
        this.#learner.onCommit(from, message.ballot, message.chosenUpTo, effects);
        break;
      case 'learn':
        this.#learner.onLearn(from, message.from, effects);
        break;
      case 'learned':
        this.#learner.onLearned(from, message, effects);
        break;
      default:
        // A newer peer may say more than we know: harmless, as any message may be lost.
        message satisfies never;
    }
  }

  #onTick(now: number, effects: Effects): void {
    this.#learner.onTick(now, effects);
    this.#proposer.onTick(now, effects);
    this.#proposer.announce(this.#met, true, effects);
    if (this.#hintedAt !== null && now - this.#hintedAt < HINT_MS) return;
    this.#hintedAt = now;
    for (const to of this.#met) effects.sendNow.push({ to, message: this.#proposer.commitMessage() });
  }

  /** What every step ends with: rivals first, then emission, then whatever that made possible. */
  #settle(effects: Effects): void {
    this.#proposer.checkRivals(effects);
    this.#window.drain(effects.chosen);
    this.#proposer.onEmitted(effects.chosen);
    this.#proposer.advance(effects);
    this.#proposer.announce(this.#met, false, effects);
  }

  #meet(peer: NodeId): void {
    if (peer !== this.#node) this.#met.add(peer);
  }
}
