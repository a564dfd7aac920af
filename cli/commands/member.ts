import { PhxError } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { absoluteDir, existingCluster, nodeDirOf } from '../cluster-dir.ts';
import { type JoinConfig, type NodeConfig, readNodeConfig } from '../config.ts';
import { RemoteMembers } from '../member/access.ts';
import { added, elected, noMember, removed, replaced, seated, serving } from '../member/goals.ts';
import { listText, memberList } from '../member/list.ts';
import { beginNode, dropNode, lockMembers, requireManager } from '../member/one-machine.ts';
import { type Goal, type MemberAccess, type ReachOptions, reach } from '../member/reach.ts';
import { memberIn, type Seen } from '../member/seen.ts';
import { askNodeToStop, startNode } from '../node-start.ts';
import type { AddOptions, MemberOptions, RemoveOptions, ReplaceOptions, SetOptions } from '../program-member.ts';
import type { StatusSource } from '../status-collector.ts';
import { sourceOf } from './status.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `phxsql member list` */
export async function memberListed(flags: MemberOptions): Promise<void> {
  const access = new RemoteMembers(sourceOf(flags), systemClock);
  const seen = await access.look();
  if (seen.members.length === 0) {
    const why = [...seen.replies.values()].map((reply) => ('error' in reply ? reply.error : 'not founded yet'));
    throw new PhxError('UNAVAILABLE', `list members: no node tells: ${why.join('; ')}`, {
      hint: 'phxsql status shows how every node is',
    });
  }
  await finish(flags, seen);
}

/** `phxsql member add` */
export async function memberAdd(node: number | undefined, flags: AddOptions): Promise<void> {
  const seen =
    flags.config === undefined
      ? await addHere(node, flags)
      : await addRemote(node, flags, readNodeConfig(flags.config));
  await finish(flags, seen);
}

/** `phxsql member replace` */
export async function memberReplace(old: number, flags: ReplaceOptions): Promise<void> {
  const seen =
    flags.config === undefined
      ? await replaceHere(old, flags)
      : await replaceRemote(old, flags, readNodeConfig(flags.config));
  await finish(flags, seen);
}

/** `phxsql member remove` */
export async function memberRemove(node: number, flags: RemoveOptions): Promise<void> {
  const seen =
    flags.config === undefined ? await removeHere(node, flags) : await removeRemote(node, flags, flags.config);
  await finish(flags, seen);
}

/** `phxsql member set` */
export async function memberSet(node: number, flags: SetOptions): Promise<void> {
  const { options } = begin(flags, sourceOf(flags));
  const hint = again(`set ${node} --election ${flags.election}`, flags);
  await finish(flags, await reach(elected(node, flags.election, hint), options));
}

/** One more node in the directory of a one-machine cluster. */
async function addHere(wanted: number | undefined, flags: AddOptions): Promise<Seen> {
  const dir = absoluteDir(flags.dir);
  await using _lock = await lockMembers(dir);
  requireManager(dir);
  const asked = { kind: flags.kind ?? 'voter', election: flags.election ?? 'neutral' };
  const { node, join } = await beginNode(dir, wanted, asked, await takenIds(flags), say);
  const { options } = begin(flags, { ...sourceOf(flags), self: node });
  return add(node, join, again(`add ${node}`, flags), options);
}

/** The node of the configuration (started if it does not run), or one that is connected already. */
async function addRemote(wanted: number | undefined, flags: AddOptions, config: NodeConfig): Promise<Seen> {
  const node = wanted ?? config.node;
  const { options } = begin(flags, sourceOf(flags));
  if (node !== config.node) {
    const join = { kind: flags.kind ?? 'voter', election: flags.election ?? 'neutral' };
    return add(node, join, again(`add ${node}`, flags), options);
  }
  const join = requireJoin(config, flags);
  return add(node, join, again('add', flags), { ...options, access: watching(options.access, config) });
}

async function add(node: number, join: JoinConfig, hint: string, options: ReachOptions): Promise<Seen> {
  const steps: readonly Goal[] = [
    seated(node, hint),
    added(node, join.kind, join.election, hint),
    serving(node, join.kind, hint),
  ];
  let seen: Seen | null = null;
  for (const step of steps) seen = await reach(step, options);
  say(`node ${node} is a ${join.kind} of the cluster`);
  return seen as Seen;
}

async function removeHere(node: number, flags: RemoveOptions): Promise<Seen> {
  const dir = absoluteDir(flags.dir);
  await using _lock = await lockMembers(dir);
  requireManager(dir);
  const isOurs = existingCluster(dir).nodes.some(({ id }) => id === node);
  const seen = await removeMember(node, flags, isOurs);
  if (!isOurs) return seen;
  const deleted = flags.deleteData === true;
  await dropNode(dir, node, deleted, systemClock);
  say(`node ${node} was removed and stopped; its data is ${deleted ? 'deleted' : `in ${nodeDirOf(dir, node)}`}`);
  return seen;
}

async function removeRemote(node: number, flags: RemoveOptions, file: string): Promise<Seen> {
  const own = readNodeConfig(file);
  const seen = await removeMember(node, flags, false);
  const stopping = own.node === node && askNodeToStop(own.dataDir);
  say(`node ${node} was removed; ${stopping ? 'it is being stopped' : 'stop it on its host'}`);
  return seen;
}

