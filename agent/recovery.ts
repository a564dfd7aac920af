import { delay, withDeadline } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { TailTransaction, View } from '../proto/binlogsvr-types.ts';
import { type AgentContext, Doubt, NotYet, Unfit } from './context.ts';
import { killAndReap } from './kill-and-reap.ts';
import type { MysqldProcess } from './mysqld-host.ts';
import { relate } from './mysqld-watch.ts';
import { attachStatements } from './replica-channel.ts';
import { storeSetOf } from './store-set.ts';
import { planCut } from './tail-cut.ts';
import { findTail, type Tail } from './tail-scan.ts';
import { xaDifference } from './xa.ts';

/** mysqld does not run with this data directory, at least not now. */
export class EndedAtStart extends NotYet {}

const FENCE_MS_MAX = 3_000;
const BARRIER_MS_MAX = 3_000;
const COMPARE_MS_MAX = 30_000;
const ATTACH_MS_MAX = 10_000;
const CONNECT_EVERY_MS = 25;
const WAITERS_MS_MAX = 500;

/**
 * From whatever state to a read-only mysqld that holds nothing the log does not:
 *
 *   kill, reap ─► release an own open epoch ─► finish a begun cut ─► compare the tail ──all held──────────────┐
 *                 (best effort: nobody must        │                                                          │
 *                  wait for a lease of the dead)   └─ not all ─► barrier, fence applied ─► compare ─► cut ─┐  │
 *                                                                (needs a majority)                        ▼  ▼
 *                                            settle ◄── answers ◄── start mysqld, read-only, offline, no channel
 *
 * Runs before every start of mysqld, whatever the node was before. Each step can be repeated; a step that cannot be
 * done yet throws NotYet, and the whole runs again.
 */
export async function recover(
  context: AgentContext,
  reason: string,
  suspects: boolean,
  logsReplicated = false,
): Promise<void> {
  const { server, watch, timeline } = context;
  if (logsReplicated) timeline.next.mark('restarts for XA');
  if (suspects) await nameWaiters(context);
  await takeDown(context, reason);
  await server.ensureDatadir(() => context.say('creates a fresh data directory'));
  await cutTail(context);
  const mysqld = await startMysqld(context, logsReplicated);
  watch.begin(mysqld.pid, 0);
}

/** mysqld is out of service, dead and reaped, and with it every epoch of ours. */
export async function takeDown(context: AgentContext, reason: string): Promise<void> {
  const { server, clock, log, watch, admin } = context;
  watch.condemn();
  context.become('recovering', reason);
  void context.expose({ servingWrites: false, attachEpoch: 0 });
  if (!ruleHolds('release-after-reap')) await releaseOwnEpoch(context);
  await killAndReap({ processes: server.processes, clock, log, say: (what) => context.say(`${reason}; ${what}`) });
  watch.end();
  admin.reset();
  await releaseOwnEpoch(context);
  await server.forgetOpened();
}

/** Whose statements wait for an ack that will not come: they are about to be rolled back. */
async function nameWaiters({ admin, clock, log }: AgentContext): Promise<void> {
  try {
    for (const waiter of await withDeadline(clock, WAITERS_MS_MAX, 'list waiting commits', admin.waiters())) {
      log.warn('this statement waits for an ack and will be rolled back', waiter);
    }
  } catch (error) {
    log.warn('cannot tell whose commits wait', { reason: reasonOf(error) });
  }
}

/**
 * mysqld is dead: an epoch of ours that is still open can be closed without waiting for its lease. Without a majority
 * that fails; then it is done later, by the replica's rules.
 */
async function releaseOwnEpoch(context: AgentContext): Promise<void> {
  const { views, options, log, timeline } = context;
  const view = views.view;
  if (view === null || !view.open || view.master !== options.self.id) return;
  timeline.former.mark('reaped');
  try {
    const outcome = await options.client.fence(view.epoch, true, FENCE_MS_MAX);
    timeline.former.mark('released');
    timeline.former.finish(view.epoch + 1, `released epoch ${view.epoch}`);
    log.info('released the epoch of a dead mysqld', {
      epoch: view.epoch,
      accepted: outcome.accepted,
      code: outcome.code,
    });
  } catch (error) {
    log.warn('cannot release the epoch yet', { epoch: view.epoch, reason: reasonOf(error) });
  }
}

