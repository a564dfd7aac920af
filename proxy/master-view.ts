import type { MonoMs } from '../base/brands.ts';
import { unreachable } from '../base/invariant.ts';
import { ruleHolds } from '../base/rules.ts';
import type { NodeAddress } from '../base/topology.ts';
import type { LeaseReply, View } from '../proto/binlogsvr-types.ts';
import { nodesOf, sameAddress } from '../proto/member-nodes.ts';
import type { ProxyView, SlaveBackend } from './view.ts';

/**
 * What this host's proxy believes about the cluster, from reports of every node's binlogsvr. Pure: events in, state out.
 *
 *   epoch E:   elected ──own agent serves writes in E, lease runs──► master ──┐
 *      ▲          │                                                           │ any node shows E fenced
 *      │          └───────────────── any node shows E fenced ──► closed ◄─────┘
 *      └────────────────── any node shows an epoch > E ───────────┘
 *
 * Within an epoch "closed" is final: a node that has not applied the fence yet still shows it open. Only the elected
 * node's own report makes it the master; only its own word, counted from the time of asking, says how long its lease runs.
 */
export type ClusterKnown = Readonly<{
  self: number;
  /** This node is no member any more: its proxy sends nobody anywhere. */
  removed: boolean;
  /** What the configuration says, for what the log does not. */
  configured: readonly NodeAddress[];
  /** Of the members in `nodes`; 0: they are the configured ones. */
  configVersion: number;
  times: MasterViewTimes;
  nodes: readonly NodeKnown[];
  epoch: number;
  elected: number;
  closed: boolean;
  /** The elected node's own agent said so in `epoch`, in its newest report. */
  claimed: boolean;
  /** The elected node's words on what it does while it does not serve. */
  claimReason: string;
  lease: LeaseKnown | null;
}>;

export type MasterViewTimes = Readonly<{
  /** Taken off each lease bound: difference in clock rate over one lease. */
  leaseMarginMs: number;
  /** A slave leaves the rotation this long after its report stream broke ... */
  streamLostMs: number;
  /** ... or after its last report on a stream that looks whole (they come every 500 ms at least). */
  silentMs: number;
}>;

export const MASTER_VIEW_TIMES: MasterViewTimes = { leaseMarginMs: 30, streamLostMs: 1000, silentMs: 2000 };

type NodeKnown = Readonly<{
  address: NodeAddress;
  view: View | null;
  viewAt: MonoMs;
  /** When its report stream broke; null while it runs. */
  lostAt: MonoMs | null;
  /** Some node had applied `index` at `since`, this one had not: it has been behind since then. */
  behind: Readonly<{ index: number; since: MonoMs }> | null;
}>;

type LeaseKnown = Readonly<{ askedAt: MonoMs; until: MonoMs; untilWall: number }>;

export type ClusterEvent =
  | Readonly<{ kind: 'view'; at: MonoMs; view: View }>
  | Readonly<{ kind: 'lost'; at: MonoMs; node: number }>
  /** Asked at `askedAt`/`askedWall`, both read before the question was sent. */
  | Readonly<{ kind: 'lease'; askedAt: MonoMs; askedWall: number; reply: LeaseReply }>;

export function initialKnown(
  nodes: readonly NodeAddress[],
  self: number,
  times: MasterViewTimes = MASTER_VIEW_TIMES,
): ClusterKnown {
  return {
    self,
    removed: false,
    configured: nodes,
    configVersion: 0,
    times,
    nodes: nodes.map(unheard),
    epoch: 0,
    elected: 0,
    closed: false,
    claimed: false,
    claimReason: '',
    lease: null,
  };
}

const unheard = (address: NodeAddress): NodeKnown => {
  const never = 0 as MonoMs;
  return { address, view: null, viewAt: never, lostAt: never, behind: null };
};

export function learn(known: ClusterKnown, event: ClusterEvent): ClusterKnown {
  switch (event.kind) {
    case 'view':
      return learnView(known, event.at, event.view);
    case 'lost':
      return replaceNode(known, event.node, (node) => ({ ...node, lostAt: node.lostAt ?? event.at }));
    case 'lease':
      return learnLease(known, event.askedAt, event.askedWall, event.reply);
    default:
      return unreachable(event);
  }
}

