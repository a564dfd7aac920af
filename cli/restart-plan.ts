import type { NodeId } from '../base/brands.ts';
import { type ClusterStatus, membersIn, type NodeState, type Reply } from './status.ts';

/** A slave that lags more is not back yet. */
const LAG_MS_MAX = 1000;

/** Pure: why the cluster cannot do without `node` for a while, or null. */
export function restartRefusal(node: number, replies: ReadonlyMap<NodeId, Reply>): string | null {
  const voters = membersIn(replies).filter(({ kind }) => kind !== 'learner');
  if (voters.length === 0) return 'no node tells who belongs to the cluster';
  const missing: string[] = [];
  let up = 0;
  for (const { node: voter } of voters) {
    if (voter === node) continue;
    const reply = replies.get(voter as NodeId);
    if (reply === undefined || 'error' in reply) missing.push(`node ${voter} does not answer`);
    else if (!reply.status.view.voting) missing.push(`node ${voter} does not vote: ${reply.status.view.votingReason}`);
    else up += 1;
  }
  if (up * 2 > voters.length || !voters.some((voter) => voter.node === node)) return null;
  const rest = missing.length === 0 ? '' : ` (${missing.join('; ')})`;
  return `without node ${node} only ${up} of ${voters.length} voters are left, which is no majority${rest}`;
}

/** Pure: which of `left` comes next: the master last, so that there is one switchover. */
export function nextToRestart(left: readonly number[], master: number | null): number {
  return left.find((node) => node !== master) ?? (left[0] as number);
}

/** Pure: what a restarted node still lacks, or null. */
export function notBack(status: ClusterStatus, id: number): string | null {
  const node = status.nodes.find((each) => each.id === id);
  if (node === undefined) return `node ${id} is not in the status`;
  const why = lacks(node);
  return why === null ? null : `node ${id} ${why}`;
}

function lacks({ state, reason, lagMs }: NodeState): string | null {
  if (state === 'master') return null;
  if (state !== 'slave') return `is ${state}${reason === '' ? '' : `: ${reason}`}`;
  if (reason !== '') return `follows, but ${reason}`;
  return lagMs === null || lagMs > LAG_MS_MAX ? `is ${lagMs ?? '?'} ms behind` : null;
}