async function cutTail(context: AgentContext): Promise<void> {
  const { options, clock } = context;
  const { binlog } = context.server;
  await binlog.finishCut();
  context.say('compares the local binlog with the store');
  const store = {
    compareTail: (transactions: Iterable<TailTransaction>) => options.client.compareTail(transactions, COMPARE_MS_MAX),
  };
  const find = async (): Promise<Tail> => {
    try {
      return await findTail(await binlog.index(), binlog, store);
    } catch (error) {
      if (error instanceof PhxError && (error.code === 'BINLOG_ENCRYPTED' || error.code === 'BINLOG_CORRUPT')) {
        throw new Unfit(`cannot judge the local binlog: ${error.message}`, 'reprovision');
      }
      if (error instanceof PhxError && error.retryable) throw new NotYet(`compares the local binlog: ${error.message}`);
      throw error;
    }
  };
  let tail = await find();
  if (!tail.held && tail.transactions > 0 && ruleHolds('cut-behind-fence')) {
    // The store here may only be behind. What a majority does not know after this, and with our epoch closed, it will
    // never take.
    await settleLog(context, tail);
    tail = await find();
  }
  if (tail.held) return;
  context.say(`cuts the local binlog: ${tail.reason}`);
  const plan = planCut(await binlog.index(), tail, binlog, {
    serverUuid: binlog.freshUuid(),
    wallMs: clock.wall(),
  });
  await binlog.cut(plan);
}

/** The local store knows all that was chosen until now, and no epoch of ours can take anything more. */
async function settleLog(context: AgentContext, tail: Extract<Tail, { held: false }>): Promise<void> {
  const { options, views, clock } = context;
  const what = `the local binlog holds ${tail.transactions} transactions this store does not (from ${tail.firstGtid})`;
  context.say(`${what}; asks a majority`);
  let view: View;
  try {
    const askedAt = clock.now();
    view = await options.client.barrier(BARRIER_MS_MAX);
    views.accept(view, askedAt);
    if (!view.open || view.master !== options.self.id) return;
    const outcome = await options.client.fence(view.epoch, true, FENCE_MS_MAX);
    if (outcome.accepted || outcome.code === 'WRONG_EPOCH') return;
    throw new NotYet(`${what}; closing epoch ${view.epoch}: ${outcome.reason}`);
  } catch (error) {
    if (error instanceof PhxError) throw new NotYet(`${what}; waits for a majority: ${error.message}`);
    throw error;
  }
}

/** Read-only and offline, answering; nobody watches it yet. */
export async function startMysqld(context: AgentContext, logsReplicated = false): Promise<MysqldProcess> {
  const { options, server, admin, clock, log } = context;
  const began = clock.now();
  await server.configure({ logsReplicated });
  log.info('starting mysqld', { nodes: options.nodes.length, port: options.self.mysql });
  if (context.stopping()) throw new NotYet('the node is being stopped');
  context.say('starts mysqld');
  const mysqld = await server.start();
  for (;;) {
    if (context.stopping()) throw new NotYet('the node is being stopped');
    if (server.processes.current()?.pid !== mysqld.pid) {
      throw new EndedAtStart(`mysqld ended while it started; see ${server.errorLog}`);
    }
    try {
      await admin.connect();
      break;
    } catch (error) {
      admin.reset();
      if (error instanceof PhxError && error.code === 'MYSQL_AUTH') {
        throw new Unfit(`${error.message}: is this the data directory of another cluster?`, 'reprovision');
      }
    }
    context.say(`mysqld has been starting for ${Math.round((clock.now() - began) / 1000)} s`);
    await delay(clock, CONNECT_EVERY_MS);
  }
  log.info('mysqld answers', { mysqld: mysqld.pid, tookMs: Math.round(clock.now() - began) });
  return mysqld;
}

/**
 * mysqld runs and answers, read-only: a replica if the store holds all it has executed. What looks like more is judged
 * only against a store that knows all that was chosen (protocol-findings 11): without a majority the node waits.
 */
