import { unreachable } from '../base/invariant.ts';
import { ruleHolds } from '../base/rules.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { AgentRole, View } from '../proto/binlogsvr-types.ts';
import type { Cure } from './context.ts';
import type { Channel, Probe } from './mysqld-admin.ts';
import { relate } from './mysqld-watch.ts';
import type { ReprovisionFacts, ReprovisionKind } from './reprovision-plan.ts';
import { XA_ASKED_TURN_MS, XA_TURN_MS, type XaVerdict, xaUnlogged } from './xa.ts';

/**
 * What to do next, decided without doing it: `decide(observation)` is a pure function of what is known about the log
 * (binlogsvr's view), about the local mysqld (probes, exits) and of the role table in roles.ts. agent.ts performs the
 * answer and asks again. An answer that does nothing carries the reason in words; status shows it.
 */

/** A mysqld that has not answered for this long is killed: as a replica it has no lease that would run out first. */
export const SILENT_MS_MAX = 10_000;
/** New logins blocked and commits waiting for this long while sync is away: the ACL lock of protocol-findings 13. */
export const LOGIN_BLOCKED_MS_MAX = 1_000;
/** No master, and nothing executed of what this node lacks for this long, its appliers waiting for a lock: a reader's. */
export const BLOCKED_MS_MAX = 2_000;
/** The same where no lock shows: a large transaction, or a row some reader has locked. */
export const STALLED_MS_MAX = 10_000;
/** A stopped applier or receiver is attached again at most this often. */
export const REATTACH_MS = 5_000;
/** Each node waits its index times this before it proposes the first value of an empty log. */
export const BASELINE_STAGGER_MS = 200;
/** An older probe says nothing about now: it may not carry a decision to stand. */
export const PROBE_AGE_MS_MAX = 1_000;

/** How the GTIDs mysqld has executed stand to those in the local store. */
export type Relation = 'equal' | 'behind' | 'extra' | 'unknown';

export type MysqldFacts =
  | Readonly<{ state: 'none' }>
  | Readonly<{
      state: 'running';
      pid: number;
      /** Killing it has begun: it is never trusted again, whatever it answers. */
      condemned: boolean;
      /** The last answer of this very process. */
      probe: Probe | null;
      channel: Channel | null;
      /** Milliseconds since the last answer (since the start, if there was none). */
      silentMs: number;
      relation: Relation;
      /** The GTIDs behind `relation: 'extra'`, else ''. */
      extra: string;
      /** The store's set was asked for after the probe: what looks extra is extra (a view may lag behind a probe). */
      judged: boolean;
      /** How long commits have been waiting for an ack, without a pause. */
      waitingMs: number;
      /** How long new logins have been failing while the open connections answer. */
      loginBlockedMs: number;
      /** GTIDs it does not count as executed any more; '' or absent: none. */
      lost?: string;
      /** It lacks something of the log: how long it has executed nothing. 0 or absent: it lacks nothing, or gets on. */
      stalledMs?: number;
      /** XA transactions prepared here and not in the log, or the other way round; absent: none. */
      xa?: XaVerdict;
      /** Epoch this process was opened for writes in, by the mark on disk; 0 = none. */
      openedFor: number;
    }>;

