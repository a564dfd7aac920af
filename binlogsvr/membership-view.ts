import type { NodeId } from '../base/brands.ts';
import type { Clock } from '../base/ports.ts';
import type { MembershipView } from '../proto/binlogsvr-types.ts';
import { electionOf, isElectable, kindOf, memberAt } from './membership.ts';
import type { ReplicatedState } from './state-types.ts';

/** Others leave a preferred node that is connected this long to stand first. */
export const PREFER_MS = 1000;
/** After a hand-over began this node does not stand for so long. */
const LEAVE_MS = 10_000;

export type StandingFacts = Readonly<{
  self: NodeId;
  state: ReplicatedState;
  /** Until the lease of the open epoch may be taken over. */
  takeoverInMs: number;
  /** This store was removed from the cluster. */
  removed: boolean;
  /** The store the log names for that node is connected. */
  isUp: (node: NodeId, storeId: string) => boolean;
  /** Of mysql-series.ts. */
  seriesObjection?: string | null;
  /** Of succession.ts. */
  takesOver?: number;
}>;

/** What this node may do in an election, for its agent: whether it may stand, and how long it leaves that to others. */
export class Standing {
  readonly #clock: Clock;
  /** Since when a new master is wanted, by this node's clock. */
  #wantedSince: number | null = null;
  #handOver: Readonly<{ to: NodeId; epoch: number; id: number; until: number }> | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  view(facts: StandingFacts): MembershipView {
    const { self, state } = facts;
    const now = this.#clock.now();
    const wanted = !state.open || facts.takeoverInMs <= 0;
    this.#wantedSince = wanted ? (this.#wantedSince ?? now) : null;
    const seat = memberAt(state, self);
    const order = this.#handOver;
    const mine = order !== null && order.id !== 0 && state.open && state.master === self && state.epoch === order.epoch;
    return {
      kind: facts.removed ? 'removed' : seat === undefined ? 'none' : kindOf(seat),
      election: seat === undefined ? 'neutral' : electionOf(seat),
      standRefusal: this.#refusal(facts, now),
      standInMs: this.#othersPreferred(facts) ? PREFER_MS - (now - (this.#wantedSince ?? now)) : 0,
      handOverTo: mine ? order.to : 0,
      handOverId: mine ? order.id : 0,
      takesOver: facts.takesOver ?? 0,
    };
  }

  /** From now on the agent of this node is told to hand over, and this node does not stand in that epoch's place for a while. */
  handOver(to: NodeId, epoch: number, id: number): void {
    this.#handOver = { to, epoch, id, until: this.#clock.now() + LEAVE_MS };
  }

  /** The order is not to be begun any more; one that ended the epoch still keeps this node from standing at once. */
  withdraw(id: number): void {
    if (this.#handOver?.id === id) this.#handOver = { ...this.#handOver, id: 0 };
  }

  #refusal({ self, state, seriesObjection }: StandingFacts, now: number): string {
    const seat = memberAt(state, self);
    if (state.baseline !== null && seat === undefined) return 'this node is not a member of the cluster';
    if (seat !== undefined && !isElectable(seat)) {
      return kindOf(seat) === 'voter'
        ? 'by its election rule this node is never master'
        : `this node is a ${kindOf(seat)}`;
    }
    if (seriesObjection) return seriesObjection;
    const leaving = this.#handOver;
    const lately = leaving !== null && now < leaving.until && state.epoch === leaving.epoch;
    return lately ? `it hands over to node ${leaving.to}` : '';
  }

  #othersPreferred({ self, state, isUp }: StandingFacts): boolean {
    const seat = memberAt(state, self);
    if (seat === undefined || electionOf(seat) === 'prefer') return false;
    const preferred = state.members.some(
      (each) =>
        each.node !== self && electionOf(each) === 'prefer' && isElectable(each) && isUp(each.node, each.storeId),
    );
    return preferred && (this.#wantedSince === null || this.#clock.now() - this.#wantedSince < PREFER_MS);
  }
}
