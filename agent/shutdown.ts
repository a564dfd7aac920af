import { delay } from '../base/async.ts';
import { reasonOf } from '../base/errors.ts';
import type { AgentContext } from './context.ts';
import { killSessions, quiesce, releaseEpoch } from './demotion.ts';
import { killAndReap } from './kill-and-reap.ts';
import { asDoubt } from './recovery.ts';

const DRAIN_MS_MAX = 3_000;
const STOP_REPLICA_MS_MAX = 3_000;
const SHUTDOWN_MS_MAX = 10_000;
const POLL_MS = 10;

/**
 * The node is being stopped by its operator: mysqld ends cleanly if nothing waits for an ack (a clean SHUTDOWN would
 * commit what waits, and no cut undoes that: design 9.6), by SIGKILL otherwise. `epoch`: the one it is master of, or 0.
 */
export async function stopMysqld(context: AgentContext, epoch: number): Promise<void> {
  const { server, watch, clock, log, options } = context;
  const { processes } = server;
  const clean = await prepare(context, epoch).catch((error: unknown) => {
    log.warn('mysqld cannot be stopped cleanly', { reason: reasonOf(error) });
    return false;
  });
  const pid = processes.current()?.pid ?? null;
  if (clean && pid !== null) {
    context.say('mysqld shuts down');
    watch.end(); // our connections, too
    processes.signal(pid, 'SIGTERM');
    const end = clock.now() + SHUTDOWN_MS_MAX;
    while (processes.current()?.pid === pid && clock.now() < end) await delay(clock, POLL_MS);
    if (processes.current()?.pid === pid)
      log.warn('mysqld does not shut down in time', { mysqld: pid, waitedMs: SHUTDOWN_MS_MAX });
  }
  watch.condemn();
  await killAndReap({ processes, clock, log });
  watch.end();
  const view = context.views.view;
  if (view?.open && view.master === options.self.id) await releaseEpoch(context, view.epoch);
  await server.forgetOpened();
}

/** True if mysqld may be shut down cleanly. */
async function prepare(context: AgentContext, epoch: number): Promise<boolean> {
  const { watch, admin } = context;
  if (watch.pid === null) return false;
  if (epoch > 0) {
    context.say('stops: closes its sessions and gives its epoch back');
    void context.expose({ servingWrites: false });
    await quiesce(context, DRAIN_MS_MAX);
    await releaseEpoch(context, epoch);
    void context.expose({ attachEpoch: 0 });
  } else {
    context.say('stops: ends replication');
    await admin
      .work(['SET GLOBAL offline_mode = ON', 'STOP REPLICA'], STOP_REPLICA_MS_MAX)
      .catch(asDoubt('stop replication'));
  }
  // A connection that is still open when mysqld shuts down costs it ten seconds.
  await context.expose({ reachable: false });
  await killSessions(context, []);
  const probe = await watch.probeNow();
  if (probe === null) return false;
  return probe.superReadOnly && probe.semiSync.waiting === 0 && probe.semiSync.on;
}
