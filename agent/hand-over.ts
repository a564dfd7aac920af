import { delay } from '../base/async.ts';
import { reasonOf } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { type AgentContext, Doubt } from './context.ts';
import { follow, probeOf, quiesce, releaseEpoch, within } from './demotion.ts';
import type { Probe } from './mysqld-admin.ts';
import { relate } from './mysqld-watch.ts';
import { OPEN_STATEMENTS } from './promotion.ts';

/** Until then sessions go on writing while no new ones are sent here: about what the proxies of all nodes need to hear of it. */
const PROXIES_MS = 100;
const REPORT_MS_MAX = 500;
const SCHEDULER_MS_MAX = 2_000;
const READ_ONLY_MS_MAX = 2_500;
/** After super_read_only is on, for what was under way to get into the log. */
const DRAIN_MS_MAX = 1_500;
const DRAIN_POLL_MS = 5;
/** Half of it for the successor to execute the rest, the other half for the log. */
const TRANSFER_MS_MAX = 4_000;
const OPEN_MS_MAX = 5_000;

export type HandOverOrder = Readonly<{ id: number; epoch: number; to: number }>;

/** '' if the epoch is over; else why the hand-over was undone and this node goes on as master. */
export type HandedOver = string;

/**
 * A planned switchover, on the master's side. mysqld stays up: it becomes a replica of its successor.
 *
 *   RW ports closed ─► sessions closed, none can be opened ─► super_read_only on ─► nothing waits, log = executed
 *     ─► Transfer, once the successor has executed all ──accepted──► replica (read once every bound of the lease ran out)
 *     │          │ refused                             └─unknown───► release: of the two the log takes one ─► replica
 *     └─ failed ─┴─► undone: open again, master as before
 *
 * From the moment a transfer may be in the log there is no way back (protocol-findings 7, 8, 15). @throws Doubt: kill
 */
export async function handOver(context: AgentContext, order: HandOverOrder): Promise<HandedOver> {
  const { log, options, clock, timeline, admin } = context;
  const { epoch, to } = order;
  timeline.former.mark('asked');
  context.become('demoting', `hands over to node ${to}`);
  log.info('hands over', order);
  await within(context, REPORT_MS_MAX, context.expose({ servingWrites: false }));
  try {
    // Ending the scheduler's thread takes a while, in which clients need not wait.
    const events = admin.work(['SET GLOBAL event_scheduler = OFF'], SCHEDULER_MS_MAX);
    await Promise.all([delay(clock, PROXIES_MS), events]);
    timeline.former.mark('closing');
    if (ruleHolds('transfer-after-closing')) {
      const probe = await quiesce(context, DRAIN_MS_MAX, READ_ONLY_MS_MAX);
      timeline.former.mark('closed');
      await drained(context, probe);
      timeline.former.mark('drained');
    }
  } catch (error) {
    return await undo(context, order, reasonOf(error));
  }
  let end = `handed over to node ${to}`;
  try {
    const outcome = await options.client.transfer(epoch, to, TRANSFER_MS_MAX);
    if (!outcome.accepted) return await undo(context, order, outcome.reason);
    timeline.former.mark('transferred');
    log.info('handed over', { ...order, instance: outcome.instance });
  } catch (error) {
    const reason = reasonOf(error);
    log.warn('cannot tell what became of the transfer: the log decides', { ...order, reason });
    if (!ruleHolds('no-way-back-from-a-transfer')) return await undo(context, order, reason);
    await releaseEpoch(context, epoch);
    timeline.former.mark('released');
    end = `gave the epoch back: ${reason}`;
  }
  timeline.former.finish(epoch + 1, end);
  await follow(context);
  return '';
}

/** What mysqld has executed is what the log holds: nothing is under way any more. */
async function drained(context: AgentContext, probe: Probe): Promise<void> {
  const { views, clock } = context;
  const end = clock.now() + DRAIN_MS_MAX;
  for (let { gtidExecuted } = probe; ; { gtidExecuted } = await probeOf(context)) {
    const view = await views.refresh();
    if (relate(gtidExecuted, view.gtidSet).relation === 'equal') return;
    if (clock.now() >= end) {
      throw new Error(`mysqld has executed ${gtidExecuted}, the log holds ${view.gtidSet}`);
    }
    await delay(clock, DRAIN_POLL_MS);
  }
}

/** Nothing was proposed: mysqld is opened again, and the lease was renewed all the while. */
async function undo(context: AgentContext, { epoch, to, id }: HandOverOrder, reason: string): Promise<HandedOver> {
  const { admin, watch, views, options, log, timeline } = context;
  log.warn('hand-over undone', { epoch, to, id, reason });
  const { view } = views;
  if (watch.pid === null) throw new Doubt(`mysqld ended while it was being handed over: ${reason}`);
  if (view !== null && !(view.open && view.epoch === epoch && view.master === options.self.id)) {
    await follow(context); // lost meanwhile, in another way
    timeline.former.reset();
    return '';
  }
  try {
    const { writes, clients } = OPEN_STATEMENTS;
    await admin.work(['SET SESSION lock_wait_timeout = DEFAULT', ...writes, ...clients], OPEN_MS_MAX);
  } catch (error) {
    throw new Doubt(`open mysqld again: ${reasonOf(error)}`, error);
  }
  await watch.probeNow();
  context.become('master', `master of epoch ${epoch}`);
  await context.expose({ servingWrites: true });
  timeline.former.mark('undone');
  timeline.former.finish(epoch, `undone: ${reason}`);
  return reason === '' ? 'no reason was given' : reason;
}
