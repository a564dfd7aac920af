import { type Ballot, type InstanceId, instanceId } from '../../base/brands.ts';
import { invariant } from '../../base/invariant.ts';
import { ruleHolds } from '../../base/rules.ts';
import type { PaxosBounds } from './bounds.ts';
import { CHOSEN_BALLOT, type Chosen, type Effects, type Entry, type ValueBytes } from './types.ts';

/** What this node holds for one instance above the last emitted one. */
export type Slot = Readonly<{
  instance: InstanceId;
  /** Highest ballot this node accepted here, CHOSEN_BALLOT if the value was learned from a peer. */
  ballot: Ballot;
  value: ValueBytes;
  /** Number of the record that holds this ballot and value; 0 if it was on disk at the start. */
  record: number;
  /** Known to be chosen. */
  chosen: boolean;
}>;

/**
 * The unsettled end of the log: everything above `chosenUpTo`, shared by acceptor, learner and proposer. It also counts
 * the records handed out for writing, so that a late `persisted` answers for exactly the records it covers: a slot that
 * was overwritten meanwhile carries a newer record number and is not durable yet.
 */
export class LogWindow {
  readonly #bounds: PaxosBounds;
  readonly #slots = new Map<InstanceId, Slot>();
  #chosenUpTo: InstanceId;
  #knownUpTo: InstanceId;
  #highest: InstanceId;
  #bytes = 0;
  #handedOut = 0;
  #durable = 0;

  /** `tail`: accepted entries found on disk, in any order; those at or below `chosenUpTo` are ignored. */
  constructor(chosenUpTo: InstanceId, tail: readonly Entry[], bounds: PaxosBounds) {
    this.#bounds = bounds;
    this.#chosenUpTo = chosenUpTo;
    this.#knownUpTo = chosenUpTo;
    this.#highest = chosenUpTo;
    for (const entry of tail) {
      const known = this.#slots.get(entry.instance);
      if (entry.instance <= chosenUpTo || (known !== undefined && known.ballot >= entry.ballot)) continue;
      this.#put({ ...entry, record: 0, chosen: entry.ballot === CHOSEN_BALLOT });
    }
  }

  /** Everything up to here is chosen, durable on this node and was emitted. */
  get chosenUpTo(): InstanceId {
    return this.#chosenUpTo;
  }

  /** Everything up to here is known to be chosen, though perhaps not durable yet. */
  get knownUpTo(): InstanceId {
    while (this.#slots.get(after(this.#knownUpTo))?.chosen) this.#knownUpTo = after(this.#knownUpTo);
    return this.#knownUpTo;
  }

  /** The highest instance this node ever accepted or learned. */
  get highest(): InstanceId {
    return this.#highest;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get handedOut(): number {
    return this.#handedOut;
  }

  get(instance: InstanceId): Slot | undefined {
    return this.#slots.get(instance);
  }

  slots(): IterableIterator<Slot> {
    return this.#slots.values();
  }

  /** In instance order, as a promise reports them. */
  entries(): Entry[] {
    return [...this.#slots.values()]
      .map(({ instance, ballot, value }) => ({ instance, ballot, value }))
      .sort((a, b) => a.instance - b.instance);
  }

  hasRoom(instance: InstanceId, bytes: number): boolean {
    if (instance === after(this.#chosenUpTo)) return true;
    return instance <= this.#chosenUpTo + this.#bounds.aheadInstances && this.#bytes + bytes <= this.#bounds.aheadBytes;
  }

  /** Bytes known to be chosen without a gap, which wait only for the disk. */
  unwrittenBytes(): number {
    const known = this.knownUpTo;
    let bytes = 0;
    for (const slot of this.#slots.values()) if (slot.instance <= known) bytes += slot.value.length;
    return bytes;
  }

  /** Hands out a record that says no more than this ballot; returns its number. */
  recordPromise(ballot: Ballot, effects: Effects): number {
    effects.persist.push({ kind: 'promised', ballot });
    this.#handedOut += 1;
    return this.#handedOut;
  }

  /** Replaces what is held for the instance and hands out the record for it; returns its number. */
  record(instance: InstanceId, ballot: Ballot, value: ValueBytes, effects: Effects): number {
    invariant(instance > this.#chosenUpTo, `paxos: instance ${instance} written though ${this.#chosenUpTo} is settled`);
    effects.persist.push({ kind: 'accepted', entry: { instance, ballot, value } });
    this.#handedOut += 1;
    const chosen = ballot === CHOSEN_BALLOT || this.#slots.get(instance)?.chosen === true;
    this.#put({ instance, ballot, value, record: this.#handedOut, chosen });
    return this.#handedOut;
  }

  markChosen(slot: Slot): void {
    if (!slot.chosen) this.#slots.set(slot.instance, { ...slot, chosen: true });
  }

  isDurable(record: number): boolean {
    return record <= this.#durable;
  }

  /** The store has written all records up to the `upTo`-th handed out since the start. Late answers are harmless. */
  persisted(upTo: number): void {
    invariant(upTo <= this.#handedOut, `paxos: record ${upTo} persisted, only ${this.#handedOut} were handed out`);
    if (upTo > this.#durable) this.#durable = upTo;
  }

  /**
   * Everything up to there is chosen and durable without being held here. What was accepted above it stays, and so do the
   * promises: an acceptor forgets nothing it may still be asked about.
   */
  installed(upTo: InstanceId): void {
    invariant(upTo > this.#chosenUpTo, `paxos: snapshot of ${upTo} though ${this.#chosenUpTo} is settled`);
    for (const slot of this.#slots.values()) {
      if (slot.instance > upTo) continue;
      this.#slots.delete(slot.instance);
      this.#bytes -= slot.value.length;
    }
    this.#chosenUpTo = upTo;
    if (this.#knownUpTo < upTo) this.#knownUpTo = upTo;
    if (this.#highest < upTo) this.#highest = upTo;
  }

  /** Emits what has become chosen and durable without a gap. */
  drain(out: Chosen[]): void {
    for (;;) {
      const slot = ruleHolds('apply-in-order') ? this.#slots.get(after(this.#chosenUpTo)) : this.#firstChosen();
      if (slot === undefined || !slot.chosen || !this.isDurable(slot.record)) return;
      this.#slots.delete(slot.instance);
      this.#bytes -= slot.value.length;
      this.#chosenUpTo = slot.instance;
      if (this.#knownUpTo < slot.instance) this.#knownUpTo = slot.instance;
      out.push({ instance: slot.instance, value: slot.value });
    }
  }

  #firstChosen(): Slot | undefined {
    const chosen = [...this.#slots.values()].filter((slot) => slot.chosen && slot.instance > this.#chosenUpTo);
    return chosen.sort((a, b) => a.instance - b.instance)[0];
  }

  #put(slot: Slot): void {
    this.#bytes += slot.value.length - (this.#slots.get(slot.instance)?.value.length ?? 0);
    this.#slots.set(slot.instance, slot);
    if (slot.instance > this.#highest) this.#highest = slot.instance;
  }
}

export function after(instance: InstanceId): InstanceId {
  return instanceId(instance + 1);
}

export function sameValue(a: ValueBytes, b: ValueBytes): boolean {
  return a === b || Buffer.compare(a, b) === 0;
}
