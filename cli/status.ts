import type { NodeId } from '../base/brands.ts';
import type { NodePids } from '../base/ipc.ts';
import type { NodeAddress } from '../base/topology.ts';
import type { MemberStatus, NodeStatus, PurgeStatus, View } from '../proto/binlogsvr-types.ts';
import { NO_PIDS } from './pids-file.ts';

/**
 * The state of the cluster as `phxsql status --json` prints it. Others script against the names. What nobody could be asked
 * is null, never a guess.
 */
export type ClusterStatus = Readonly<{
  cluster: string;
  epoch: number;
  /** Serves writes now: elected, open, its lease runs, and a majority of nodes answers. Else null. */
  master: number | null;
  /** As the holder itself says. */
  lease: Readonly<{ holder: number | null; remainingMs: number }>;
  /** All transactions in the log. */
  gtid: string;
  chosenIndex: number;
  /** Null without a master that answers. */
  flow: FlowState | null;
  /** What endangers the cluster though it serves, in words. */
  warnings: readonly string[];
  nodes: readonly NodeState[];
}>;

/** How soon another node could be master, and what is done to keep that soon. */
export type FlowState = Readonly<{
  /** Between two acknowledgements; 0: commits are not delayed. */
  delayMs: number;
  /** The least-lagged node that may be elected, and how long it has been behind. */
  candidate: number | null;
  candidateLagMs: number | null;
  /** Until clients write again if the master's node dies now; null: nobody could take over, or it is not known yet. */
  predictedFailoverMs: number | null;
}>;

export type HostPort = Readonly<{ host: string; port: number }>;

export type NodeState = Readonly<{
  id: number;
  /** removed: it answers, and is no member any more (shown only where its own configuration is asked). */
  state: 'master' | 'slave' | 'witness' | 'recovering' | 'failed' | 'down' | 'removed';
  /** Why it is in that state, '' if there is nothing to say. */
  reason: string;
  reachable: boolean;
  rw: HostPort;
  ro: HostPort;
  dump: HostPort;
  rpc: HostPort;
  mysql: HostPort;
  gtidExecuted: string | null;
  /** Everything in the log up to here is executed by its MySQL. */
  executedIndex: number | null;
  chosenIndex: number | null;
  lagMs: number | null;
  /** What of the log it keeps on disk, and for whom. */
  log: PurgeStatus | null;
  pids: NodePids;
}>;

/** What a node answered, or why it did not. */
export type Reply = Readonly<{ status: NodeStatus } | { error: string }>;

export type ClusterNodes = Readonly<{ cluster: string; nodes: readonly NodeAddress[] }>;

/** The members of the newest configuration among the replies; none before the cluster is founded. */
export function membersIn(replies: ReadonlyMap<NodeId, Reply>): readonly MemberStatus[] {
  let newest: NodeStatus | null = null;
  for (const reply of replies.values()) {
    if ('error' in reply) continue;
    if ((reply.status.configVersion ?? 0) > (newest?.configVersion ?? 0)) newest = reply.status;
  }
  return newest?.members ?? [];
}

/** Pure: what the nodes say, put together. `livePids` is for nodes that do not answer, of those whose directory we see. */
export function mergeStatus(
  cluster: ClusterNodes,
  replies: ReadonlyMap<NodeId, Reply>,
  livePids: ReadonlyMap<NodeId, NodePids>,
): ClusterStatus {
  const views = new Map<NodeId, View>();
  for (const [id, reply] of replies) if ('status' in reply) views.set(id, reply.status.view);
  const newest = newestOf([...views.values()]);
  const members = membersIn(replies);
  const master = newest === null ? null : servingMaster(votersOf(cluster, members), newest, views);
  const holder = newest === null ? undefined : [...views.values()].find((view) => holdsLease(view, newest));
  return {
    cluster: cluster.cluster,
    epoch: newest?.epoch ?? 0,
    master: master !== null && 'id' in master ? master.id : null,
    lease: { holder: holder?.node ?? null, remainingMs: Math.floor(holder?.leaseRemainingMs ?? 0) },
    gtid: newest?.gtidSet ?? '',
    chosenIndex: Math.max(0, ...[...views.values()].map((view) => view.chosenIndex)),
    flow: newest === null ? null : flowOf(replies.get(newest.master as NodeId)),
    warnings: [...views.values()].flatMap(warningsOf),
    nodes: cluster.nodes.map((node) =>
      nodeState(node, replies.get(node.id) ?? { error: 'not asked' }, livePids.get(node.id) ?? NO_PIDS, newest, master),
    ),
  };
}

function flowOf(reply: Reply | undefined): FlowState | null {
  if (reply === undefined || 'error' in reply || !reply.status.flow) return null;
  const { delayMs, candidate, candidateLagMs, predictedFailoverMs } = reply.status.flow;
  const known = (ms: number): number | null => (ms < 0 ? null : Math.round(ms));
  return {
    delayMs: Math.round(delayMs),
    candidate: candidate === 0 ? null : candidate,
    candidateLagMs: known(candidateLagMs),
    predictedFailoverMs: known(predictedFailoverMs),
  };
}

function warningsOf({ node, agent }: View): readonly string[] {
  return (agent?.warnings ?? []).map((warning) => `node ${node}: ${warning}`);
}

/** Whose majority counts. */
function votersOf({ nodes }: ClusterNodes, members: readonly MemberStatus[]): readonly number[] {
  const voters = members.filter(({ kind }) => kind !== 'learner').map(({ node }) => node);
  return voters.length === 0 ? nodes.map(({ id }) => id) : voters;
}