export type Observation = Readonly<{
  self: number;
  role: AgentRole;
  /** What binlogsvr last said; null while it does not answer. */
  view: View | null;
  mysqld: MysqldFacts;
  /** The epoch this incarnation last stood upon, or agreed to take over from, with the mysqld that runs now; what it wins is
   * `stoodUpon + 1`. -1 = none. */
  stoodUpon: number;
  /** The epoch mysqld is open in (role master) or being opened for. */
  masterEpoch: number;
  /** The last order to hand over that was carried out, or undone. */
  handOverDone: number;
  /** Why the lease is not being renewed and since when, by the lease keeper; null while all is well. */
  unhealthy: Readonly<{ reason: string; sinceMs: number }> | null;
  /** Renewals are asked for and none was accepted for a lease, by the lease keeper; null or absent while all is well. */
  unanswered?: Readonly<{ reason: string; sinceMs: number }> | null;
  /** The machine was suspended since the last look: a lease held before is over. */
  suspended: boolean;
  /** Why role failed, and who can end that. */
  failure: string;
  cure?: Cure;
  /** Absent: this agent does not replace its node's data. */
  reprovision?: ReprovisionFacts;
  /**
   * How long a proxy that hears of nothing newer may still take this node for the master: one takeover from when it left the
   * role, or from when this agent began, who does not know what its predecessor was.
   */
  trustedMs: number;
  /** Milliseconds since the channel was last attached, and since there was a log without a first value. */
  attachedMs: number;
  emptyLogMs: number;
  /** How long there has been no open epoch, or this node has been asked to take over; absent: 0. */
  wantedMs?: number;
  /** How many nodes stand before this one (stand-turn.ts); absent: none. */
  turn?: number;
  /** What a cluster founded by this node begins with: '', or what an adopted server had executed. */
  foundingSet: string;
  /** This node's place among the configured ones, from 0. */
  index: number;
  lease: LeaseTimes;
}>;

export type Action =
  /** Nothing to do but wait; mysqld stays as it is. */
  | Readonly<{ do: 'wait'; reason: string }>
  /** Kill and reap whatever runs, release an own open epoch, cut the binlog, start mysqld; `logsReplicated`: as xa.ts needs it. */
  | Readonly<{ do: 'recover'; reason: string; suspects: boolean; logsReplicated?: true }>
  /** mysqld runs, freshly recovered or adopted: compare it with the store and attach it as a replica. */
  | Readonly<{ do: 'settle'; reason: string }>
  /** A replica that was kept offline takes readers. */
  | Readonly<{ do: 'openForReads' }>
  /** Readers' sessions on a replica are ended: one may hold a lock its appliers wait for. */
  | Readonly<{ do: 'closeReaders'; reason: string }>
  | Readonly<{ do: 'baseline'; gtidSet: string }>
  | Readonly<{ do: 'fence'; epoch: number; reason: string }>
  | Readonly<{ do: 'stand'; epoch: number; gtidExecuted: string }>
  | Readonly<{ do: 'promote'; epoch: number; gtidSet: string }>
  /** This node is no member any more: end mysqld for good. */
  | Readonly<{ do: 'retire'; reason: string }>
  /** Say of an own epoch that nobody will write in it. */
  | Readonly<{ do: 'release'; epoch: number; reason: string }>
  /** The adopted mysqld goes on as the master it still is. */
  | Readonly<{ do: 'resume'; epoch: number }>
  /** Leave the master's role: soft if nothing waits, else by SIGKILL. `release` closes the epoch on the way. */
  | Readonly<{ do: 'demote'; epoch: number; release: boolean; reason: string }>
  /** A planned switchover: mysqld is closed, `to` is made master. */
  | Readonly<{ do: 'handOver'; id: number; epoch: number; to: number }>
  | Readonly<{ do: 'fail'; reason: string; cure: Cure }>
  /** Take the data anew from another node, or go on with that. */
  | Readonly<{ do: 'reprovision'; kind: ReprovisionKind; reason: string }>;

const wait = (reason: string): Action => ({ do: 'wait', reason });
const kill = (reason: string, suspects = false): Action => ({ do: 'recover', reason, suspects });

/** The reason in the report of a node that is no member any more. */
export const REMOVED = 'removed from the cluster';

export function decide(o: Observation): Action {
  if (o.view?.membership?.kind === 'removed' && !BUSY_ROLES.has(o.role)) {
    // What would be read of its mysqld is older with every moment.
    const ended = o.role === 'stopped' && o.mysqld.state === 'none';
    return ended ? wait(REMOVED) : { do: 'retire', reason: REMOVED };
  }
  // What lies in the data directory is neither the old data nor a whole copy.
  if (o.reprovision?.underWay) return replaceData(o, 'behind', 'a re-provisioning was begun');
  switch (o.role) {
    case 'stopped':
      return decideAdoption(o);
    case 'recovering':
      if (o.mysqld.state === 'none') return kill('mysqld does not run');
      if (o.mysqld.condemned) return kill('mysqld has to be killed');
      return decideSettle(o.mysqld);
    case 'replica':
      return decideReaders(o, decideReplica(o));
    case 'promoting':
      return kill('the promotion was broken off');
    case 'demoting':
      return kill('the demotion was broken off');
    case 'master':
      return decideMaster(o);
    case 'failed':
      return decideFailed(o);
    default:
      return unreachable(o.role);
  }
}

