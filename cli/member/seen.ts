import type { NodeId } from '../../base/brands.ts';
import type { NodeAddress } from '../../base/topology.ts';
import type { MemberStatus, NodeStatus } from '../../proto/binlogsvr-types.ts';
import { membersIn, type Reply } from '../status.ts';

/** What one round of questions showed of the members. Pure from here on. */
export type Seen = Readonly<{
  nodes: readonly NodeAddress[];
  members: readonly MemberStatus[];
  configVersion: number;
  replies: ReadonlyMap<NodeId, Reply>;
}>;

export function seenOf(nodes: readonly NodeAddress[], replies: ReadonlyMap<NodeId, Reply>): Seen {
  const versions = statuses(replies).map(({ configVersion }) => configVersion ?? 0);
  return { nodes, members: membersIn(replies), configVersion: Math.max(0, ...versions), replies };
}

export function memberIn(seen: Seen, node: number): MemberStatus | undefined {
  return seen.members.find((member) => member.node === node);
}

export function statusIn(seen: Seen, node: number): NodeStatus | null {
  const reply = seen.replies.get(node as NodeId);
  return reply !== undefined && 'status' in reply ? reply.status : null;
}

/** Which node to ask for a change: the master of the newest epoch, else whoever votes and answers. */
export function whomToAsk(seen: Seen): NodeId | null {
  const up = statuses(seen.replies).map(({ view }) => view);
  const newest = up.reduce((epoch, view) => Math.max(epoch, view.epoch), 0);
  const master = up.find((view) => view.epoch === newest && view.open && view.master === view.node);
  const asked = master ?? up.find((view) => view.leader) ?? up.find((view) => view.voting && view.baseline);
  return (asked?.node ?? null) as NodeId | null;
}

/** How much of the log a node still lacks, in instances, and how much of that its MySQL; null where nobody can tell. */
export function behindOf(seen: Seen, node: number): Readonly<{ log: number; mysql: number | null }> | null {
  const status = statusIn(seen, node);
  if (status === null) return null;
  const furthest = Math.max(...statuses(seen.replies).map(({ view }) => view.chosenIndex));
  const hasMysql = status.view.agent !== null;
  return {
    log: Math.max(0, furthest - status.view.appliedIndex),
    mysql: hasMysql ? Math.max(0, furthest - status.executedIndex) : null,
  };
}

/** What a node that was added does, in words; '' once it is what it is to be: its store votes, its MySQL serves. */
export function unfinished(seen: Seen, node: number, kind: MemberStatus['kind']): string {
  const reply = seen.replies.get(node as NodeId);
  if (reply === undefined) return 'not asked yet';
  if ('error' in reply) return `does not answer: ${reply.error}`;
  const { view } = reply.status;
  const behind = behindOf(seen, node);
  if (memberIn(seen, node) === undefined) return view.votingReason === '' ? 'is not taken in yet' : view.votingReason;
  if (kind !== 'learner' && !view.voting) return behindText(behind?.log ?? 0, 'its log') || view.votingReason;
  if (kind === 'witness') return '';
  if (view.needsClone !== '') return `${view.needsClone}; it has to be cloned`;
  const { agent } = view;
  if (agent === null || !view.agentAlive) return 'its agent has not reported yet';
  if (agent.servingWrites || agent.servingReads) {
    return (behind?.mysql ?? 0) <= CAUGHT_UP_MAX ? '' : behindText(behind?.mysql ?? 0, 'its MySQL');
  }
  return `its MySQL is ${agent.role}${agent.reason === '' ? '' : `: ${agent.reason}`}`;
}

/** A MySQL that lacks no more than this follows: under load it is never equal. */
const CAUGHT_UP_MAX = 64;

const behindText = (instances: number, what: string): string =>
  instances === 0 ? '' : `${what} lacks ${instances} instances`;

function statuses(replies: ReadonlyMap<NodeId, Reply>): readonly NodeStatus[] {
  return [...replies.values()].flatMap((reply) => ('status' in reply ? [reply.status] : []));
}