function learnView(known: ClusterKnown, at: MonoMs, view: View): ClusterKnown {
  let next = known;
  if (view.epoch > known.epoch) {
    next = {
      ...known,
      epoch: view.epoch,
      elected: view.master,
      closed: false,
      claimed: false,
      claimReason: '',
      lease: null,
    };
  }
  if (view.epoch === next.epoch) {
    if (!view.open && !next.closed) next = { ...next, closed: true, claimed: false, lease: null };
    if (view.node === next.elected && view.open && !next.closed && view.agent !== null) {
      // A missing agent report (binlogsvr restarted) takes nothing back: the lease bound ends what is no longer true.
      const { agent } = view;
      const claimed = agent.servingWrites && agent.epoch === view.epoch;
      const claimReason = claimed ? '' : `${agent.role}${agent.reason === '' ? '' : `, ${agent.reason}`}`;
      next = { ...next, claimed, claimReason };
    }
  }
  if (view.node === known.self) next = { ...next, removed: view.membership?.kind === 'removed' };
  next = learnMembers(next, view);
  next = replaceNode(next, view.node, (node) => ({ ...node, view, viewAt: at, lostAt: null }));
  return { ...next, nodes: measureBehind(next.nodes, at) };
}

/** The members of the log replace the configured nodes, a newer configuration an older one; this node itself always stays. */
function learnMembers(known: ClusterKnown, { members, configVersion = 0 }: View): ClusterKnown {
  if (members === undefined || members.length === 0 || configVersion <= known.configVersion) return known;
  const addresses = nodesOf(members, known.configured);
  const self = known.nodes.find(({ address }) => address.id === known.self);
  const stays = self === undefined || addresses.some(({ id }) => id === known.self) ? [] : [self];
  const nodes = addresses.map((address) => {
    const before = known.nodes.find((node) => node.address.id === address.id);
    return before !== undefined && sameAddress(before.address, address) ? before : unheard(address);
  });
  return { ...known, configVersion, nodes: [...nodes, ...stays] };
}

/** A node cut off from its peers sees no lag of its own: compare what each node has applied with the furthest one. */
function measureBehind(nodes: readonly NodeKnown[], at: MonoMs): readonly NodeKnown[] {
  let furthest = 0;
  for (const node of nodes) furthest = Math.max(furthest, node.view?.appliedIndex ?? 0);
  return nodes.map((node) => {
    const applied = node.view?.appliedIndex ?? 0;
    if (applied >= furthest) return node.behind === null ? node : { ...node, behind: null };
    if (node.behind !== null && applied < node.behind.index) return node;
    return { ...node, behind: { index: furthest, since: at } };
  });
}

function learnLease(known: ClusterKnown, askedAt: MonoMs, askedWall: number, reply: LeaseReply): ClusterKnown {
  if (reply.epoch !== known.epoch || known.closed) return known;
  if (reply.node !== known.elected && ruleHolds('only-the-holder-states-its-lease')) return known;
  // The newest question counts, even where its answer is shorter (a lease given back); answers may overtake each other.
  if (known.lease !== null && askedAt < known.lease.askedAt) return known;
  const leftMs = Math.max(0, reply.remainingMs - known.times.leaseMarginMs);
  const lease = { askedAt, until: (askedAt + leftMs) as MonoMs, untilWall: askedWall + leftMs };
  return { ...known, lease };
}

function replaceNode(known: ClusterKnown, id: number, change: (node: NodeKnown) => NodeKnown): ClusterKnown {
  return { ...known, nodes: known.nodes.map((node) => (node.address.id === id ? change(node) : node)) };
}

/** The node whose lease to ask for, or null. It is asked from its election on, so that the bound is there when it opens. */
export function leaseHolderOf(known: ClusterKnown): number | null {
  return known.closed || known.elected === 0 ? null : known.elected;
}

