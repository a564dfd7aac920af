import { delay } from '../../base/async.ts';
import type { NodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { NODE_STOP_MS } from '../manager.ts';
import { readLivePids } from '../pids-file.ts';
import { identify, isAlive, type ProcessId, signalProcess } from '../processes.ts';
import type { RestartOptions } from '../program-operate.ts';
import { nextToRestart, notBack, restartRefusal } from '../restart-plan.ts';
import { StatusCollector, type StatusSource } from '../status-collector.ts';
import { sourceOf } from './status.ts';
import { handOver } from './switchover.ts';

const POLL_MS = 200;
/** A busy machine may take longer to answer than `phxsql status` waits. */
const ASK_MS_MAX = 5_000;
const SWITCHOVER_MS = 15_000;
const EXIT_INTERRUPTED = 130;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/**
 * `phxsql node restart`: one node after the other, each back as a healthy one before the next. What ends and starts processes are
 * the node's own supervisor and whoever supervises that, so this command may be broken off at any time.
 *
 *   enough others? ─► master: switchover ─► SIGTERM to its supervisor ─► gone ─► started again ─► healthy ─► next
 */
export async function restartNodes(nodes: readonly number[], flags: RestartOptions): Promise<void> {
  const source = sourceOf(flags);
  const collector = new StatusCollector(source, systemClock);
  const wanted = await check(source, collector, nodes, flags.all === true);
  const done: number[] = [];
  const left = new Set(wanted);
  process.once('SIGINT', () => {
    say(
      `\ninterrupted: restarted ${list(done)}, left ${list([...left])}; a node that is under way comes back by itself`,
    );
    process.exit(EXIT_INTERRUPTED);
  });
  while (left.size > 0) {
    const { master } = await collector.collect(ASK_MS_MAX);
    const node = nextToRestart([...left], master);
    await restart(source, collector, node, flags.timeout * 1000);
    left.delete(node);
    done.push(node);
  }
  say(`restarted ${list(done)}`);
  process.exit(0);
}

const list = (nodes: readonly number[]): string =>
  nodes.length === 0 ? 'none' : `node${nodes.length > 1 ? 's' : ''} ${nodes.join(', ')}`;

async function check(
  source: StatusSource,
  collector: StatusCollector,
  nodes: readonly number[],
  all: boolean,
): Promise<readonly number[]> {
  if (all === nodes.length > 0) {
    throw new PhxError('CONFIG_INVALID', `restart nodes: ${all ? '--all and a node' : 'none was named'}`, {
      hint: 'name one, or give --all',
    });
  }
  const known = (await collector.collect(ASK_MS_MAX)).nodes.map(({ id }) => id);
  const wanted = all ? known : nodes;
  for (const node of wanted) {
    if (!known.includes(node))
      throw new PhxError('CONFIG_INVALID', `restart node ${node}: the cluster has nodes ${known.join(', ')}`);
    supervisorOf(source, node);
  }
  return wanted;
}

function supervisorOf(source: StatusSource, node: number): ProcessId {
  const dir = source.nodeDirs.get(node as NodeId);
  if (dir === undefined) {
    throw new PhxError('CONFIG_INVALID', `restart node ${node}: it does not run on this machine`, {
      hint: 'run phxsql node restart there, with --config and its configuration',
    });
  }
  const pid = readLivePids(dir).supervisor;
  const id = pid === null ? null : identify(pid);
  if (id === null) throw new PhxError('UNAVAILABLE', `restart node ${node}: it is not running (${dir})`);
  return id;
}

async function restart(
  source: StatusSource,
  collector: StatusCollector,
  node: number,
  timeoutMs: number,
): Promise<void> {
  const refusal = restartRefusal(node, (await collector.ask(ASK_MS_MAX)).replies);
  if (refusal !== null) throw new PhxError('MEMBER_REFUSED', `restart node ${node}: ${refusal}`);
  if ((await collector.collect(ASK_MS_MAX)).master === node) {
    const { result, reason, to } = await handOver(source, collector, 0, SWITCHOVER_MS, say);
    if (result !== 'done') throw new PhxError('MEMBER_REFUSED', `restart node ${node}, the master: ${reason}`);
    say(`node ${to} is the master now`);
  }
  const before = supervisorOf(source, node);
  const began = systemClock.now();
  say(`node ${node}: stops (process ${before.pid})`);
  signalProcess(before, 'SIGTERM');
  await until(NODE_STOP_MS, async () =>
    isAlive(before) ? `restart node ${node}: process ${before.pid} does not end` : null,
  );
  say(`node ${node}: stopped after ${Math.round(systemClock.now() - began)} ms`);
  await until(timeoutMs, async () => {
    const dir = source.nodeDirs.get(node as NodeId) ?? '';
    if (readLivePids(dir).supervisor === null) {
      return `restart node ${node}: nobody started it again; start it: phxsql node --config FILE`;
    }
    const why = notBack(await collector.collect(), node);
    return why === null ? null : `restart node ${node}: started again, and not healthy yet: ${why}`;
  });
  say(`node ${node}: back after ${Math.round(systemClock.now() - began)} ms`);
}

/** @throws PhxError TIMEOUT with what `lacking` said last */
async function until(timeoutMs: number, lacking: () => Promise<string | null>): Promise<void> {
  const deadline = systemClock.now() + timeoutMs;
  for (;;) {
    const why = await lacking();
    if (why === null) return;
    if (systemClock.now() >= deadline) {
      throw new PhxError('TIMEOUT', `${why} (${Math.round(timeoutMs / 1000)} s)`, {
        hint: 'nodes not restarted yet were left as they are; phxsql status tells',
      });
    }
    await delay(systemClock, POLL_MS);
  }
}
