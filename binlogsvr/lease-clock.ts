import { type Epoch, epochOf, type MonoMs, type NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogValue } from './values.ts';

/** Where a lease value stands: the election or transfer that began `epoch` (renewal 0) or one of its renewals. */
type Place = Readonly<{ epoch: Epoch; renewal: number }>;

/**
 * Names a lease value. The process that proposed it belongs to the name: a renewal proposed by a process that died, and
 * again by its successor, is two leases that run from two times, of which one will be chosen.
 */
export type LeaseKey = Place & Readonly<{ incarnation: number }>;

type Lease = Pick<ReplicatedState, 'open' | 'epoch' | 'renewal' | 'leaseIncarnation'>;

/** Proposers of one place remembered: beyond it the earliest sighting is forgotten, which only makes elections wait. */
const SIGHTINGS_MAX = 8;

/** The newest lease value known, and how long ago it was first accepted or learned, as peers are told it. */
export type LeaseAge = LeaseKey & Readonly<{ ageMs: (now: MonoMs) => number }>;

/**
 * When this node first accepted or learned the newest lease value, by its own monotonic clock. This only ever delays
 * elections and never allows a read (protocol-findings 7, 17). Ages told by peers move a sighting back, never forward,
 * so that nobody waits twice for the same renewal. A restarted node has seen nothing: whoever observes the current
 * state's key then observes it "now".
 */
export class LeaseClock {
  readonly #takeoverMs: number;
  #newest: Place | null = null;
  /** Incarnation to first sighting, of the values at `#newest`. */
  #sightings = new Map<number, number>();

  constructor(times: LeaseTimes) {
    this.#takeoverMs = times.takeoverMs;
  }

  /** A newer key replaces the one before; of equal ones the earliest sighting counts. `ageMs`: how long ago a peer saw it. */
  observe(key: LeaseKey, now: MonoMs, ageMs = 0): void {
    const at = now - Math.max(0, ageMs);
    const order = this.#newest === null ? 1 : compare(key, this.#newest);
    if (order < 0) return;
    if (order > 0) {
      this.#newest = { epoch: key.epoch, renewal: key.renewal };
      this.#sightings = new Map();
    }
    const before = this.#sightings.get(key.incarnation) ?? Number.POSITIVE_INFINITY;
    this.#sightings.set(key.incarnation, ruleHolds('first-sighting-counts') ? Math.min(before, at) : at);
    if (this.#sightings.size <= SIGHTINGS_MAX) return;
    const [earliest] = [...this.#sightings].sort((a, b) => a[1] - b[1])[0] as [number, number];
    this.#sightings.delete(earliest);
  }

  /** Until the open epoch may be fenced by others; 0 when it may, or when no epoch is open. Never seen: the whole time. */
  takeoverInMs(state: Lease, now: MonoMs): number {
    if (!state.open) return 0;
    const order = this.#newest === null ? -1 : compare(this.#newest, state);
    if (order < 0) return this.#takeoverMs;
    // Which of several proposals above the state will be chosen is open: the last one seen counts.
    const at = (order === 0 ? this.#sightings.get(state.leaseIncarnation) : undefined) ?? this.#latest().at;
    return Math.max(0, at + this.#takeoverMs - now);
  }

  /** Another node's lease runs by this clock: `candidate` gets no promise. */
  forbids(candidate: NodeId, state: Lease & Pick<ReplicatedState, 'master'>, now: MonoMs): boolean {
    return state.open && state.master !== candidate && this.takeoverInMs(state, now) > 0;
  }

  newest(): LeaseAge | null {
    const newest = this.#newest;
    if (newest === null) return null;
    const { at, incarnation } = this.#latest();
    return { ...newest, incarnation, ageMs: (now) => Math.max(0, now - at) };
  }

  #latest(): Readonly<{ incarnation: number; at: number }> {
    let latest = { incarnation: 0, at: Number.NEGATIVE_INFINITY };
    for (const [incarnation, at] of this.#sightings) if (at > latest.at) latest = { incarnation, at };
    return latest;
  }
}

/** The lease key a value stands for, before it is known whether it will be accepted; null if it extends no lease. */
export function leaseKeyOf(value: LogValue): LeaseKey | null {
  switch (value.kind) {
    case 'elect':
      return { epoch: epochOf(value.basedOnEpoch + 1), renewal: 0, incarnation: proposerOf(value) };
    case 'transfer':
      return { epoch: epochOf(value.epoch + 1), renewal: 0, incarnation: 0 };
    case 'renew':
      return { epoch: value.epoch, renewal: value.renewal, incarnation: proposerOf(value) };
    default:
      return null;
  }
}

function proposerOf(value: Extract<LogValue, { kind: 'elect' | 'renew' }>): number {
  return ruleHolds('lease-names-proposer') ? (value.incarnation ?? 0) : 0;
}

function compare(a: Place, b: Place): number {
  return a.epoch - b.epoch || a.renewal - b.renewal;
}