/** `known`: a node of ours, though perhaps it never became a member. */
async function removeMember(node: number, flags: RemoveOptions, known: boolean): Promise<Seen> {
  const { access, options } = begin(flags, sourceOf(flags));
  const before = await access.look();
  if (!known && before.members.length > 0 && memberIn(before, node) === undefined) throw noMember(before, node);
  return reach(removed(node, again(`remove ${node}`, flags)), options);
}

async function replaceHere(old: number, flags: ReplaceOptions): Promise<Seen> {
  const dir = absoluteDir(flags.dir);
  await using _lock = await lockMembers(dir);
  requireManager(dir);
  const join = await joinInPlaceOf(old, flags);
  const { node } = await beginNode(dir, flags.by, join, await takenIds(flags), say);
  const { options } = begin(flags, { ...sourceOf(flags), self: node });
  const seen = await replace(old, node, join, again(`replace ${old} --by ${node}`, flags), options);
  if (existingCluster(dir).nodes.some(({ id }) => id === old)) {
    await dropNode(dir, old, false, systemClock);
    say(`node ${old} is stopped; its data is in ${nodeDirOf(dir, old)}`);
  }
  return seen;
}

async function replaceRemote(old: number, flags: ReplaceOptions, config: NodeConfig): Promise<Seen> {
  const by = flags.by ?? config.node;
  const join = await joinInPlaceOf(old, flags);
  const { options } = begin(flags, sourceOf(flags));
  const hint = again(`replace ${old}${flags.by === undefined ? '' : ` --by ${by}`}`, flags);
  if (by !== config.node) return replace(old, by, join, hint, options);
  const own = requireJoin(config, flags);
  if (own.kind !== join.kind) {
    throw new PhxError('CONFIG_INVALID', `replace node ${old}: it is a ${join.kind}, ${config.file} says ${own.kind}`, {
      hint: `kind = "${join.kind}" in its [join] table`,
    });
  }
  return replace(old, by, join, hint, { ...options, access: watching(options.access, config) });
}

async function replace(old: number, by: number, join: JoinConfig, hint: string, options: ReachOptions): Promise<Seen> {
  await reach(seated(by, hint), options);
  await reach(replaced(old, by, hint), options);
  const seen = await reach(serving(by, join.kind, hint), options);
  say(`node ${by} took the seat of node ${old}`);
  return seen;
}

/** The newcomer becomes what the member was: kind and election rule. */
async function joinInPlaceOf(old: number, flags: MemberOptions): Promise<JoinConfig> {
  await using access = new RemoteMembers(sourceOf(flags), systemClock);
  const seen = await access.look();
  const seat = memberIn(seen, old);
  if (seat !== undefined) return { kind: seat.kind, election: seat.kind === 'voter' ? seat.election : 'neutral' };
  if (seen.members.length > 0) throw noMember(seen, old);
  throw new PhxError('UNAVAILABLE', `replace node ${old}: no member of the cluster answers`, {
    hint: 'phxsql status shows how every node is',
  });
}

function requireJoin(config: NodeConfig, { kind, election }: AddOptions): JoinConfig {
  if (config.join === null) {
    throw new PhxError('CONFIG_INVALID', `add node ${config.node}: ${config.file} has no [join] table`, {
      hint: '[join] makes a node join the cluster whose members [[nodes]] lists; without it a node founds a new one',
    });
  }
  const wrong =
    (kind ?? config.join.kind) !== config.join.kind || (election ?? config.join.election) !== config.join.election;
  if (!wrong) return config.join;
  throw new PhxError(
    'CONFIG_INVALID',
    `add node ${config.node}: --kind or --election contradicts [join] of ${config.file}`,
    {
      hint: 'change the file, or leave the flag out',
    },
  );
}

/** Looks at the members, and whether the node that is being started still runs. */
function watching(access: MemberAccess, config: NodeConfig): MemberAccess {
  const { started, check } = startNode(config);
  say(`node ${config.node} ${started ? 'is started in the background' : 'runs'}; data in ${config.dataDir}`);
  return {
    look: () => {
      check();
      return access.look();
    },
    change: (node, change, timeoutMs) => access.change(node, change, timeoutMs),
  };
}

/** Ids of members that this directory does not know (they joined from elsewhere). */
async function takenIds(flags: MemberOptions): Promise<readonly number[]> {
  await using access = new RemoteMembers(sourceOf(flags), systemClock);
  return (await access.look()).members.map(({ node }) => node);
}

function begin(flags: MemberOptions, source: StatusSource): { access: RemoteMembers; options: ReachOptions } {
  const access = new RemoteMembers(source, systemClock);
  const deadline = systemClock.now() + flags.timeout * 1000;
  return { access, options: { access, clock: systemClock, deadline, say } };
}

function again(what: string, { dir, config }: MemberOptions): string {
  const where = config === undefined ? `--dir ${absoluteDir(dir)}` : `--config ${config}`;
  return `what is done stays done; phxsql member ${what} ${where} goes on with it`;
}

async function finish({ json }: MemberOptions, seen: Seen): Promise<void> {
  const text = json ? JSON.stringify(memberList(seen), null, 2) : listText(seen);
  await new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()));
  // Connections to nodes that are down would keep the process for a while.
  process.exit(0);
}
