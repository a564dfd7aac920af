import type { NodeId } from '../base/brands.ts';
import { memberAt, sameStores, votersOf, votes, wasRemoved } from './membership.ts';
import type { PeerHello } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Member } from './values.ts';

/**
 * Who may vote. An acceptor that forgot must not (protocol-findings 6), and an empty store cannot tell whether it is new or
 * wiped; so a new cluster founds itself only with every configured node present, in two durable steps:
 *
 *   unbound ──met every configured node, each empty or bound to this very list──► bound ──every one says it is bound
 *      to this very list──► confirmed (votes) ──baseline applied──► the log's members decide
 *
 * A list is confirmed only if all of it is bound to it and a store is bound once for ever: two lists that differ cannot both
 * be confirmed, whatever was wiped in between. A store bound to no list, or to another, learns until the log replaces it.
 */
export type Founding =
  | Readonly<{ kind: 'unbound' }>
  | Readonly<{ kind: 'bound' | 'confirmed'; founders: readonly Member[] }>;

export type FoundingFacts = Readonly<{
  self: Member;
  /** All configured nodes, self included. */
  nodes: readonly NodeId[];
  /** No acceptor record in this node's store. */
  empty: boolean;
  /** The node was started to join a cluster there is, not to found one. */
  joining?: boolean;
  /** The store was begun because an earlier one was damaged: it cannot know what that one voted for. */
  forgot: boolean;
  /** The last hello of each peer admitted since start. */
  met: ReadonlyMap<NodeId, PeerHello>;
}>;

export type FoundingStep = Readonly<{
  /** To write down, synced, before anything else; null = nothing to do. */
  next: Founding | null;
  /** What it waits for; '' when confirmed. */
  reason: string;
}>;

export function decideFounding(founding: Founding, facts: FoundingFacts): FoundingStep {
  if (founding.kind === 'confirmed') return { next: null, reason: '' };
  if (founding.kind === 'unbound' && facts.forgot) {
    return { next: null, reason: 'store was begun after damage: learning until replaced in the log' };
  }
  if (facts.joining) return { next: null, reason: 'joining: waiting for the cluster to take this node in' };
  const missing = facts.nodes.filter((node) => node !== facts.self.node && !facts.met.has(node));
  if (missing.length > 0) {
    return { next: null, reason: `founding: waiting to meet ${names(missing)}` };
  }
  const hellos = facts.nodes.filter((node) => node !== facts.self.node).map((node) => facts.met.get(node) as PeerHello);
  if (founding.kind === 'bound') {
    const open = hellos.filter((hello) => !sameStores(hello.founders, founding.founders));
    if (open.length > 0) {
      return {
        next: null,
        reason: `founding: waiting for ${names(open.map((h) => h.node))} to bind to the same stores`,
      };
    }
    return { next: { kind: 'confirmed', founders: founding.founders }, reason: '' };
  }
  if (!facts.empty) {
    return { next: null, reason: 'store holds records but belongs to no acceptor: waiting to be replaced in the log' };
  }
  const list = [facts.self, ...hellos.map((h) => ({ node: h.node, storeId: h.storeId }))].sort(
    (a, b) => a.node - b.node,
  );
  const strangers = hellos.filter((h) => (h.founders.length > 0 ? !sameStores(h.founders, list) : !h.empty));
  if (strangers.length > 0) {
    return {
      next: null,
      reason: `empty store: ${names(strangers.map((h) => h.node))} already belong to a cluster; learning until replaced in the log`,
    };
  }
  return { next: { kind: 'bound', founders: list }, reason: 'founding: binding' };
}

export type Electorate = Readonly<{
  /** The acceptors that count, as node and store. */
  members: readonly Member[];
  mayVote: boolean;
  /** Why not, '' if it may. */
  reason: string;
}>;

/** Who counts as an acceptor now: by the log once it says, before that by the founding. */
export function electorate(
  state: ReplicatedState,
  founding: Founding,
  foundingReason: string,
  self: Member,
  nodes: readonly NodeId[],
): Electorate {
  if (state.baseline !== null) {
    const reason = whyVoteless(state, self);
    return { members: votersOf(state.members), mayVote: reason === '', reason };
  }
  if (founding.kind === 'confirmed') return { members: founding.founders, mayVote: true, reason: '' };
  const members = founding.kind === 'bound' ? founding.founders : nodes.map((node) => ({ node, storeId: '' }));
  return { members, mayVote: false, reason: foundingReason };
}

/** '' if the log names this store as an acceptor. */
function whyVoteless(state: ReplicatedState, self: Member): string {
  if (wasRemoved(state, self.node, self.storeId)) {
    return 'this node was removed from the cluster: to join again it has to begin with an empty data directory';
  }
  const seat = memberAt(state, self.node);
  if (seat === undefined) return 'this node is not a member of the cluster';
  if (seat.storeId !== self.storeId) {
    return `store ${self.storeId} is not the one the log names (${seat.storeId}): learning until the leader replaces it`;
  }
  return votes(seat) ? '' : 'a learner: follows the log without a vote';
}

export const FOUNDING_META = 'founding';

export function foundingToJson(founding: Founding): string {
  return JSON.stringify(founding);
}

export function foundingFromJson(json: string | null): Founding {
  return json === null ? { kind: 'unbound' } : (JSON.parse(json) as Founding);
}

function names(nodes: readonly NodeId[]): string {
  return nodes.map((node) => `node ${node}`).join(', ');
}
