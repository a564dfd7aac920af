import { type Ballot, type InstanceId, NO_BALLOT, type NodeId } from '../../base/brands.ts';
import { invariant } from '../../base/invariant.ts';
import { ruleHolds } from '../../base/rules.ts';
import { type LogWindow, type Slot, sameValue } from './log-window.ts';
import { CHOSEN_BALLOT, type Effects, type Entry, type Message, type ValueBytes } from './types.ts';

type Prepare = Extract<Message, { kind: 'prepare' }>;
type Accept = Extract<Message, { kind: 'accept' }>;

/**
 * The memory of the algorithm (Paxos Made Simple, 2.2): promises to ignore lower ballots and accepts what it has not
 * promised to ignore. Whatever it says rests on records that are on disk first. A node that may not vote keeps the same
 * books, so that it learns values as they come, but says neither promise nor accepted.
 */
export class Acceptor {
  readonly #window: LogWindow;
  #promised: Ballot;
  /** The record `promised` rests on. */
  #promisedRecord = 0;
  mayVote: boolean;

  constructor(window: LogWindow, promised: Ballot, mayVote: boolean) {
    this.#window = window;
    this.mayVote = mayVote;
    this.#promised = promised;
    for (const slot of window.slots()) {
      if (slot.ballot !== CHOSEN_BALLOT && slot.ballot > this.#promised) this.#promised = slot.ballot;
    }
  }

  get promised(): Ballot {
    return this.#promised;
  }

  /** The newest promise is on disk. */
  get promiseDurable(): boolean {
    return this.#window.isDurable(this.#promisedRecord);
  }

  /** A promise to this node's own proposer; it counts once `promiseDurable`. */
  promiseOwn(ballot: Ballot, effects: Effects): void {
    invariant(ballot > this.#promised, `paxos: own ballot ${ballot} is not above the promised ${this.#promised}`);
    this.#promised = ballot;
    this.#promisedRecord = this.#window.recordPromise(ballot, effects);
  }

  /** Takes a proposal of this node's own proposer; the vote counts once the record is durable. */
  acceptOwn(instance: InstanceId, ballot: Ballot, value: ValueBytes, effects: Effects): void {
    invariant(ballot === this.#promised, `paxos: own proposal at ballot ${ballot}, promised is ${this.#promised}`);
    this.#window.record(instance, ballot, value, effects);
  }

  /** This node's own proposal at `ballot` is on disk, so its vote counts. An overwritten one never does. */
  hasVoted(instance: InstanceId, ballot: Ballot): boolean {
    const slot = this.#window.get(instance);
    return this.mayVote && slot !== undefined && slot.ballot === ballot && this.#window.isDurable(slot.record);
  }

  /**
   * Phase 1b. Refused: a lower ballot than promised; while a lease runs, a stranger; a sender whose store is not bound
   * as acceptor (it counts its own promise, which may be that of an acceptor that forgot).
   */
  onPrepare(from: NodeId, prepare: Prepare, voter: boolean, leaseRuns: boolean, effects: Effects): void {
    const { ballot } = prepare;
    const refused = this.#refusal(ballot, voter, leaseRuns);
    if (refused !== null) {
      const promised = refused === 'ballot' ? this.#promised : NO_BALLOT;
      effects.sendNow.push({ to: from, message: { kind: 'nack', ballot, promised, reason: refused } });
      return;
    }
    if (ballot === this.#promised) {
      // A repeated prepare. If the promise is not on disk yet, the answer to the first one is still to leave.
      if (!this.promiseDurable) return;
    } else {
      this.#promised = ballot;
      this.#promisedRecord = this.#window.recordPromise(ballot, effects);
    }
    // Everything above chosenUpTo, whatever `from` is: the proposer may have restarted and know less than it did
    // when it sent this, so a stale promise must not leave out what it needs now.
    effects.sendAfterPersist.push({
      to: from,
      message: { kind: 'promise', ballot, chosenUpTo: this.#window.chosenUpTo, accepted: this.#window.entries() },
    });
  }

  #refusal(ballot: Ballot, voter: boolean, leaseRuns: boolean): 'ballot' | 'lease' | 'not-voter' | null {
    if (!this.mayVote || !voter) return 'not-voter';
    if (ballot < this.#promised) return 'ballot';
    return leaseRuns && ruleHolds('lease-forbids-strangers') ? 'lease' : null;
  }

  /** Phase 2b. */
  onAccept(from: NodeId, accept: Accept, effects: Effects): void {
    const { ballot } = accept;
    if (ballot < this.#promised && ruleHolds('accept-needs-promise')) {
      if (!this.mayVote) return;
      const nack: Message = { kind: 'nack', ballot, promised: this.#promised, reason: 'ballot' };
      effects.sendNow.push({ to: from, message: nack });
      return;
    }
    const voted: InstanceId[] = [];
    let settled = false;
    for (const entry of accept.entries) {
      if (entry.instance <= this.#window.chosenUpTo) settled = true;
      else if (this.#accept(ballot, entry, effects)) voted.push(entry.instance);
    }
    if (!this.mayVote) return;
    if (voted.length > 0) {
      effects.sendAfterPersist.push({ to: from, message: { kind: 'accepted', ballot, instances: voted } });
    }
    // The value of a settled instance is no longer at hand to compare, so no vote: the proposer learns it instead.
    if (settled) {
      const hint: Message = { kind: 'commit', ballot: NO_BALLOT, chosenUpTo: this.#window.chosenUpTo };
      effects.sendNow.push({ to: from, message: hint });
    }
  }

  /** Whether `accepted` may be said after this step's records are on disk. */
  #accept(ballot: Ballot, entry: Entry, effects: Effects): boolean {
    const { instance, value } = entry;
    const slot = this.#window.get(instance);
    if (slot?.chosen) return this.#acceptChosen(ballot, value, slot);
    if (slot?.ballot === ballot) {
      invariant(sameValue(slot.value, value), `paxos: two values at instance ${instance}, ballot ${ballot}`);
      // If it is not on disk yet, the answer to the first copy is still to leave.
      return this.#window.isDurable(slot.record);
    }
    if (!this.#window.hasRoom(instance, value.length)) return false;
    const record = this.#window.record(instance, ballot, value, effects);
    if (ballot > this.#promised) {
      this.#promised = ballot;
      this.#promisedRecord = record;
    }
    return true;
  }

  /**
   * A value known to be chosen is never overwritten; a vote for the same value is harmless, as no other can follow.
   * Another value is a late proposal from before it was chosen, unless its ballot is above the one it was chosen at.
   */
  #acceptChosen(ballot: Ballot, value: ValueBytes, slot: Slot): boolean {
    if (sameValue(slot.value, value)) return this.#window.isDurable(slot.record);
    invariant(
      slot.ballot === CHOSEN_BALLOT || ballot < slot.ballot,
      `paxos: another value proposed at instance ${slot.instance}, ballot ${ballot}, than chosen at ${slot.ballot}`,
    );
    return false;
  }
}
