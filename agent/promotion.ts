import { delay } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { makeAccounts, missingAccounts } from './accounts.ts';
import { type AgentContext, Doubt } from './context.ts';
import { syncAttached } from './decide.ts';
import { SEMI_SYNC } from './mysql-settings.ts';
import type { Probe } from './mysqld-admin.ts';
import { relate } from './mysqld-watch.ts';
import { asDoubt } from './recovery.ts';
import { DETACH_STATEMENTS, FORGET_CHANNEL, FRESH_FILE } from './replica-channel.ts';
import { xaDifference, xaUnlogged } from './xa.ts';

const STATEMENT_MS_MAX = 5_000;
/** sync attaches in some 10 ms; it may have to wait for binlogsvr to come back. */
const ATTACH_MS_MAX = 10_000;
const ATTACH_POLL_MS = 20;
const RELEASE_MS_MAX = 3_000;
/** Writes first, clients last. */
export const OPEN_STATEMENTS = {
  writes: ['SET GLOBAL super_read_only = OFF', 'SET GLOBAL read_only = OFF'],
  clients: ['SET GLOBAL event_scheduler = ON', 'SET GLOBAL offline_mode = OFF'],
} as const;

/** The epoch is given back and mysqld stays as read-only as it was. */
export class GivenUp extends Error {
  override readonly name = 'GivenUp';
}

/**
 * Elected: from replica to a master that takes writes.
 *
 *   (semi-sync on, if it was started for XA: xa.ts)
 *   offline (reads through this node end; sync may stay), replica threads stopped, redo flushed at each commit
 *     ─► executed set equals the log's ── no ──► Release (protocol-findings 29: no loop)
 *     ─► sync attached for this epoch, exactly one semi-sync client ── not in time ──► Release
 *     ─► super_read_only off ─► accounts that are missing ─► event scheduler ─► offline off ─► RW ports may come
 *
 * Until super_read_only goes nothing can be written here; from then on any doubt means SIGKILL. The lease is renewed beside.
 */
export async function promote(
  context: AgentContext,
  epoch: number,
  gtidSet: string,
  signal: AbortSignal,
): Promise<void> {
  const { admin, watch, views, timeline, log } = context;
  context.become('promoting', `elected for epoch ${epoch}; stops replication`);
  if (watch.probe?.logsReplicated === true) {
    await admin.work([`SET GLOBAL ${SEMI_SYNC} = ON`], STATEMENT_MS_MAX).catch(asDoubt('switch semi-sync on'));
  }
  void context.expose({ attachEpoch: epoch });
  try {
    const fresh = watch.openedFor === 0 ? [] : FRESH_FILE;
    await admin
      .work(['SET GLOBAL offline_mode = ON', ...DETACH_STATEMENTS, ...fresh], STATEMENT_MS_MAX)
      .catch(asDoubt('stop replication'));
    stopIf(signal);
    timeline.next.mark('detached');
    const probe = await probeOf(context);
    const { relation, extra } = relate(probe.gtidExecuted, gtidSet);
    if (relation !== 'equal' && ruleHolds('promote-needs-all-executed')) {
      throw new GivenUp(`mysqld has not executed what the log holds (${relation}${extra === '' ? '' : `: ${extra}`})`);
    }
    const xa =
      views.view === null ? null : (xaUnlogged(probe, views.view) ?? xaDifference(probe, views.view.xa)?.words ?? null);
    if (xa !== null && ruleHolds('promote-logs-xa')) throw new GivenUp(xa);
    if (probe.semiSync.waiting > 0) throw new Doubt('commits wait on a mysqld that is not open yet');
    context.say(`elected for epoch ${epoch}; waits for sync to attach`);
    await waitForSync(context, epoch, signal);
    timeline.next.mark('synced');
  } catch (error) {
    if (error instanceof GivenUp) await giveUp(context, epoch, error.message);
    throw error;
  }
  await openForWrites(context, epoch, signal);
  // Nobody has to wait for that: only the agent may start a channel.
  await admin.work([FORGET_CHANNEL], STATEMENT_MS_MAX).catch((error: unknown) => {
    log.warn('cannot forget the channel of a former replica', { reason: reasonOf(error) });
  });
  log.info('promoted', { epoch, gtidExecuted: watch.probe?.gtidExecuted });
}