/** These are left by their own ways first. */
const BUSY_ROLES: ReadonlySet<AgentRole> = new Set(['promoting', 'master', 'demoting']);

type Running = Extract<MysqldFacts, { state: 'running' }>;

const NO_DIFFERENCE: XaVerdict = { difference: null, sure: false };

const ownsOpenEpoch = (o: Observation): boolean => o.view?.open === true && o.view.master === o.self;

/** The agent began: a mysqld that outlived the last one is adopted without a restart, if it is what it should be. */
function decideAdoption(o: Observation): Action {
  const { mysqld, view } = o;
  if (mysqld.state === 'none' || mysqld.condemned) return kill('mysqld does not run');
  if (mysqld.probe === null) {
    // Commits that no log will take may keep everybody from logging in (protocol-findings 13): no use in waiting for it.
    const over = view !== null && (view.epoch > mysqld.openedFor || (view.epoch === mysqld.openedFor && !view.open));
    if (mysqld.openedFor > 0 && over) {
      return kill(`the adopted mysqld was opened for epoch ${mysqld.openedFor}, the log is at ${describe(view)}`, true);
    }
    if (mysqld.silentMs > SILENT_MS_MAX)
      return kill(`the adopted mysqld has not answered for ${seconds(mysqld.silentMs)}`);
    return wait('asks the mysqld that outlived the last agent');
  }
  if (mysqld.probe.superReadOnly) return decideSettle(mysqld);
  if (view === null)
    return wait('adopted a mysqld that is open for writes; waits for binlogsvr to say whether it may be');
  if (mysqld.probe.pinned !== '') return kill(`the adopted mysqld has changed settings: ${mysqld.probe.pinned}`);
  if (ownsOpenEpoch(o) && mysqld.openedFor === view.epoch && !o.suspended) return { do: 'resume', epoch: view.epoch };
  return kill(
    `the adopted mysqld is open for writes of epoch ${mysqld.openedFor}, the log is at ${describe(view)}`,
    true,
  );
}

/** Recovered or adopted, read-only: may it become a replica? */
function decideSettle(mysqld: Running): Action {
  if (mysqld.probe === null) {
    if (mysqld.silentMs > SILENT_MS_MAX) return kill(`mysqld has not answered for ${seconds(mysqld.silentMs)}`);
    return wait('mysqld does not answer yet');
  }
  if (!mysqld.probe.superReadOnly) return kill('mysqld is open for writes and not the master');
  if (mysqld.waitingMs > 0) return kill('commits wait for an ack on a mysqld that is not the master', true);
  if (mysqld.probe.pinned !== '') return kill(`mysqld has changed settings: ${mysqld.probe.pinned}`);
  const { difference, sure } = mysqld.xa ?? NO_DIFFERENCE;
  if (difference !== null && ruleHolds('xa-prepared-as-logged')) {
    if (!sure) return wait(`looks once more: ${difference.words}`);
    return { do: 'fail', reason: difference.words, cure: 'reprovision' };
  }
  return { do: 'settle', reason: 'compares mysqld with the store' };
}

/**
 * Reads of a former master's mysqld would be stale where a proxy still holds a bound of its last lease (I5, protocol-findings
 * 7a): it stays offline until none can. Everything else goes before, and goes on meanwhile.
 */
function decideReaders(o: Observation, otherwise: Action): Action {
  if (otherwise.do !== 'wait' || o.mysqld.state === 'none' || o.mysqld.probe?.offlineMode !== true) return otherwise;
  if (o.trustedMs > 0 && ruleHolds('former-master-stays-offline')) return otherwise;
  // What a client did to its binlog would be committed at once.
  if (o.mysqld.probe.logsReplicated === true) return otherwise;
  return { do: 'openForReads' };
}

