import { type Ballot, type InstanceId, instanceId, NO_BALLOT, NO_INSTANCE } from '../base/brands.ts';
import { invariant } from '../base/invariant.ts';
import { CHOSEN_BALLOT } from './paxos/types.ts';
import { firstRetained, type LogBase, type SavedState } from './store-port.ts';
import { type Checkpoint, type JournalRecord, SEGMENT_INSTANCES, type Slot } from './store-records.ts';

/** A checkpoint is due when this many instances, or bytes of values, could be sealed, or with this many journal records. */
export const CHECKPOINT_INSTANCES = 1024;
export const CHECKPOINT_BYTES = 32 * 1024 * 1024;
export const CHECKPOINT_JOURNAL = 64;

/** Of an instance that was purged while its segment was open. */
const NO_SLOT: Slot = { seq: 0, crc: 0, length: 0 };

type EntryKey = Readonly<{ instance: InstanceId; seq: number }>;
type JournalKey = Readonly<{ position: InstanceId; seq: number }>;

export type CheckpointPlan = Readonly<{
  checkpoint: Checkpoint;
  segments: readonly Readonly<{ last: InstanceId; slots: readonly Slot[] }>[];
  /** Replaced versions of sealed instances, and journal records that the checkpoint contains. */
  obsoleteEntries: readonly EntryKey[];
  obsoleteJournal: readonly JournalKey[];
}>;

/**
 * What the store knows of its own records without reading them: the live region above `sealed` (store-records.ts has the
 * drawing). Pure bookkeeping; it describes what is on disk, so it is told of a write only after the fsync.
 * Bounded by the core's window plus what is applied but not yet sealed.
 */
export class Ledger {
  #sealed: InstanceId;
  #base: LogBase | null;
  #promised: Ballot;
  #durableSeq: number;
  #highest: InstanceId;
  #applied: SavedState | null;
  readonly #meta: Map<string, string>;
  /** The newest record of each instance above `sealed`. */
  readonly #live = new Map<InstanceId, Slot>();
  /** Older records of those instances; they stay until the instance is sealed, as their numbers are accounted for. */
  #replaced: EntryKey[] = [];
  #journal: JournalKey[] = [];
  #liveBytes = 0;

  constructor(checkpoint: Checkpoint) {
    this.#sealed = checkpoint.sealed;
    this.#base = checkpoint.base;
    this.#promised = checkpoint.promised;
    this.#durableSeq = checkpoint.seq;
    this.#highest = instanceId(Math.max(checkpoint.sealed, this.firstRetained - 1));
    this.#applied = checkpoint.applied;
    this.#meta = new Map(Object.entries(checkpoint.meta));
  }