type MasterVerdict = Readonly<{ id: number }> | Readonly<{ why: string }>;

function newestOf(views: readonly View[]): View | null {
  let newest: View | null = null;
  for (const view of views) {
    if (
      newest === null ||
      view.epoch > newest.epoch ||
      (view.epoch === newest.epoch && view.appliedIndex > newest.appliedIndex)
    ) {
      newest = view;
    }
  }
  return newest;
}

const holdsLease = (view: View, newest: View): boolean =>
  view.leaseRemainingMs > 0 && view.epoch === newest.epoch && view.node === newest.master;

/** Which node serves writes, or why the elected one does not. */
function servingMaster(voters: readonly number[], newest: View, views: ReadonlyMap<NodeId, View>): MasterVerdict {
  if (newest.master === 0) return { why: 'no master elected yet' };
  if (!newest.open) return { why: `epoch ${newest.epoch} is closed: an election is due` };
  const view = views.get(newest.master as NodeId);
  if (view === undefined) return { why: `master ${newest.master} of epoch ${newest.epoch} does not answer` };
  const up = voters.filter((voter) => views.has(voter as NodeId)).length;
  if (up * 2 <= voters.length || !view.quorum) return { why: 'no majority of nodes is up' };
  if (!holdsLease(view, newest)) return { why: 'its lease is over' };
  const agent = view.agent;
  if (agent === null || !view.agentAlive) return { why: 'its agent does not answer' };
  if (!agent.servingWrites || agent.epoch !== newest.epoch)
    return { why: agent.reason === '' ? 'not open for writes yet' : agent.reason };
  return { id: newest.master };
}

function nodeState(
  node: NodeAddress,
  reply: Reply,
  livePids: NodePids,
  newest: View | null,
  master: MasterVerdict | null,
): NodeState {
  const at = (port: number): HostPort => ({ host: node.host, port });
  const places = { rw: at(node.rw), ro: at(node.ro), dump: at(node.dump), rpc: at(node.rpc), mysql: at(node.mysql) };
  if ('error' in reply) {
    const unknown = { gtidExecuted: null, executedIndex: null, chosenIndex: null, lagMs: null, log: null };
    return { id: node.id, state: 'down', reason: reply.error, reachable: false, ...places, ...unknown, pids: livePids };
  }
  const { view, executedIndex, lagMs, pidsJson, badValues = '', purge } = reply.status;
  const { state, reason } = stateOf(view, newest ?? view, master);
  return {
    id: node.id,
    state,
    reason: [reason, badValues].filter((each) => each !== '').join('; '),
    reachable: true,
    ...places,
    gtidExecuted: view.agent?.gtidExecuted ?? null,
    executedIndex,
    chosenIndex: view.chosenIndex,
    lagMs: Math.round(lagMs),
    log: purge,
    pids: parsePids(pidsJson) ?? livePids,
  };
}

/** Exactly one node is `master` if the cluster has one, none otherwise: an elected one that does not serve is recovering. */
function stateOf(view: View, newest: View, master: MasterVerdict | null): Pick<NodeState, 'state' | 'reason'> {
  const agent = view.agent;
  if (master !== null && 'id' in master && master.id === view.node)
    return { state: 'master', reason: alsoPinned(agent?.reason ?? '', view) };
  if (view.membership?.kind === 'removed') return { state: 'removed', reason: 'removed from the cluster' };
  if (view.membership?.kind === 'witness') return { state: 'witness', reason: alsoPinned('', view) };
  if (agent === null) return { state: 'recovering', reason: 'the agent has not reported yet' };
  if (!view.agentAlive)
    return {
      state: 'recovering',
      reason: `the agent does not report (last: ${agent.role}${agent.reason === '' ? '' : `, ${agent.reason}`})`,
    };
  switch (agent.role) {
    case 'replica':
      return {
        state: 'slave',
        reason: alsoPinned(agent.servingReads ? '' : agent.reason || 'not serving reads yet', view),
      };
    case 'failed':
      return { state: 'failed', reason: agent.reason };
    case 'master': {
      if (view.epoch < newest.epoch)
        return {
          state: 'recovering',
          reason: `was master of epoch ${view.epoch}, has not heard of epoch ${newest.epoch}`,
        };
      const why = master !== null && 'why' in master ? master.why : 'another master is elected';
      const said = agent.reason === '' || agent.reason === why ? '' : `; ${agent.reason}`;
      return { state: 'recovering', reason: alsoPinned(`master that does not serve: ${why}${said}`, view) };
    }
    case 'stopped':
    case 'recovering':
    case 'promoting':
    case 'demoting':
      return { state: 'recovering', reason: agent.reason === '' ? agent.role : agent.reason };
    default:
      return { state: 'recovering', reason: `${String(agent.role)}: ${agent.reason}` };
  }
}

/** Facts that go with any state: settings found changed, and a store that may not vote. */
function alsoPinned(reason: string, view: View): string {
  const facts = [reason, view.agent?.pinned ?? '', view.voting ? '' : `does not vote: ${view.votingReason}`];
  return facts.filter((fact) => fact !== '').join('; ');
}

function parsePids(json: string): NodePids | null {
  if (json === '') return null;
  try {
    const pids = JSON.parse(json) as NodePids;
    return Array.isArray(pids.proxy) ? { ...NO_PIDS, ...pids } : null;
  } catch {
    return null; // from another version
  }
}
