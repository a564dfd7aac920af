import { type InstanceId, NODE_ID_MAX, type NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';
import type { MemberStatus } from '../proto/binlogsvr-types.ts';
import { type Accepted, type Refusal, type ReplicatedState, refuse, type Verdict } from './state-types.ts';
import type { ElectionRule, LogValue, Member, MemberKind, MembershipValue } from './values.ts';

/**
 * The part of the apply rule that says who belongs to the cluster. Pure. What needs to know who is alive (is the newcomer
 * caught up, is a working majority left) is membership-service.ts's to ask before it proposes; what may never be, whoever
 * asks, is refused here, by every replica alike.
 *
 *                 addLearner                     addMember (caught up)
 *   not known ───────────────► learner ──────────────────────────────────► voter, witness
 *       │                         │  replaceMember: takes a voter's seat     │      ▲ │ setElection,
 *       │ addMember, replaceMember└──────────────────────────────────────────┤      └─┘ replaceStore
 *       └────────────────────────────────────────────────────────────────────┤
 *   removed (this store for ever) ◄──── removeMember, replaceMember ─────────┘
 */

/** Voters and witnesses: each commit waits for a majority of them. */
export const VOTERS_MAX = 9;
export const MEMBERS_MAX = 32;
/** Removed stores remembered. */
export const REMOVED_MAX = 64;
const STORE_ID_CHARS_MAX = 64;

export function kindOf(member: Member): MemberKind {
  return member.kind ?? 'voter';
}

export function electionOf(member: Member): ElectionRule {
  return member.election ?? 'neutral';
}

/** A member with everything that is the usual left out. `address` null: as configured. */
export function memberOf(
  id: Pick<Member, 'node' | 'storeId'>,
  kind: MemberKind,
  election: ElectionRule,
  address: Member['address'] | null,
): Member {
  return {
    node: id.node,
    storeId: id.storeId,
    ...(kind === 'voter' ? {} : { kind }),
    ...(election === 'neutral' || kind === 'witness' ? {} : { election }),
    ...(address ? { address } : {}),
  };
}

/** Its store is an acceptor. */
export function votes(member: Member): boolean {
  return member.kind !== 'learner';
}

/** It may become master. */
export function isElectable(member: Member): boolean {
  return kindOf(member) === 'voter' && electionOf(member) !== 'never';
}

export function votersOf(members: readonly Member[]): readonly Member[] {
  return members.filter(votes);
}

export function memberAt(state: Pick<ReplicatedState, 'members'>, node: NodeId | number): Member | undefined {
  return state.members.find((member) => member.node === node);
}

const NO_PORTS = { rw: 0, ro: 0, dump: 0, mysql: 0, http: 0 };

/** As views and status show it. */
export function memberStatus(member: Member): MemberStatus {
  const { node, storeId, address } = member;
  const { host, rpc, ports } = address ?? { host: '', rpc: 0 };
  return { node, storeId, kind: kindOf(member), election: electionOf(member), host, rpc, ...(ports ?? NO_PORTS) };
}

/** Whether this store was a member of the cluster and is none any more. */
export function wasRemoved(state: Pick<ReplicatedState, 'removed'>, node: NodeId, storeId: string): boolean {
  return state.removed.some((each) => each.node === node && each.storeId === storeId);
}

export function sameStores(a: readonly Member[], b: readonly Member[]): boolean {
  if (a.length !== b.length) return false;
  return a.every((member) => b.some((other) => other.node === member.node && other.storeId === member.storeId));
}

type ReplaceStore = Extract<LogValue, { kind: 'replaceStore' }>;

export function judgeMembership(
  state: ReplicatedState,
  instance: InstanceId,
  value: MembershipValue | ReplaceStore,
): Verdict {
  const verdict = judge(state, value);
  if ('code' in verdict) return verdict;
  const voters = votersOf(verdict.change.members ?? state.members);
  return sameStores(voters, votersOf(state.members))
    ? verdict
    : { change: { ...verdict.change, membersSince: instance } };
}

function judge(state: ReplicatedState, value: MembershipValue | ReplaceStore): Verdict {
  if (value.configVersion !== state.configVersion && ruleHolds('change-names-configuration')) {
    const now = state.configVersion;
    return refuse('NOT_SUCCESSOR', `the change is of configuration ${value.configVersion}, the current one is ${now}`);
  }
  if (state.baseline === null) return refuse('NOT_SUCCESSOR', 'the log has no baseline yet');
  switch (value.kind) {
    case 'replaceStore':
      return judgeReplaceStore(state, value);
    case 'addMember':
    case 'addLearner':
      return judgeAdd(state, value);
    case 'removeMember':
      return judgeRemove(state, value.node);
    case 'replaceMember':
      return judgeReplace(state, value.node, value.member);
    case 'setElection':
      return judgeElection(state, value.node, value.election);
  }
}

function judgeReplaceStore(state: ReplicatedState, value: ReplaceStore): Verdict {
  const member = memberAt(state, value.node);
  if (member?.storeId !== value.oldStoreId) {
    return refuse('NOT_SUCCESSOR', `store ${value.oldStoreId} is not that of node ${value.node}`);
  }
  return change(state, swap(state.members, member, { ...member, storeId: value.newStoreId }), []);
}

function judgeAdd(
  state: ReplicatedState,
  { kind, member }: Extract<MembershipValue, { kind: 'addMember' | 'addLearner' }>,
): Verdict {
  const bad = newcomerFault(state, member, null);
  if (bad !== null) return bad;
  if (votes(member) !== (kind === 'addMember')) return refused(`a ${kindOf(member)} is not added by ${kind}`);
  const known = memberAt(state, member.node);
  if (known === undefined) return grown(state, [...state.members, member]);
  if (votes(known)) return refused(`node ${member.node} is a ${kindOf(known)} already`);
  if (kind === 'addLearner') return refused(`node ${member.node} is a learner already`);
  if (known.storeId !== member.storeId) {
    return refused(`learner ${member.node} has store ${known.storeId}, not ${member.storeId}`);
  }
  return grown(state, swap(state.members, known, member));
}

function judgeRemove(state: ReplicatedState, node: NodeId): Verdict {
  const member = memberAt(state, node);
  if (member === undefined) return refused(`node ${node} is not a member`);
  if (isMaster(state, node)) return refused(`node ${node} is the master of epoch ${state.epoch}: hand over first`);
  const rest = state.members.filter((each) => each !== member);
  return electableLeft(rest) ?? change(state, rest, [member]);
}

function judgeReplace(state: ReplicatedState, node: NodeId, member: Member): Verdict {
  const old = memberAt(state, node);
  if (old === undefined) return refused(`node ${node} is not a member`);
  const bad = newcomerFault(state, member, old);
  if (bad !== null) return bad;
  if (votes(member) !== votes(old)) {
    return refused(`a ${kindOf(member)} cannot take the seat of node ${node}, a ${kindOf(old)}`);
  }
  const known = memberAt(state, member.node);
  if (member.node !== node) {
    if (isMaster(state, node)) return refused(`node ${node} is the master of epoch ${state.epoch}: hand over first`);
    if (known !== undefined && votes(known)) return refused(`node ${member.node} is a ${kindOf(known)} already`);
    if (known !== undefined && known.storeId !== member.storeId) {
      return refused(`learner ${member.node} has store ${known.storeId}, not ${member.storeId}`);
    }
  }
  const rest = state.members.filter((each) => each === old || each !== known);
  const members = swap(rest, old, member);
  const gone = member.storeId === old.storeId ? [] : [old];
  return electableLeft(members) ?? change(state, members, gone);
}

function judgeElection(state: ReplicatedState, node: NodeId, election: ElectionRule): Verdict {
  const member = memberAt(state, node);
  if (member === undefined) return refused(`node ${node} is not a member`);
  if (kindOf(member) === 'witness') return refused(`node ${node} is a witness: it is never elected`);
  if (electionOf(member) === election) return refused(`the election rule of node ${node} is ${election} already`);
  const { storeId, address } = member;
  const members = swap(state.members, member, memberOf({ node, storeId }, kindOf(member), election, address));
  return electableLeft(members) ?? change(state, members, []);
}

/** What is wrong with a newcomer, whose seat would be that of `seat` (null: a seat of its own). */
function newcomerFault(state: ReplicatedState, member: Member, seat: Member | null): Refusal | null {
  const { node, storeId, address } = member;
  if (!Number.isInteger(node) || node < 1 || node > NODE_ID_MAX) return refused(`${node} is no node id`);
  if (storeId === '' || storeId.length > STORE_ID_CHARS_MAX) return refused(`'${storeId}' is no store id`);
  if (address === undefined || address.host === '' || address.rpc < 1 || address.rpc > 65535) {
    return refused(`node ${node} has no address that others could dial`);
  }
  if (wasRemoved(state, node, storeId)) {
    return refused(`store ${storeId} of node ${node} was removed: it has to begin with an empty data directory`);
  }
  for (const other of state.members) {
    if (other.node === node || other === seat) continue;
    if (other.storeId === storeId) return refused(`store ${storeId} is that of node ${other.node}`);
    if (other.address?.host === address.host && other.address.rpc === address.rpc) {
      return refused(`${address.host}:${address.rpc} is the address of node ${other.node}`);
    }
  }
  return null;
}

function grown(state: ReplicatedState, members: readonly Member[]): Verdict {
  if (members.length > MEMBERS_MAX) return refused(`a cluster has at most ${MEMBERS_MAX} members`);
  if (votersOf(members).length > VOTERS_MAX) return refused(`a cluster has at most ${VOTERS_MAX} voters`);
  return change(state, members, []);
}

function electableLeft(members: readonly Member[]): Refusal | null {
  return members.some(isElectable) ? null : refused('no member would be left that may become master');
}

function change(state: ReplicatedState, members: readonly Member[], gone: readonly Member[]): Accepted {
  const removed = [...state.removed, ...gone.map(({ node, storeId }) => ({ node, storeId }))].slice(-REMOVED_MAX);
  return { change: { members, configVersion: state.configVersion + 1, ...(gone.length === 0 ? {} : { removed }) } };
}

function isMaster(state: ReplicatedState, node: NodeId): boolean {
  return state.open && state.master === node;
}

function swap(members: readonly Member[], old: Member, fresh: Member): readonly Member[] {
  return members.map((each) => (each === old ? fresh : each));
}

function refused(reason: string): Refusal {
  return refuse('MEMBER_REFUSED', reason);
}