export async function settle(context: AgentContext, reason: string): Promise<void> {
  const { options, views, watch, log } = context;
  if (context.role() !== 'replica') context.become('recovering', reason);
  const probe = await watch.probeNow();
  if (probe === null) throw new NotYet('mysqld does not answer');
  if (probe.semiSync.waiting > 0) throw new Doubt('commits wait for an ack');
  let view = await views.refresh().catch((error: unknown) => {
    throw new NotYet(`compares mysqld with the store: ${reasonOf(error)}`);
  });
  let { relation, extra } = relate(probe.gtidExecuted, storeSetOf(options, view));
  if (relation === 'extra' && ruleHolds('extra-behind-barrier')) {
    // A node in doubt does not serve.
    context.become('recovering', reason);
    context.say(`mysqld has executed ${extra}, which this store does not know yet; asks a majority`);
    try {
      view = await options.client.barrier(BARRIER_MS_MAX);
    } catch (error) {
      throw new NotYet(
        `mysqld has executed ${extra}, which this store does not know; waits for a majority: ${reasonOf(error)}`,
      );
    }
    ({ relation, extra } = relate(probe.gtidExecuted, storeSetOf(options, view)));
  }
  if (relation === 'extra') {
    throw new Unfit(`mysqld has executed transactions that are not in the log: ${extra}`, 'reprovision');
  }
  const ofXa = xaDifference(probe, view.xa);
  if (ofXa !== null && ruleHolds('xa-prepared-as-logged')) throw new NotYet(`looks once more: ${ofXa.words}`);
  await checkRolledBack(context, probe.gtidExecuted);
  await attach(context);
  context.become('replica', 'replicates from the local store');
  log.info('attached as replica', { gtidExecuted: probe.gtidExecuted, reason });
  await watch.probeNow();
}

/**
 * What was cut from the binlog, mysqld has rolled back, unless it was committed before (a clean SHUTDOWN commits what
 * waits): with a number of its own that is extra; with the number of another transaction of the log no set shows it.
 */
async function checkRolledBack({ server }: AgentContext, gtidExecuted: string): Promise<void> {
  const removed = await server.binlog.removed();
  if (removed.count() === 0) return;
  const kept = removed.intersect(GtidSet.parse(gtidExecuted));
  if (kept.count() > 0 && ruleHolds('cut-is-rolled-back')) {
    throw new Unfit(
      `mysqld has executed ${kept} with another content than the log: cut from its binlog, and there all the same`,
      'reprovision',
    );
  }
  await server.binlog.forgetRemoved();
}

/** The replica's mysqld takes clients from here on. */
export async function openForReads({ admin, watch }: AgentContext): Promise<void> {
  await admin.work(['SET GLOBAL offline_mode = OFF'], ATTACH_MS_MAX).catch(asDoubt('open mysqld for reads'));
  await watch.probeNow();
}

/** Nobody reads what a mysqld holds that is not the cluster's. */
export async function takeOffline({ admin, log }: AgentContext): Promise<void> {
  await admin.work(['SET GLOBAL offline_mode = ON'], ATTACH_MS_MAX).catch((error: unknown) => {
    log.warn('cannot take mysqld offline', { reason: reasonOf(error) });
  });
}

/** A channel that runs as it should (adoption) is left alone. */
export async function attach({ admin, options, watch }: AgentContext): Promise<void> {
  const channel = await admin.channel().catch(asDoubt('look at replication'));
  if (channel !== null && channel.receiver !== 'OFF' && channel.applier && channel.error === '') return;
  const { logsReplicated = false, semiSync } = watch.probe ?? {};
  if (logsReplicated && semiSync?.on === true) {
    throw new Doubt('mysqld logs what it replicates and would wait for acks of that: it has to be started anew');
  }
  await admin
    .work(attachStatements(options.self, options.security, logsReplicated), ATTACH_MS_MAX)
    .catch(asDoubt('attach replication'));
  await watch.probeNow();
}

export function asDoubt(what: string): (error: unknown) => never {
  return (error) => {
    throw new Doubt(`${what}: ${reasonOf(error)}`, error);
  };
}