/** The rest of a promotion: also what is left to do for an adopted mysqld whose agent died in the middle of it. */
export async function openForWrites(context: AgentContext, epoch: number, signal: AbortSignal): Promise<void> {
  const { server, watch, options, timeline, views } = context;
  stopIf(signal);
  const pid = watch.pid;
  const view = views.view;
  if (pid === null || view === null || !view.open || view.epoch !== epoch || view.master !== options.self.id) {
    throw new GivenUp(`epoch ${epoch} ended before mysqld was opened`);
  }
  await server.markOpened(pid, epoch);
  watch.opened(epoch);
  context.say(`opens mysqld for epoch ${epoch}`);
  try {
    // What makes accounts waits for acks, which nobody gives any more once the epoch is over.
    await unlessAborted(signal, open(context));
  } catch (error) {
    throw new Doubt(`open mysqld for writes: ${reasonOf(error)}`, error);
  }
  if (signal.aborted) throw new Doubt(`epoch ${epoch} ended while mysqld was being opened`);
  context.become('master', `master of epoch ${epoch}`);
  const told = context.expose({ servingWrites: true, attachEpoch: epoch });
  await watch.probeNow();
  await told;
  if (timeline.next.has('elected')) timeline.next.mark('promoted');
  timeline.next.finish(epoch, 'open for writes');
  timeline.promoted(views.view?.appendSeq ?? view.appendSeq);
}

/** Rejects when the epoch ends; what `work` was waiting for is given up with the mysqld it was asked of. */
function unlessAborted(signal: AbortSignal, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => reject(new Error('the epoch ended, or mysqld did'));
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });
}

async function open({ admin, server, options, log }: AgentContext): Promise<void> {
  const { writes, clients } = OPEN_STATEMENTS;
  const missing = await missingAccounts(server);
  if (missing.length === 0) {
    await admin.work([...writes, ...clients], STATEMENT_MS_MAX);
    return;
  }
  await admin.work(writes, STATEMENT_MS_MAX);
  await makeAccounts(server, missing, options.security, log);
  await admin.work(clients, STATEMENT_MS_MAX);
}

/** Attached in the view is sync's word, one client and status ON are mysqld's: both must hold. */
async function waitForSync(context: AgentContext, epoch: number, signal: AbortSignal): Promise<void> {
  const { views, clock } = context;
  const end = clock.now() + ATTACH_MS_MAX;
  let seen = 'sync has not attached';
  while (clock.now() < end) {
    try {
      const attached = (view: Parameters<typeof syncAttached>[0]): boolean => syncAttached(view, epoch);
      await views.until('sync attaches', attached, end - clock.now(), signal);
    } catch (error) {
      if (error instanceof PhxError && error.code === 'TIMEOUT') break;
      throw error;
    }
    stopIf(signal);
    const { semiSync } = await probeOf(context);
    if (semiSync.on && semiSync.clients === 1) return;
    seen = `semi-sync is ${semiSync.on ? 'on' : 'off'} with ${semiSync.clients} clients`;
    context.say(`elected for epoch ${epoch}; ${seen}`);
    await delay(clock, ATTACH_POLL_MS);
    stopIf(signal);
  }
  throw new GivenUp(`${seen} after ${ATTACH_MS_MAX} ms`);
}

async function probeOf({ watch }: AgentContext): Promise<Probe> {
  const probe = await watch.probeNow();
  if (probe === null) throw new Doubt('mysqld does not answer');
  return probe;
}

function stopIf(signal: AbortSignal): void {
  if (signal.aborted) throw new GivenUp('the epoch ended, or mysqld did');
}

/** Nobody else may stand while we hold an epoch we cannot serve. */
async function giveUp(context: AgentContext, epoch: number, reason: string): Promise<void> {
  const { options, log } = context;
  void context.expose({ attachEpoch: 0 });
  log.warn('gives up the epoch it was elected for', { epoch, reason });
  try {
    await options.client.fence(epoch, true, RELEASE_MS_MAX);
  } catch (error) {
    log.warn('cannot release the epoch', { epoch, reason: reasonOf(error) });
  }
}
