import { epochOf, type NodeId } from '../base/brands.ts';
import type { Clock } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import type { LeaseTimes } from '../base/topology.ts';
import { HolderLease } from './holder-lease.ts';
import { LeaseClock, leaseKeyOf } from './lease-clock.ts';
import type { Entry } from './paxos/types.ts';
import type { LeaseAge } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';
import { peekLeaseKey } from './value-peek.ts';
import type { LogValue } from './values.ts';

/**
 * The two clocks of the lease, which must not be mixed (protocol-findings 7): the holder's own, which allows reads, and
 * everybody's, which only delays elections.
 */
export class Leases {
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #everybody: LeaseClock;
  readonly #holder: HolderLease;
  #wasDue = false;

  /** When what is in the store was first said nobody remembers: it counts as said now, until a peer tells an older age. */
  constructor(self: NodeId, times: LeaseTimes, clock: Clock, state: ReplicatedState, tail: readonly Entry[]) {
    this.#self = self;
    this.#clock = clock;
    this.#everybody = new LeaseClock(times);
    this.#holder = new HolderLease(self, times.leaseMs);
    const { open, epoch, renewal, leaseIncarnation: incarnation } = state;
    if (open) this.#everybody.observe({ epoch, renewal, incarnation }, clock.now());
    for (const entry of tail) this.accepting(entry.value);
  }

  /** Before a value of this node's leaves. */
  proposing(value: LogValue): void {
    this.#holder.proposing(value, { now: this.#clock.now(), wall: this.#clock.wall() });
  }

  /** A value is about to be accepted here; bulk is not decoded for it. */
  accepting(value: Uint8Array): void {
    const key = peekLeaseKey(value);
    if (key !== null && ruleHolds('takeover-from-accepting')) this.#everybody.observe(key, this.#clock.now());
  }

  /** `state`: after the value was applied. */
  applied(value: LogValue, accepted: boolean, state: ReplicatedState): void {
    const key = leaseKeyOf(value);
    const now = this.#clock.now();
    if (key !== null) this.#everybody.observe(key, now);
    this.#holder.applied(value, accepted, state, { now, wall: this.#clock.wall() });
  }

  /** A snapshot brought another state: when its lease value was first heard of nobody here knows. */
  installed(state: ReplicatedState): void {
    const { open, epoch, renewal, leaseIncarnation: incarnation } = state;
    if (open) this.#everybody.observe({ epoch, renewal, incarnation }, this.#clock.now());
    this.#holder.installed(state);
  }

  /** A peer told when it first heard of the newest lease value it knows. */
  told(age: LeaseAge | null): void {
    if (age === null || !ruleHolds('lease-age-is-told')) return;
    const { epoch, renewal, incarnation = 0, ageMs } = age;
    this.#everybody.observe({ epoch: epochOf(epoch), renewal, incarnation }, this.#clock.now(), ageMs);
  }

  /** What to tell peers. */
  age(): LeaseAge | null {
    const newest = this.#everybody.newest();
    if (newest === null) return null;
    return { ...newest, ageMs: newest.ageMs(this.#clock.now()) };
  }

  takeoverInMs(state: ReplicatedState): number {
    return this.#everybody.takeoverInMs(state, this.#clock.now());
  }

  /** True once after each change of whether the lease may be taken over. */
  takeoverDueChanged(state: ReplicatedState): boolean {
    const due = state.open && this.takeoverInMs(state) <= 0;
    if (due === this.#wasDue) return false;
    this.#wasDue = due;
    return true;
  }

  forbids(candidate: NodeId, state: ReplicatedState): boolean {
    return this.#everybody.forbids(candidate, state, this.#clock.now());
  }

  release(epoch: number): void {
    this.#holder.end(epoch);
  }

  /** What this node may say of its own lease; 0 unless it holds it. */
  remainingMs(state: ReplicatedState): number {
    if (!ruleHolds('only-the-holder-states-its-lease')) return this.takeoverInMs(state);
    if (!state.open || state.master !== this.#self) return 0;
    return this.#holder.remainingMs({ now: this.#clock.now(), wall: this.#clock.wall() });
  }
}
