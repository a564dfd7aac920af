import { type Epoch, epochOf, type MonoMs, type NodeId } from '../base/brands.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogValue } from './values.ts';

/** Names a lease value: the election or transfer that began `epoch` (renewal 0) or one of its renewals. */
export type LeaseKey = Readonly<{ epoch: Epoch; renewal: number }>;

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
  #newest: (LeaseKey & Readonly<{ at: number }>) | null = null;

  constructor(times: LeaseTimes) {
    this.#takeoverMs = times.takeoverMs;
  }

  /** A newer key replaces the one before; of equal ones the earliest sighting counts. `ageMs`: how long ago a peer saw it. */
  observe(key: LeaseKey, now: MonoMs, ageMs = 0): void {
    const at = now - Math.max(0, ageMs);
    const order = this.#newest === null ? 1 : compareKeys(key, this.#newest);
    if (order > 0) this.#newest = { epoch: key.epoch, renewal: key.renewal, at };
    else if (order === 0 && this.#newest !== null && at < this.#newest.at) this.#newest = { ...this.#newest, at };
  }

  /** Until the open epoch may be fenced by others; 0 when it may, or when no epoch is open. Never seen: the whole time. */
  takeoverInMs(state: Pick<ReplicatedState, 'open' | 'epoch' | 'renewal'>, now: MonoMs): number {
    if (!state.open) return 0;
    const newest = this.#newest;
    if (newest === null || compareKeys(newest, state) < 0) return this.#takeoverMs;
    return Math.max(0, newest.at + this.#takeoverMs - now);
  }

  /** Another node's lease runs by this clock: `candidate` gets no promise. */
  forbids(
    candidate: NodeId,
    state: Pick<ReplicatedState, 'open' | 'epoch' | 'renewal' | 'master'>,
    now: MonoMs,
  ): boolean {
    return state.open && state.master !== candidate && this.takeoverInMs(state, now) > 0;
  }

  newest(): LeaseAge | null {
    const newest = this.#newest;
    if (newest === null) return null;
    return { epoch: newest.epoch, renewal: newest.renewal, ageMs: (now) => Math.max(0, now - newest.at) };
  }
}

/** The lease key a value stands for, before it is known whether it will be accepted; null if it extends no lease. */
export function leaseKeyOf(value: LogValue): LeaseKey | null {
  switch (value.kind) {
    case 'elect':
      return { epoch: epochOf(value.basedOnEpoch + 1), renewal: 0 };
    case 'transfer':
      return { epoch: epochOf(value.epoch + 1), renewal: 0 };
    case 'renew':
      return { epoch: value.epoch, renewal: value.renewal };
    default:
      return null;
  }
}

function compareKeys(a: LeaseKey, b: LeaseKey): number {
  return a.epoch - b.epoch || a.renewal - b.renewal;
}
