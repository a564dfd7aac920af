import type { MonoMs, NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';
import { type LeaseKey, leaseKeyOf } from './lease-clock.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogValue } from './values.ts';

/** Wall against monotonic clock: a difference above this since the proposal means the machine was suspended. */
export const CLOCK_JUMP_MS_MAX = 500;
/** Proposals remembered until applied; more than one renewal is never under way in earnest. */
const PROPOSALS_MAX = 64;

type Times = Readonly<{ now: MonoMs; wall: number }>;

/**
 * How long this node itself may say that it holds the lease (invariant I5): `leaseMs` counted from before it proposed the
 * election or renewal, known only once that value was applied as accepted, and only if this process proposed it.
 */
export class HolderLease {
  readonly #self: NodeId;
  readonly #leaseMs: number;
  /** Lease value to the first time this process proposed it: of two copies the older one may be what was chosen. */
  readonly #proposed = new Map<string, Times>();
  #held: (LeaseKey & Times) | null = null;
  /** Epochs up to here were released by this process: nothing holds them again. */
  #endedEpoch = 0;

  constructor(self: NodeId, leaseMs: number) {
    this.#self = self;
    this.#leaseMs = leaseMs;
  }

  /** To be called before the value leaves. */
  proposing(value: LogValue, times: Times): void {
    const key = keyOf(value, this.#self);
    if (key === null) return;
    const name = nameOf(key);
    if (this.#proposed.has(name)) return;
    if (this.#proposed.size >= PROPOSALS_MAX) this.#proposed.delete(this.#proposed.keys().next().value as string);
    this.#proposed.set(name, times);
  }

  /** `state` is the state after `value` was applied, `applied` when that was. */
  applied(value: LogValue, accepted: boolean, state: ReplicatedState, applied: Times): void {
    this.installed(state);
    const key = keyOf(value, this.#self);
    if (key === null || !accepted || state.master !== this.#self) return;
    const name = nameOf(key);
    const times = ruleHolds('lease-from-proposal') ? this.#proposed.get(name) : applied;
    this.#proposed.delete(name);
    if (times !== undefined && key.epoch > this.#endedEpoch) this.#held = { ...key, ...times };
  }

  /** The log says so much; a lease of another epoch is none. */
  installed(state: ReplicatedState): void {
    if (this.#held !== null && (!state.open || state.master !== this.#self || state.epoch !== this.#held.epoch)) {
      this.#held = null;
    }
  }

  /** The holder gives the lease up: at once, and for the whole epoch. */
  end(epoch: number): void {
    this.#endedEpoch = Math.max(this.#endedEpoch, epoch);
    if (this.#held !== null && this.#held.epoch <= epoch) this.#held = null;
  }

  /** 0 unless this node holds the lease. */
  remainingMs(times: Times): number {
    const held = this.#held;
    if (held === null) return 0;
    if (Math.abs(times.wall - held.wall - (times.now - held.now)) > CLOCK_JUMP_MS_MAX) {
      this.#held = null;
      return 0;
    }
    return Math.max(0, held.now + this.#leaseMs - times.now);
  }
}

/** A transfer to this node gives it no lease: it did not propose it (protocol-findings 7). */
function keyOf(value: LogValue, self: NodeId): LeaseKey | null {
  if (value.kind === 'transfer' && ruleHolds('lease-from-proposal')) return null;
  if (value.kind === 'elect' && value.node !== self) return null;
  return leaseKeyOf(value);
}

const nameOf = ({ epoch, renewal, incarnation }: LeaseKey): string => `${epoch}/${renewal}/${incarnation}`;
