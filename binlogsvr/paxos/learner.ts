import { type Ballot, type InstanceId, NO_BALLOT, NO_INSTANCE, type NodeId } from '../../base/brands.ts';
import { invariant } from '../../base/invariant.ts';
import type { Random } from '../../base/ports.ts';
import { LEARN_RETRY_MS, type PaxosBounds } from './bounds.ts';
import { after, type LogWindow, sameValue } from './log-window.ts';
import { CHOSEN_BALLOT, type Effects, type Message } from './types.ts';

type Learned = Extract<Message, { kind: 'learned' }>;

/**
 * Finds out what was chosen (Paxos Made Simple, 2.3). The leader's word "chosen up to here" settles what was accepted at
 * just that ballot; the rest is asked from peers that are ahead, one request at a time, in pieces the server bounds.
 *
 * A commit often overtakes the (bulky) accept it speaks of, so a gap is asked for only if it is still there one tick
 * later; a campaign that must catch up and a peer far ahead are no such case and asked at once.
 */
export class Learner {
  readonly #window: LogWindow;
  readonly #bounds: PaxosBounds;
  readonly #random: Random;
  /** How far each peer last said it is. May go back: a restarted peer knows less. */
  readonly #peers = new Map<NodeId, InstanceId>();
  /** The newest commit heard: accepts of that ballot which come after it are chosen as they come. */
  #commit: Readonly<{ ballot: Ballot; upTo: InstanceId }> = { ballot: NO_BALLOT, upTo: NO_INSTANCE };
  #asked: Readonly<{ to: NodeId; from: InstanceId; at: number }> | null = null;
  #lastAsked: NodeId | null = null;
  /** Where the best peer was at the last tick, if this node was behind it. */
  #lag: InstanceId | null = null;
  /** The last answer brought nothing: no new request before the next tick. */
  #resting = false;
  #now = 0;

  constructor(window: LogWindow, bounds: PaxosBounds, random: Random) {
    this.#window = window;
    this.#bounds = bounds;
    this.#random = random;
  }

  /** `peer` said that it is this far; `ballot` other than 0: that what was accepted at it up to there is chosen. */
  onCommit(peer: NodeId, ballot: Ballot, upTo: InstanceId, effects: Effects): void {
    this.hear(peer, upTo);
    if (ballot !== NO_BALLOT) this.#settle(ballot, upTo);
    if (this.#asked?.to === peer && upTo < this.#asked.from) {
      this.#asked = null; // it cannot serve what it was asked for
      this.#resting = true;
    }
    if (upTo > this.#window.chosenUpTo + this.#bounds.aheadInstances) this.hurry(effects);
  }

  hear(peer: NodeId, upTo: InstanceId): void {
    this.#peers.set(peer, upTo);
  }

  /** Instances were accepted at `ballot`: a commit heard before may cover them. */
  onAccepted(ballot: Ballot): void {
    if (ballot === this.#commit.ballot) this.#mark(ballot, this.#commit.upTo);
  }

  /** Throws InvariantError if a value differs from one known chosen: consensus is broken and nothing may go on. */
  onLearned(from: NodeId, learned: Learned, effects: Effects): void {
    this.hear(from, learned.chosenUpTo);
    const known = this.#window.knownUpTo;
    for (const { instance, value } of learned.entries) {
      if (instance <= this.#window.chosenUpTo) continue;
      const slot = this.#window.get(instance);
      if (slot !== undefined && sameValue(slot.value, value)) {
        this.#window.markChosen(slot);
        continue;
      }
      invariant(
        slot === undefined || !slot.chosen,
        `paxos: node ${from} learned another value at instance ${instance}`,
      );
      if (instance !== after(this.#window.knownUpTo) && !this.#window.hasRoom(instance, value.length)) break;
      this.#window.record(instance, CHOSEN_BALLOT, value, effects);
    }
    const progress = this.#window.knownUpTo > known;
    if (this.#asked?.to === from) {
      this.#asked = null;
      this.#resting = !progress;
    }
    if (progress) this.hurry(effects);
  }

  /** A peer wants chosen values; the replica reads them from the store. */
  onLearn(from: NodeId, first: InstanceId, effects: Effects): void {
    if (first > NO_INSTANCE && first <= this.#window.chosenUpTo) {
      effects.serveLearn.push({ to: from, from: first });
      return;
    }
    const hint: Message = { kind: 'commit', ballot: NO_BALLOT, chosenUpTo: this.#window.chosenUpTo };
    effects.sendNow.push({ to: from, message: hint });
  }

  /** Asks for what is missing unless a request is out, the last one was fruitless or the disk has enough to write. */
  hurry(effects: Effects): void {
    if (this.#asked !== null || this.#resting) return;
    if (this.#window.unwrittenBytes() > this.#bounds.learnPendingBytes) return;
    const known = this.#window.knownUpTo;
    const able = [...this.#peers.keys()].filter((peer) => (this.#peers.get(peer) as InstanceId) > known);
    if (able.length === 0) return;
    const to = this.#next(able.sort((a, b) => a - b));
    this.#asked = { to, from: after(known), at: this.#now };
    this.#lastAsked = to;
    effects.sendNow.push({ to, message: { kind: 'learn', from: after(known) } });
  }

  onPersisted(effects: Effects): void {
    if (this.#lag !== null && this.#window.knownUpTo < this.#lag) this.hurry(effects);
  }

  /** What was asked for is no longer wanted. */
  onInstalled(): void {
    this.#asked = null;
    this.#resting = false;
  }

  /** The stream to this peer is new: what was asked over the old one is lost. */
  onPeerUp(peer: NodeId): void {
    if (this.#asked?.to === peer) this.#asked = null;
  }

  onTick(now: number, effects: Effects): void {
    this.#now = now;
    this.#resting = false;
    if (this.#asked !== null && now - this.#asked.at >= LEARN_RETRY_MS) this.#asked = null;
    const known = this.#window.knownUpTo;
    if (this.#lag !== null && known < this.#lag) this.hurry(effects);
    let best: InstanceId = NO_INSTANCE;
    for (const upTo of this.#peers.values()) if (upTo > best) best = upTo;
    this.#lag = best > known ? best : null;
  }

  /** Round-robin, so that a peer that does not answer is followed by another; the first by chance. */
  #next(able: readonly NodeId[]): NodeId {
    const last = this.#lastAsked;
    if (last === null) return able[this.#random.below(able.length)] as NodeId;
    return able.find((peer) => peer > last) ?? (able[0] as NodeId);
  }

  #settle(ballot: Ballot, upTo: InstanceId): void {
    if (ballot > this.#commit.ballot || (ballot === this.#commit.ballot && upTo > this.#commit.upTo)) {
      this.#commit = { ballot, upTo };
    }
    this.#mark(ballot, upTo);
  }

  /** A leader proposes one value per instance and ballot, so what was accepted at its ballot is what it saw chosen. */
  #mark(ballot: Ballot, upTo: InstanceId): void {
    for (const slot of this.#window.slots()) {
      if (slot.ballot === ballot && slot.instance <= upTo) this.#window.markChosen(slot);
    }
  }
}
