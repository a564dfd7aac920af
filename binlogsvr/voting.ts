import type { InstanceId, NodeId } from '../base/brands.ts';
import type { Logger } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import { saveConfigState } from './config-state.ts';
import {
  decideFounding,
  type Electorate,
  electorate,
  FOUNDING_META,
  type Founding,
  foundingFromJson,
  foundingToJson,
} from './founding.ts';
import { memberAt, wasRemoved } from './membership.ts';
import type { PeerHello } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore } from './store-port.ts';
import { META_AMNESIAC } from './store-records.ts';
import type { Member, PeerAddress } from './values.ts';
import { VOTER_SETS_META, VoterSets } from './voter-sets.ts';

/** What founding needs of the replica. */
export type VotingPort = Readonly<{
  state: () => ReplicatedState;
  /** No acceptor record yet. */
  empty: () => boolean;
  stopped: () => boolean;
  /** Tells the core who votes. */
  voters: (nodes: readonly NodeId[], mayVote: boolean) => void;
  /** Tells the peers what this node is bound to. */
  announce: () => void;
  changed: () => void;
  failed: (error: unknown) => void;
}>;

export type VotingOptions = Readonly<{
  store: LogStore;
  log: Logger;
  self: Member;
  nodes: readonly NodeId[];
  /** Where peers dial this node, which joins a cluster there is: it founds none. */
  join: PeerAddress | undefined;
  /** Where peers dial founders. */
  addresses: ReadonlyMap<NodeId, PeerAddress> | undefined;
}>;

/** Performs the founding (binlogsvr/founding.ts) and knows at any time whose votes count. */
export class Voting {
  readonly #store: LogStore;
  readonly #log: Logger;
  readonly #self: Member;
  readonly #nodes: readonly NodeId[];
  readonly #join: PeerAddress | undefined;
  readonly #addresses: VotingOptions['addresses'];
  readonly #met = new Map<NodeId, PeerHello>();
  readonly #sets: VoterSets;
  #founding: Founding;
  #reason = 'founding: not begun';
  #electorate: Electorate;
  #port: VotingPort | null = null;
  /** Its hello says that it wants to join. */
  #asks: boolean;
  #writing = false;
  /** States being written down, and the end of the last. */
  #saves = 0;
  #saved: Promise<void> = Promise.resolve();
  /** Why the store before this one was set aside, or null. */
  readonly #forgot: string | null;

  private constructor(
    options: VotingOptions,
    founding: Founding,
    forgot: string | null,
    sets: VoterSets,
    state: ReplicatedState,
  ) {
    this.#store = options.store;
    this.#log = options.log;
    this.#self = options.self;
    this.#nodes = options.nodes;
    this.#join = options.join;
    this.#addresses = options.addresses;
    this.#founding = founding;
    this.#forgot = forgot;
    this.#sets = sets;
    this.#electorate = this.#elect(state);
    this.#asks = this.joins(state).joins !== undefined;
  }

  static async load(options: VotingOptions, state: ReplicatedState): Promise<Voting> {
    const { store } = options;
    const founding = foundingFromJson(await store.getMeta(FOUNDING_META));
    const sets = VoterSets.from(await store.getMeta(VOTER_SETS_META), state);
    return new Voting(options, founding, await store.getMeta(META_AMNESIAC), sets, state);
  }

  get current(): Electorate {
    return this.#electorate;
  }

  /** This node with its store. */
  get self(): Member {
    return this.#self;
  }

  /** The acceptors that decided an applied instance; null if that is no longer known. */
  votersAt(instance: InstanceId): readonly Member[] | null {
    return this.#sets.at(instance);
  }