function decideReplica(o: Observation): Action {
  const { mysqld, view } = o;
  const trouble = troubleOfReplica(o);
  if (trouble !== null) return trouble;
  if (mysqld.state === 'none' || mysqld.probe === null || view === null) return wait('binlogsvr does not answer');

  // An epoch of its own that this mysqld was not elected with (the agent or mysqld died since, or the election was
  // chosen late) is given up at once: nobody else may stand before its lease is over (protocol-findings 29).
  if (ownsOpenEpoch(o)) {
    if (o.stoodUpon !== view.epoch - 1 && ruleHolds('only-who-stood-promotes')) {
      return { do: 'release', epoch: view.epoch, reason: `this mysqld did not stand for epoch ${view.epoch}` };
    }
    if (o.suspended) return { do: 'release', epoch: view.epoch, reason: 'the machine was suspended' };
    return { do: 'promote', epoch: view.epoch, gtidSet: view.gtidSet };
  }
  if (!view.baseline) return decideBaseline(o, mysqld.probe, view);

  const obstacle = electable(o, mysqld, view);
  const unlogged = ruleHolds('stand-logs-xa') ? xaUnlogged(mysqld.probe, view) : null;
  if (view.open) {
    if (!view.takeoverDue) return decideFollower(o, mysqld.probe, view, obstacle === null ? unlogged : null);
    if (obstacle !== null) return wait(`the lease of node ${view.master} is over; ${obstacle}`);
    return { do: 'fence', epoch: view.epoch, reason: `the lease of node ${view.master} is over` };
  }
  if (obstacle !== null) return wait(`no master; ${obstacle}`);
  if (mysqld.relation !== 'equal') {
    const stalledMs = mysqld.stalledMs ?? 0;
    const lock = mysqld.channel?.blocked ?? '';
    if (stalledMs <= (lock === '' ? STALLED_MS_MAX : BLOCKED_MS_MAX)) {
      return wait('no master; executes what the log holds before it stands');
    }
    const why = lock === '' ? '' : ` (${lock})`;
    return { do: 'closeReaders', reason: `no master, and nothing executed for ${seconds(stalledMs)}${why}` };
  }
  if (unlogged !== null) return restartForXa(o, unlogged, XA_TURN_MS, 'before it stands');
  return { do: 'stand', epoch: view.epoch, gtidExecuted: mysqld.probe.gtidExecuted };
}

/** Another node is master, with its lease running; `unlogged`: what keeps this one from taking over, if only that does. */
function decideFollower(o: Observation, probe: Probe, view: View, unlogged: string | null): Action {
  const asked = (view.membership?.takesOver ?? 0) !== 0;
  if (asked && unlogged !== null) return restartForXa(o, unlogged, XA_ASKED_TURN_MS, 'before it takes over');
  if (!asked && probe.logsReplicated === true) {
    return kill(`node ${view.master} is master: mysqld need not log any more what it replicates`);
  }
  const partly = view.xa?.complete === false && (probe.prepared?.length ?? 0) > 0;
  const note = partly ? '; the log does not know all XA transactions that are prepared: compared in part only' : '';
  return wait(`follows node ${view.master}, master of epoch ${view.epoch}${note}`);
}

/**
 * A replica's mysqld forgets what is prepared, with its GTID, when it is killed; the log sends it again, and with
 * log_replica_updates=ON its end will be logged (protocol-findings 1). Once: the mysqld that comes up is not restarted for that.
 */
function restartForXa(o: Observation, why: string, turnMs: number, when: string): Action {
  const leftMs = (o.turn ?? 0) * turnMs - (o.wantedMs ?? 0);
  if (leftMs > 0) return wait(`${why}: leaves it for ${seconds(leftMs)} to others to restart for that`);
  const reason = `${why}: restarts it once with log_replica_updates=ON ${when}`;
  return { do: 'recover', reason, suspects: false, logsReplicated: true };
}