/** What workers are to know at `now`. `seq` is the caller's. */
export function proxyViewOf(known: ClusterKnown, now: MonoMs, wall: number): Omit<ProxyView, 'seq'> {
  const { epoch, closed, lease } = known;
  if (known.removed) {
    const nobody = {
      elected: 0,
      closedEpoch: epoch,
      master: null,
      readUntil: 0 as MonoMs,
      readUntilWall: 0,
      slaves: [],
    };
    const closed = 'this node was removed from the cluster';
    return { epoch, ...nobody, reason: closed, closed };
  }
  const runs = lease !== null && now <= lease.until && wall <= lease.untilWall;
  const holder = known.claimed && runs ? known.nodes.find((node) => node.address.id === known.elected) : undefined;
  return {
    epoch,
    elected: closed ? 0 : known.elected,
    closedEpoch: closed ? epoch : Math.max(0, epoch - 1),
    master:
      holder === undefined ? null : { node: holder.address.id, host: holder.address.host, port: holder.address.mysql },
    reason: holder === undefined ? whyNoMaster(known, now) : '',
    readUntil: lease?.until ?? (0 as MonoMs),
    readUntilWall: lease?.untilWall ?? 0,
    slaves: slavesOf(known, now),
  };
}

function slavesOf(known: ClusterKnown, now: MonoMs): readonly SlaveBackend[] {
  const slaves: SlaveBackend[] = [];
  for (const node of known.nodes) {
    const { address, view } = node;
    if (view === null || address.mysql === 0 || !isFresh(known, node, now)) continue;
    if (view.agent === null || !view.agentAlive || !view.agent.servingReads) continue;
    if (!known.closed && address.id === known.elected) continue;
    const behindMs = node.behind === null ? 0 : now - node.behind.since;
    slaves.push({
      node: address.id,
      host: address.host,
      port: address.mysql,
      lagMs: Math.max(view.lagMs, behindMs),
      local: address.id === known.self,
    });
  }
  return slaves;
}

function isFresh(known: ClusterKnown, node: NodeKnown, now: MonoMs): boolean {
  if (node.view === null) return false;
  if (node.lostAt !== null) return now - node.lostAt <= known.times.streamLostMs;
  return now - node.viewAt <= known.times.silentMs;
}

function whyNoMaster(known: ClusterKnown, now: MonoMs): string {
  const heard = known.nodes.filter((node) => isFresh(known, node, now));
  const silent = known.nodes.filter((node) => !heard.includes(node)).map((node) => node.address.id);
  const missing = silent.length === 0 ? '' : ` (no word from node ${silent.join(', ')})`;
  if (heard.length === 0) return `no binlogsvr answers this proxy${missing}`;
  const quorum = heard.some((node) => node.view?.quorum === true);
  const without = quorum ? '' : ', which needs a quorum';
  if (known.epoch === 0) {
    const founded = heard.some((node) => node.view?.baseline === true);
    return `waiting for ${founded ? 'the first election' : 'the cluster to be founded'}${without}${missing}`;
  }
  const { elected, epoch } = known;
  if (known.closed) {
    return `node ${elected} is no longer master (epoch ${epoch} is fenced); waiting for an election${without}${missing}`;
  }
  if (!known.claimed) {
    const doing = known.claimReason === '' ? '' : `: ${known.claimReason}`;
    return `node ${elected} was elected (epoch ${epoch}) and does not take writes yet${doing}${missing}`;
  }
  return `node ${elected} (epoch ${epoch}) does not confirm its lease; waiting for it or for an election${without}${missing}`;
}

/** Equal but for `seq` and the lease bound. Lag counts in steps of a second, or no view would ever equal the one before. */
export function sameView(a: Omit<ProxyView, 'seq'>, b: Omit<ProxyView, 'seq'>): boolean {
  return (
    a.epoch === b.epoch &&
    a.elected === b.elected &&
    a.closedEpoch === b.closedEpoch &&
    a.master?.node === b.master?.node &&
    a.reason === b.reason &&
    a.slaves.length === b.slaves.length &&
    a.slaves.every((slave, i) => {
      const other = b.slaves[i];
      return slave.node === other?.node && Math.floor(slave.lagMs / 1000) === Math.floor(other.lagMs / 1000);
    })
  );
}