  get sealed(): InstanceId {
    return this.#sealed;
  }
  get base(): LogBase | null {
    return this.#base;
  }
  get firstRetained(): InstanceId {
    return firstRetained(this.#base);
  }
  /** Up to here nothing new is written about an instance but the promise in it: it is chosen, final, and here or gone. */
  get settled(): InstanceId {
    return instanceId(Math.max(this.#sealed, this.firstRetained - 1));
  }
  /** Highest ballot promised or accepted at: to accept is to promise. */
  get promised(): Ballot {
    return this.#promised;
  }
  get durableSeq(): number {
    return this.#durableSeq;
  }
  get applied(): SavedState | null {
    return this.#applied;
  }
  get appliedIndex(): InstanceId {
    return this.#applied?.appliedIndex ?? NO_INSTANCE;
  }
  get meta(): ReadonlyMap<string, string> {
    return this.#meta;
  }
  /** Neither promised nor accepted anything, ever. */
  get isEmpty(): boolean {
    return this.#promised === NO_BALLOT && this.#highest === NO_INSTANCE;
  }
  /** Where a journal record goes: above every instance, so that keys grow. */
  get journalPosition(): InstanceId {
    return instanceId(this.#highest + 1);
  }

  slot(instance: InstanceId): Slot | undefined {
    return this.#live.get(instance);
  }

  noteEntry(instance: InstanceId, ballot: Ballot, slot: Slot): void {
    invariant(instance > this.settled, `store entry ${instance} is settled (up to ${this.settled})`);
    const old = this.#live.get(instance);
    if (old !== undefined) {
      this.#replaced.push({ instance, seq: old.seq });
      this.#liveBytes -= old.length;
    }
    this.#live.set(instance, slot);
    if (ballot !== CHOSEN_BALLOT && ballot > this.#promised) this.#promised = ballot;
    this.#liveBytes += slot.length;
    if (instance > this.#highest) this.#highest = instance;
    if (slot.seq > this.#durableSeq) this.#durableSeq = slot.seq;
  }

  noteJournal(position: InstanceId, seq: number, record: JournalRecord): void {
    this.#journal.push({ position, seq });
    if (record.kind === 'meta') this.#meta.set(record.key, record.value);
    else if (record.ballot > this.#promised) this.#promised = record.ballot;
    if (seq > this.#durableSeq) this.#durableSeq = seq;
  }

  /** The first instance up to `state.appliedIndex` that is not there, or null; then the state counts. */
  noteApplied(state: SavedState): InstanceId | null {
    for (let i = Math.max(this.#sealed, this.appliedIndex) + 1; i <= state.appliedIndex; i += 1) {
      if (!this.#live.has(instanceId(i))) return instanceId(i);
    }
    if (state.appliedIndex >= this.appliedIndex) this.#applied = state;
    return null;
  }

  /** A checkpoint is worth its bytes in the next write. */
  get checkpointDue(): boolean {
    const sealable = this.#sealable - this.#sealed;
    return (
      sealable >= CHECKPOINT_INSTANCES ||
      (sealable > 0 && this.#liveBytes >= CHECKPOINT_BYTES) ||
      this.#journal.length > CHECKPOINT_JOURNAL
    );
  }

  /** A checkpoint would shorten the next open at all. */
  get checkpointUseful(): boolean {
    return this.#sealable > this.#sealed || this.#journal.length > 0;
  }

  /** `base`: purge up to it. */
  planCheckpoint(base: LogBase | null = this.#base): CheckpointPlan {
    const sealed = this.#sealable;
    const segments: { last: InstanceId; slots: Slot[] }[] = [];
    for (let first = this.#sealed + 1; first <= sealed; first += SEGMENT_INSTANCES) {
      const slots = Array.from({ length: SEGMENT_INSTANCES }, (_, i) => {
        const slot = this.#live.get(instanceId(first + i)) ?? (first + i < this.firstRetained ? NO_SLOT : undefined);
        invariant(slot !== undefined, `applied instance ${first + i} is not in the store`);
        return slot;
      });
      segments.push({ last: instanceId(first + SEGMENT_INSTANCES - 1), slots });
    }
    const open: number[] = [];
    for (const [instance, slot] of this.#live) if (instance > sealed) open.push(slot.seq);
    for (const { instance, seq } of this.#replaced) if (instance > sealed) open.push(seq);
    return {
      checkpoint: {
        sealed,
        seq: this.#durableSeq,
        promised: this.#promised,
        open: open.sort((a, b) => a - b),
        meta: Object.fromEntries(this.#meta),
        applied: this.#applied,
        base,
      },
      segments,
      obsoleteEntries: this.#replaced.filter(({ instance }) => instance <= sealed),
      obsoleteJournal: this.#journal,
    };
  }

  /** Everything up to the base's index is replaced by it; what lies above stays open. */
  planInstall(base: LogBase): CheckpointPlan {
    const upTo = base.appliedIndex;
    invariant(upTo > this.appliedIndex, `snapshot of ${upTo} over a state of ${this.appliedIndex}`);
    const sealed = instanceId(Math.floor(upTo / SEGMENT_INSTANCES) * SEGMENT_INSTANCES);
    const keys: EntryKey[] = [...this.#replaced];
    for (const [instance, { seq }] of this.#live) keys.push({ instance, seq });
    const open = keys.filter(({ instance }) => instance > upTo).map(({ seq }) => seq);
    return {
      checkpoint: {
        sealed,
        seq: this.#durableSeq,
        promised: this.#promised,
        open: open.sort((a, b) => a - b),
        meta: Object.fromEntries(this.#meta),
        applied: { appliedIndex: upTo, json: base.json },
        base,
      },
      segments: [],
      // What lies before the checkpoint is deleted in slices; what lies behind it would be found when the store is opened.
      obsoleteEntries: keys.filter(({ instance }) => instance > sealed && instance <= upTo),
      obsoleteJournal: this.#journal,
    };
  }

  /** The plan is on disk. Nothing but a write's own records may have been noted since it was made. */
  noteCheckpoint(plan: CheckpointPlan): void {
    const { sealed, base, applied } = plan.checkpoint;
    this.#base = base;
    this.#sealed = sealed;
    if (applied !== null && applied.appliedIndex > this.appliedIndex) this.#applied = applied;
    const { settled } = this;
    for (const [instance, slot] of this.#live) {
      if (instance > settled) continue;
      this.#liveBytes -= slot.length;
      this.#live.delete(instance);
    }
    this.#replaced = this.#replaced.filter(({ instance }) => instance > settled);
    if (this.#highest < settled) this.#highest = settled;
    const dropped = new Set(plan.obsoleteJournal);
    this.#journal = this.#journal.filter((key) => !dropped.has(key));
  }

  get #sealable(): InstanceId {
    return instanceId(Math.max(this.#sealed, Math.floor(this.appliedIndex / SEGMENT_INSTANCES) * SEGMENT_INSTANCES));
  }
}

/** What is wrong with the numbers found behind a checkpoint, or null: they must be its open ones and all newer ones. */
export function findGap(checkpoint: Checkpoint, seqs: readonly number[]): string | null {
  const found = [...seqs].sort((a, b) => a - b);
  const expected = [...checkpoint.open];
  const newest = Math.max(checkpoint.seq, found.at(-1) ?? 0);
  for (let seq = checkpoint.seq + 1; seq <= newest && expected.length <= found.length; seq += 1) expected.push(seq);
  for (let i = 0; i < Math.max(found.length, expected.length); i += 1) {
    const seq = found[i];
    const wanted = expected[i];
    if (seq === wanted) continue;
    if (wanted !== undefined && (seq === undefined || seq > wanted)) return `acceptor record ${wanted} is missing`;
    return `acceptor record ${seq} should not be there`;
  }
  return null;
}
