import type { GtidSet } from '../mysql/gtid-set.ts';
import type { AgentReport, MemberStatus, MembershipView, SyncStatus, View, XaView } from '../proto/binlogsvr-types.ts';
import { memberStatus } from './membership.ts';
import type { ReplicatedState } from './state-types.ts';
import { knowsAllXa } from './unresolved-xa.ts';
import type { Member } from './values.ts';

/** A report older than this says nothing: the agent is gone or stuck (it reports every 200 ms). */
export const AGENT_REPORT_STALE_MS = 1000;

/** Everything a view is made of. Times are of this node's monotonic clock. */
export type ViewFacts = Readonly<{
  node: number;
  state: ReplicatedState;
  chosenIndex: number;
  leading: boolean;
  quorum: boolean;
  mayVote: boolean;
  votingReason: string;
  takeoverInMs: number;
  leaseRemainingMs: number;
  report: Readonly<{ report: AgentReport; atMs: number }> | null;
  sync: SyncStatus | null;
  lagMs: number;
  needsClone: string;
  purged?: GtidSet;
  membership?: MembershipView;
  nowMs: number;
}>;

export function buildView(facts: ViewFacts): View {
  const { state, report } = facts;
  return {
    node: facts.node,
    epoch: state.epoch,
    master: state.master,
    open: state.open,
    renewal: state.renewal,
    appliedIndex: state.appliedIndex,
    chosenIndex: facts.chosenIndex,
    appendSeq: state.appendSeq,
    gtidSet: textOf(state.gtidSet),
    baseline: state.baseline !== null,
    membership: facts.membership ?? null,
    members: membersOf(state.members),
    configVersion: state.configVersion,
    voting: facts.mayVote,
    votingReason: facts.votingReason,
    takeoverDue: state.open && facts.takeoverInMs <= 0,
    takeoverInMs: state.open ? Math.max(0, facts.takeoverInMs) : 0,
    leaseRemainingMs: facts.leaseRemainingMs,
    leader: facts.leading,
    agent: report?.report ?? null,
    agentAlive: report !== null && facts.nowMs - report.atMs < AGENT_REPORT_STALE_MS,
    sync: facts.sync,
    quorum: facts.quorum,
    lagMs: facts.lagMs,
    needsClone: facts.needsClone,
    purged: facts.purged === undefined ? '' : textOf(facts.purged),
    xa: xaOf(state.xa),
    disabledEvents: state.disabledEvents,
  };
}

/**
 * What of a view somebody may be waiting for: a change of it is pushed at once. The rest (how far the log is) changes
 * with every append and is pushed at a bounded rate.
 */
export function urgentPart(view: View): string {
  const { agent, sync, membership } = view;
  return JSON.stringify([
    [view.epoch, view.master, view.open, view.renewal, view.baseline, view.voting, view.votingReason],
    [view.takeoverDue, view.leaseRemainingMs > 0, view.leader, view.agentAlive, view.quorum, view.needsClone],
    view.configVersion,
    membership ? { ...membership, standInMs: membership.standInMs > 0 } : null,
    agent === null ? null : { ...agent, gtidExecuted: '' },
    sync === null ? null : [sync.state, sync.epoch, sync.reason, sync.pid, sync.spareReady],
  ]);
}

const lists = new WeakMap<readonly Member[], readonly MemberStatus[]>();

/** The same list again and again: views are made with every append. */
function membersOf(members: readonly Member[]): readonly MemberStatus[] {
  let list = lists.get(members);
  if (list === undefined) {
    list = members.map(memberStatus);
    lists.set(members, list);
  }
  return list;
}

function xaOf(xa: ReplicatedState['xa']): XaView {
  return { prepared: xa.prepared, last: xa.last, complete: knowsAllXa(xa) };
}

const texts = new WeakMap<GtidSet, string>();

function textOf(set: GtidSet): string {
  let text = texts.get(set);
  if (text === undefined) {
    text = set.toString();
    texts.set(set, text);
  }
  return text;
}
