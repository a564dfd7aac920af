import { delay } from '../../base/async.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import type { SwitchoverOutcome } from '../../proto/binlogsvr-types.ts';
import { type LastFailover, lastFailover, lastFailoverText } from '../last-failover.ts';
import type { SwitchoverOptions } from '../program-operate.ts';
import type { ClusterStatus } from '../status.ts';
import { rpcAddress, StatusCollector, type StatusSource } from '../status-collector.ts';
import { sourceOf } from './status.ts';

const POLL_MS = 100;
/** A busy machine may take longer to answer than `phxsql status` waits. */
const FIRST_MS_MAX = 5_000;
/** Nodes that may say "ask another one" in turn. */
const ASKED_MAX = 3;
/** Nobody may be writing. */
const TOLD_MS_MAX = 1500;
const EXIT_UNKNOWN = 3;

export type SwitchoverResult = Readonly<{
  result: 'done' | 'refused' | 'unknown';
  reason: string;
  /** Before, and as far as known after; 0: none. */
  from: number;
  to: number;
  epoch: number;
  /** From asking until the new master served writes. */
  tookMs: number;
  /** Where the time went, as both nodes tell it; null while nobody does. */
  timeline: LastFailover | null;
}>;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `phxsql switchover`. `to` 0: whoever is freshest. */
export async function switchover(to: number, flags: SwitchoverOptions): Promise<void> {
  const source = sourceOf(flags);
  const collector = new StatusCollector(source, systemClock);
  const result = await handOver(source, collector, to, flags.timeout * 1000, say);
  const text = flags.json ? JSON.stringify(result, null, 2) : describe(result);
  await new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()));
  process.exit(result.result === 'done' ? 0 : result.result === 'refused' ? 1 : EXIT_UNKNOWN);
}

/** @throws PhxError NO_MASTER */
export async function handOver(
  source: StatusSource,
  collector: StatusCollector,
  to: number,
  timeoutMs: number,
  progress: (line: string) => void,
): Promise<SwitchoverResult> {
  const before = await collector.collect(FIRST_MS_MAX);
  if (before.master === null) {
    throw new PhxError('NO_MASTER', `switch over: there is no master (epoch ${before.epoch})`, {
      hint: 'phxsql status says what each node waits for',
    });
  }
  const began = systemClock.now();
  progress(
    `node ${before.master} is master of epoch ${before.epoch}; asks it to hand over${to === 0 ? '' : ` to node ${to}`}`,
  );
  const end = async (
    result: SwitchoverResult['result'],
    reason: string,
    now: Readonly<{ to: number; epoch: number }>,
  ): Promise<SwitchoverResult> => {
    const tookMs = Math.round(systemClock.now() - began);
    const timeline = result === 'done' ? await told(collector, now.epoch) : null;
    return { result, reason, from: before.master ?? 0, ...now, tookMs, timeline };
  };
  let outcome: SwitchoverOutcome;
  try {
    outcome = await ask(source, before, to, timeoutMs, before.master);
  } catch (error) {
    const now = await collector.collect();
    return await end('unknown', reasonOf(error), { to: now.master ?? 0, epoch: now.epoch });
  }
  const now = { to: outcome.master, epoch: outcome.epoch };
  if (!outcome.accepted) return await end('refused', outcome.reason, now);
  progress(`node ${outcome.master} has epoch ${outcome.epoch}; opens its mysqld`);
  const status = await serving(collector, outcome.epoch, began + timeoutMs);
  if (status.master === outcome.master) return await end('done', '', now);
  const reason = status.nodes.find(({ id }) => id === outcome.master)?.reason ?? '';
  return await end('unknown', `node ${outcome.master} was made master and does not serve writes yet: ${reason}`, now);
}

async function ask(
  source: StatusSource,
  { nodes }: ClusterStatus,
  to: number,
  timeoutMs: number,
  master: number,
): Promise<SwitchoverOutcome> {
  let node = master;
  for (let asked = 1; ; asked += 1) {
    const rpc = nodes.find(({ id }) => id === node)?.rpc;
    if (rpc === undefined) throw new PhxError('NO_MASTER', `switch over: nobody knows where node ${node} is`);
    await using client = createBinlogsvrClient(rpcAddress({ host: rpc.host, rpc: rpc.port }), source.security);
    const outcome = await client.switchover(to, timeoutMs);
    if (outcome.accepted || outcome.ask === 0 || asked === ASKED_MAX) return outcome;
    node = outcome.ask;
  }
}

async function serving(collector: StatusCollector, epoch: number, deadline: number): Promise<ClusterStatus> {
  for (;;) {
    const status = await collector.collect();
    if ((status.master !== null && status.epoch >= epoch) || systemClock.now() >= deadline) return status;
    await delay(systemClock, POLL_MS);
  }
}

/** The nodes' accounts come with their agents' next reports; the first write, if there is one, somewhat later. */
async function told(collector: StatusCollector, epoch: number): Promise<LastFailover | null> {
  const deadline = systemClock.now() + TOLD_MS_MAX;
  for (;;) {
    const last = lastFailover((await collector.ask()).replies);
    const whole = last?.epoch === epoch && last.from !== 0 && last.toFirstWriteMs !== null;
    if (whole || systemClock.now() >= deadline) return last?.epoch === epoch ? last : null;
    await delay(systemClock, POLL_MS);
  }
}

function describe({ result, reason, from, to, epoch, tookMs, timeline }: SwitchoverResult): string {
  if (result === 'done') {
    const done = `node ${to} is master of epoch ${epoch}, after node ${from} (${tookMs} ms in all)`;
    return timeline === null ? done : `${done}\n\n${lastFailoverText(timeline)}`;
  }
  if (result === 'refused') return `not done: ${reason}`;
  return `cannot tell what came of it: ${reason}\nhint: phxsql status`;
}
