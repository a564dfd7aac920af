import { INTERNAL_ACCOUNTS } from '../base/accounts.ts';
import { delay } from '../base/async.ts';
import { reasonOf } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { type AgentContext, Doubt } from './context.ts';
import type { Probe } from './mysqld-admin.ts';
import { relate } from './mysqld-watch.ts';
import { asDoubt, attach } from './recovery.ts';
import { FRESH_FILE } from './replica-channel.ts';

const SESSIONS_MS_MAX = 1_000;
const READ_ONLY_MS_MAX = 1_500;
const DRAIN_MS_MAX = 3_000;
const DRAIN_POLL_MS = 10;
const RELEASE_MS_MAX = 3_000;
const FRESH_FILE_MS_MAX = 5_000;

/**
 * Out of the master's role without killing mysqld, which only works while nothing waits. Each step that does not go well
 * throws Doubt, and the caller kills instead: no SQL can be relied on while commits wait (design 9.5, protocol-findings 15).
 *
 *   RW ports closed ─► sessions closed, none can be opened ─► super_read_only on ─► nothing waits
 *     ─► release: the epoch closed, by now nobody can read here either (7d)
 *     ─► executed set within the log's ─► replica again, read once every bound of its lease has run out
 */
export async function demote(context: AgentContext, epoch: number, release: boolean, reason: string): Promise<void> {
  const { log } = context;
  context.become('demoting', reason);
  log.warn('demoting', { epoch, release, reason });
  // An epoch that is over takes no appends any more; one that is being released still has to take what waits.
  await within(context, SESSIONS_MS_MAX, context.expose({ servingWrites: false, attachEpoch: release ? epoch : 0 }));
  if (ruleHolds('release-after-closing')) await quiesce(context, release ? DRAIN_MS_MAX : 0);
  if (release) await releaseEpoch(context, epoch);
  await follow(context);
  log.info('demoted without a restart', { epoch });
}

/** The epoch is over and its mysqld closed: a replica from here on, if it holds nothing the log does not. */
export async function follow(context: AgentContext): Promise<void> {
  const { server, views, admin, watch } = context;
  void context.expose({ servingWrites: false, attachEpoch: 0 });
  await admin.work(FRESH_FILE, FRESH_FILE_MS_MAX).catch(asDoubt('begin a binlog file'));
  await server.forgetOpened();
  watch.opened(0);
  const probe = await probeOf(context);
  const view = await views.refresh().catch(asDoubt('compare mysqld with the store'));
  const { relation, extra } = relate(probe.gtidExecuted, view.gtidSet);
  if (relation === 'extra') throw new Doubt(`mysqld has executed transactions the store does not know: ${extra}`);
  await attach(context);
  context.become('replica', 'replicates from the local store');
}

/**
 * Nobody can write or read any more and no commit waits; throws Doubt if that cannot be had within the bounds.
 * `drainMs` 0: what waits now waits for ever, because the epoch takes no more appends.
 */
export async function quiesce(
  context: AgentContext,
  drainMs: number,
  readOnlyMs = READ_ONLY_MS_MAX + drainMs,
): Promise<Probe> {
  const { admin, clock } = context;
  if (drainMs === 0 && (await probeOf(context)).semiSync.waiting > 0)
    throw new Doubt('commits wait that no log will take');
  // Events write, too. (And 9.7.4 spins in its scheduler thread if a SHUTDOWN finds it running here: ten seconds lost.)
  await killSessions(
    context,
    [INTERNAL_ACCOUNTS.sync],
    ['SET GLOBAL offline_mode = ON', 'SET GLOBAL event_scheduler = OFF'],
  );
  // Waits for statements that are running; those of killed sessions end soon or not at all.
  await admin
    .work(
      [
        'SET SESSION lock_wait_timeout = 1',
        'SET GLOBAL super_read_only = ON',
        'SET SESSION lock_wait_timeout = DEFAULT',
      ],
      readOnlyMs,
    )
    .catch(asDoubt('make mysqld read-only'));
  const end = clock.now() + drainMs;
  for (;;) {
    const probe = await probeOf(context);
    if (probe.semiSync.waiting === 0) return probe;
    if (clock.now() >= end) throw new Doubt(`${probe.semiSync.waiting} commits still wait for an ack`);
    await delay(clock, DRAIN_POLL_MS);
  }
}

/** Sessions that offline_mode spares because of their privileges, and are not the agent's or of one of `others`; after `before`. */
export async function killSessions(
  { admin, log }: AgentContext,
  others: readonly string[],
  before: readonly string[] = [],
): Promise<void> {
  const spared = [INTERNAL_ACCOUNTS.agent, 'system user', 'event_scheduler', ...others];
  const results = await admin
    .work(
      [
        ...before,
        `SELECT PROCESSLIST_ID AS id, PROCESSLIST_USER AS user FROM performance_schema.threads
          WHERE TYPE = 'FOREGROUND' AND PROCESSLIST_USER IS NOT NULL
            AND PROCESSLIST_USER NOT IN (${spared.map((name) => `'${name}'`).join(', ')})`,
      ],
      SESSIONS_MS_MAX,
    )
    .catch(asDoubt('close the sessions'));
  for (const row of results[before.length] ?? []) {
    const id = Number(row['id']);
    if (!Number.isSafeInteger(id)) continue;
    await admin.work([`KILL ${id}`], SESSIONS_MS_MAX).catch((error: unknown) => {
      log.debug('session was gone already', { session: id, user: String(row['user']), reason: reasonOf(error) });
    });
  }
}

/** Those of readers on a replica. Locks they hold are free then; a query that ignores KILL keeps its own, and status says so. */
export async function closeReaders(context: AgentContext, reason: string): Promise<void> {
  const { watch, log } = context;
  context.say(`${reason}: ends its readers' sessions`);
  log.warn("ends readers' sessions", { reason });
  watch.excuse(); // asked again only after its time, whatever comes of it
  await killSessions(context, [INTERNAL_ACCOUNTS.sync]);
}

/** With nothing waiting and every session closed the epoch may end before its lease does. */
export async function releaseEpoch({ options, log }: AgentContext, epoch: number): Promise<void> {
  try {
    const outcome = await options.client.fence(epoch, true, RELEASE_MS_MAX);
    log.info('released the epoch', { epoch, accepted: outcome.accepted, code: outcome.code });
  } catch (error) {
    log.warn('cannot release the epoch; others wait for the lease', { epoch, reason: reasonOf(error) });
  }
}

export async function probeOf({ watch }: AgentContext): Promise<Probe> {
  const probe = await watch.probeNow();
  if (probe === null) throw new Doubt('mysqld does not answer');
  return probe;
}

/** Waits for `work`, but not longer: it goes on by itself. */
export function within({ clock }: AgentContext, ms: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(ms, resolve);
    work.finally(() => {
      cancel();
      resolve();
    });
  });
}