/** What makes a replica's mysqld unfit to go on as it is. */
export function troubleOfReplica(o: Observation): Action | null {
  const { mysqld } = o;
  if (mysqld.state === 'none' || mysqld.condemned) return kill('mysqld ended');
  if (mysqld.silentMs > SILENT_MS_MAX) return kill(`mysqld has not answered for ${seconds(mysqld.silentMs)}`);
  const probe = mysqld.probe;
  if (probe === null) return null;
  // Appliers, STOP REPLICA and KILL hang behind such a waiter; nothing of it was committed (protocol-findings 14). The
  // cut needs the store, so without binlogsvr mysqld is left to its readers for now.
  if (mysqld.waitingMs > 0 && o.view !== null) {
    return kill('a statement on this replica wrote to its binlog and waits for an ack nobody sends', true);
  }
  if (!probe.superReadOnly) return kill('super_read_only was switched off on a replica', true);
  if (probe.pinned !== '') return kill(`pinned settings were changed: ${probe.pinned}`);
  if (mysqld.channel?.foreign) return kill(`a replication channel '${mysqld.channel.foreign}' that is not ours`);
  const { difference, sure } = mysqld.xa ?? NO_DIFFERENCE;
  const ofXa = sure && ruleHolds('xa-prepared-as-logged') ? difference : null;
  if (ofXa?.kind === 'more') return kill(ofXa.words);
  const diverged = divergence(mysqld) ?? ofXa?.words ?? null;
  if (diverged !== null) return { do: 'fail', reason: diverged, cure: 'reprovision' };
  if (mysqld.relation === 'extra' && mysqld.judged) {
    // The local store may only be behind (it re-learns the log after damage): settle asks a majority before it judges.
    return { do: 'settle', reason: `mysqld has executed what this store does not know: ${mysqld.extra}` };
  }
  const channel = mysqld.channel;
  if (
    channel !== null &&
    !(channel.receiver !== 'OFF' && channel.applier) &&
    o.attachedMs > REATTACH_MS &&
    o.view !== null
  ) {
    // The local log would only refuse it again.
    if (o.view.needsClone !== '') return replaceData(o, 'behind', o.view.needsClone);
    const why = channel.error === '' ? '' : `: ${channel.error}`;
    return { do: 'settle', reason: `replication stopped${why}; attaches again` };
  }
  return null;
}

/** What shows that the data is not what the log made, though all it counts as executed is in the log. */
function divergence({ lost, channel }: Running): string | null {
  if (lost) return `mysqld does not count as executed any more what it had executed: ${lost}`;
  if (channel?.conflict && !channel.applier)
    return `the log cannot be applied to this node's data: ${channel.conflict}`;
  return null;
}

function decideBaseline(o: Observation, probe: Probe, view: View): Action {
  if (!view.voting) return wait(`the log is empty; ${view.votingReason}`);
  const wanted = o.foundingSet;
  if (relate(probe.gtidExecuted, wanted).relation !== 'equal' && ruleHolds('founder-is-empty')) {
    if (wanted === '') {
      return wait('the log is empty but this mysqld holds transactions: only an empty one can found a cluster');
    }
    return wait(`the adopted server has executed ${probe.gtidExecuted}, not the ${wanted} it was adopted with`);
  }
  const turn = o.index * BASELINE_STAGGER_MS;
  if (o.emptyLogMs < turn) return wait('the log is empty; leaves its first value to a node listed earlier');
  return { do: 'baseline', gtidSet: wanted };
}

/** Why this node may not stand now, or null. */
export function electable(o: Observation, mysqld: Running, view: View): string | null {
  if (!view.voting) return view.votingReason === '' ? 'this store does not vote' : view.votingReason;
  if (!view.quorum) return 'waits for a majority of nodes';
  if (mysqld.silentMs > PROBE_AGE_MS_MAX) return `mysqld has not answered for ${seconds(mysqld.silentMs)}`;
  if (mysqld.waitingMs > 0) return 'commits wait on the local mysqld';
  if (o.suspended) return 'the machine was suspended a moment ago';
  if (mysqld.xa?.difference && ruleHolds('xa-prepared-as-logged')) return mysqld.xa.difference.words;
  const seat = view.membership;
  if (seat && seat.standRefusal !== '') return seat.standRefusal;
  if (seat && seat.standInMs > 0) return `leaves it to a preferred node for ${seconds(seat.standInMs)} more`;
  return null;
}