  get founders(): readonly Member[] {
    if (this.#founding.kind === 'unbound') return [];
    return this.#founding.founders.map((founder) => {
      const address = this.#addresses?.get(founder.node);
      return address === undefined ? founder : { ...founder, address };
    });
  }

  /** The acceptors' nodes. */
  get nodes(): readonly NodeId[] {
    return this.#electorate.members.map((member) => member.node);
  }

  /** `storeOf`: the store a peer is connected with, or null. */
  isQuorum(storeOf: (node: NodeId) => string | null): boolean {
    const { members } = this.#electorate;
    const present = members.filter(
      ({ node, storeId }) =>
        storeId === (node === this.#self.node ? this.#self.storeId : storeOf(node)) ||
        (forgetfulMayVote() && storeOf(node) !== null),
    );
    return present.length * 2 > members.length;
  }

  isVoter(node: NodeId, storeId: string): boolean {
    const { members } = this.#electorate;
    return members.some((member) => member.node === node && (member.storeId === storeId || forgetfulMayVote()));
  }

  /**
   * What a node that wants to join says until the log gives its store a seat. A seat of an earlier store may be gone from the
   * log further on: who is no member and does not say that it wants to join is not talked to, and would never read of it.
   */
  joins(state: ReplicatedState): Pick<PeerHello, 'joins'> {
    const seat = memberAt(state, this.#self.node);
    return this.#join === undefined || seat?.storeId === this.#self.storeId ? {} : { joins: this.#join };
  }

  /** Why a peer is not to be talked to, or null. */
  objection({ node, storeId, joins }: PeerHello, state: ReplicatedState): string | null {
    if (wasRemoved(state, node, storeId)) {
      return `node ${node} was removed from the cluster: to join again it has to begin with an empty data directory`;
    }
    return joins !== undefined && state.baseline === null ? 'the cluster is not founded yet' : null;
  }

  met(hello: PeerHello): void {
    this.#met.set(hello.node, hello);
    this.#found();
  }

  /** From here on founds the cluster if that is to be done. */
  start(port: VotingPort): void {
    this.#port = port;
    this.#found();
  }

  /**
   * After every value that might change the members, accepted or not: the core waits for the answer. `votersToo`: it might
   * change the voters; then the state is on disk before it counts (config-state.ts). In the order of the log.
   */
  applied(state: ReplicatedState, votersToo: boolean): void {
    const sets = this.#sets.note(state) && votersToo ? this.#sets.json() : null;
    if (!votersToo && this.#saves === 0) {
      this.#count(state, false);
      return;
    }
    const port = this.#port;
    this.#saves += 1;
    this.#saved = this.#saved
      .then(() => (sets === null ? undefined : this.#store.putMeta(VOTER_SETS_META, sets)))
      .then(() => (votersToo ? saveConfigState(this.#store, state) : undefined))
      .then(
        () => {
          this.#saves -= 1;
          if (port?.stopped() === false) this.#count(state, votersToo);
        },
        (error: unknown) => port?.failed(error),
      );
  }

  /** A snapshot took the place of what was applied so far. */
  installed(state: ReplicatedState): void {
    this.#sets.restart(state);
    this.applied(state, false);
  }

  #count(state: ReplicatedState, must: boolean): void {
    const asks = this.joins(state).joins !== undefined;
    // It read in the log that it had been a member, and only now that it was removed: peers have heard of no wish to join.
    if (asks && !this.#asks) this.#port?.announce();
    this.#asks = asks;
    if (!this.#refresh(state) && !must) return;
    this.#port?.voters(this.nodes, this.#electorate.mayVote);
    this.#port?.changed();
  }

  /** True if who counts changed. */
  #refresh(state: ReplicatedState): boolean {
    const before = this.#electorate;
    if (state.membersSince > 0 && !ruleHolds('change-counts-once-applied')) return false;
    this.#electorate = this.#elect(state);
    return (
      before.mayVote !== this.#electorate.mayVote ||
      JSON.stringify(before.members) !== JSON.stringify(this.#electorate.members)
    );
  }

  /** Takes every step of the founding that is possible now; each is on disk before it counts. */
  #found(): void {
    const port = this.#port;
    if (port === null || this.#writing || port.state().baseline !== null || this.#founding.kind === 'confirmed') return;
    const { next, reason } = decideFounding(this.#founding, {
      self: this.#self,
      nodes: this.#nodes,
      empty: port.empty(),
      joining: this.#join !== undefined,
      forgot: this.#forgot !== null,
      met: this.#met,
    });
    if (reason !== this.#reason) {
      this.#reason = reason;
      this.#count(port.state(), false);
      port.changed();
    }
    if (next === null) return;
    this.#writing = true;
    this.#store.putMeta(FOUNDING_META, foundingToJson(next)).then(() => {
      this.#writing = false;
      this.#founding = next;
      this.#log.info(`founding ${next.kind}`, { members: this.founders });
      if (port.stopped()) return;
      this.#count(port.state(), false);
      port.announce();
      port.changed();
      this.#found();
    }, port.failed);
  }

  #elect(state: ReplicatedState): Electorate {
    const found = electorate(state, this.#founding, this.#reason, this.#self, this.#nodes);
    if (forgetfulMayVote()) return { ...found, mayVote: true };
    if (found.mayVote || this.#forgot === null) return found;
    return { ...found, reason: `${found.reason}; the store before was set aside: ${this.#forgot}` };
  }
}

function forgetfulMayVote(): boolean {
  return !ruleHolds('forgetful-store-does-not-vote');
}
