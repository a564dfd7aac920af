import type { MemberStatus } from '../../proto/binlogsvr-types.ts';
import { columns } from '../status-text.ts';
import { behindOf, memberIn, type Seen, statusIn } from './seen.ts';

/** `phxsql member list --json`. Others script against the names. */
export type MemberList = Readonly<{
  /** Raised by each change of the members. */
  configVersion: number;
  /** How many vote, witnesses included, and how many of them may be lost. */
  voters: number;
  mayLose: number;
  members: readonly MemberEntry[];
}>;

export type MemberEntry = Readonly<{
  node: number;
  kind: MemberStatus['kind'];
  election: MemberStatus['election'];
  storeId: string;
  host: string;
  rpc: number;
  rw: number;
  ro: number;
  dump: number;
  mysql: number;
  reachable: boolean;
  /** Its store is the one the log names and has a vote; null while it does not answer. */
  voting: boolean | null;
  /** Instances of the log it lacks, and of those its MySQL; null while nobody can tell. */
  logBehind: number | null;
  mysqlBehind: number | null;
  /** Why it does not do what it is a member for, '' if there is nothing to say. */
  reason: string;
}>;

export function memberList(seen: Seen): MemberList {
  const voters = seen.members.filter(({ kind }) => kind !== 'learner').length;
  return {
    configVersion: seen.configVersion,
    voters,
    mayLose: Math.max(0, Math.ceil(voters / 2) - 1),
    members: [...seen.members].sort((a, b) => a.node - b.node).map((member) => entryOf(seen, member)),
  };
}

export function listText(seen: Seen): string {
  const list = memberList(seen);
  const rows = list.members.map((member) => [
    String(member.node),
    member.kind,
    member.kind === 'voter' ? member.election : '-',
    member.voting === null ? '?' : member.voting ? 'yes' : 'no',
    `${member.host}:${member.rpc}`,
    member.logBehind === null ? '-' : String(member.logBehind),
    member.mysqlBehind === null ? '-' : String(member.mysqlBehind),
    member.reason,
  ]);
  const head = ['node', 'kind', 'election', 'votes', 'address', 'log behind', 'mysql behind', ''];
  const may = `${list.voters} vote, ${list.mayLose} of them may be lost`;
  return [`configuration ${list.configVersion}: ${may}`, '', ...columns([head, ...rows])].join('\n');
}

function entryOf(seen: Seen, member: MemberStatus): MemberEntry {
  const { node, kind, election, storeId } = member;
  const address = seen.nodes.find(({ id }) => id === node);
  const { host = '', rpc = 0, rw = 0, ro = 0, dump = 0, mysql = 0 } = address ?? {};
  const view = statusIn(seen, node)?.view;
  const behind = behindOf(seen, node);
  return {
    ...{ node, kind, election, storeId, host, rpc, rw, ro, dump, mysql },
    reachable: view !== undefined,
    voting: view?.voting ?? null,
    logBehind: behind?.log ?? null,
    mysqlBehind: behind?.mysql ?? null,
    reason: reasonOf(seen, node),
  };
}

function reasonOf(seen: Seen, node: number): string {
  const reply = [...seen.replies].find(([id]) => id === node)?.[1];
  if (reply === undefined) return 'not asked';
  if ('error' in reply) return reply.error;
  const { view } = reply.status;
  if (view.needsClone !== '') return view.needsClone;
  return view.voting || memberIn(seen, node)?.kind === 'learner' ? '' : view.votingReason;
}