function decideMaster(o: Observation): Action {
  const { mysqld, view, masterEpoch: epoch } = o;
  if (mysqld.state === 'none' || mysqld.condemned) return kill('mysqld of the master ended');
  if (view !== null && !(ownsOpenEpoch(o) && view.epoch === epoch)) {
    return { do: 'demote', epoch, release: false, reason: `epoch ${epoch} is over: ${describe(view)}` };
  }
  const probe = mysqld.probe;
  if (probe !== null && probe.pinned !== '') return kill(`pinned settings were changed: ${probe.pinned}`, true);
  if (mysqld.relation === 'extra' && mysqld.judged) {
    return kill(`mysqld has executed transactions that are not in the log: ${mysqld.extra}`);
  }
  const diverged = divergence(mysqld);
  if (diverged !== null) return { do: 'fail', reason: diverged, cure: 'reprovision' };
  // What it brings in never reaches the binlog, and so not the log (design 9.17).
  const inbound = mysqld.channel;
  if (inbound?.foreign) return kill(`a replication channel '${inbound.foreign}' that is not ours`);
  if (inbound && (inbound.receiver !== 'OFF' || inbound.applier)) return kill('the master replicates from somewhere');
  if (mysqld.silentMs > o.lease.leaseMs) return kill(`mysqld has not answered for ${seconds(mysqld.silentMs)}`);
  if (o.unhealthy !== null && o.unhealthy.sinceMs > o.lease.leaseMs) return kill(o.unhealthy.reason, true);
  if (
    mysqld.loginBlockedMs > LOGIN_BLOCKED_MS_MAX &&
    mysqld.waitingMs > LOGIN_BLOCKED_MS_MAX &&
    !syncAttached(view, epoch)
  ) {
    return kill('nobody can log in while commits wait and sync is away', true);
  }
  if (o.suspended) return { do: 'demote', epoch, release: true, reason: 'the machine was suspended' };
  const { handOverTo: to = 0, handOverId: id = 0 } = view?.membership ?? {};
  if (probe?.superReadOnly) return { do: 'demote', epoch, release: true, reason: 'super_read_only was switched on' };
  if (to !== 0 && id !== o.handOverDone && o.unhealthy === null) return { do: 'handOver', id, epoch, to };
  if (o.unhealthy !== null) return wait(`master of epoch ${epoch}; does not renew: ${o.unhealthy.reason}`);
  if (view === null) return wait(`master of epoch ${epoch}; binlogsvr does not answer`);
  // Without a majority nobody could do better, with one another takes over: either way the log will tell.
  if (o.unanswered) {
    const { reason, sinceMs } = o.unanswered;
    return wait(`master of epoch ${epoch}; no renewal accepted for ${seconds(sinceMs)}: ${reason}`);
  }
  return wait(`master of epoch ${epoch}`);
}

function decideFailed(o: Observation): Action {
  if (ownsOpenEpoch(o) && o.view !== null) {
    const open = o.mysqld.state === 'running' && o.mysqld.probe?.superReadOnly === false;
    if (!open) return { do: 'release', epoch: o.view.epoch, reason: o.failure };
  }
  return o.cure === 'reprovision' ? replaceData(o, 'diverged', o.failure) : wait(o.failure);
}

/** The node's own data is of no use to the cluster. */
function replaceData({ reprovision }: Observation, kind: ReprovisionKind, reason: string): Action {
  if (reprovision === undefined) return wait(`${reason}; it has to be cloned from another node`);
  const { mode, underWay, retryInMs, said } = reprovision;
  if (mode === 'off' && !underWay)
    return wait(`${reason}; it has to be cloned from another node, and recovery.reprovision is off`);
  if (retryInMs > 0) return wait(`${said}; again in ${Math.ceil(retryInMs / 1000)} s`);
  return { do: 'reprovision', kind, reason };
}

export function syncAttached(view: View | null, epoch: number): boolean {
  return view?.sync?.state === 'attached' && view.sync.epoch === epoch;
}

function describe(view: View): string {
  if (view.master === 0) return 'no master yet';
  return `epoch ${view.epoch} of node ${view.master}, ${view.open ? 'open' : 'closed'}`;
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
