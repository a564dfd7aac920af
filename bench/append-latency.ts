/**
 * How long one append takes, and how many per second: three binlogsvr as separate processes on loopback, LevelDB in a
 * temporary directory, 1 KB appends one after the other and several at once, proposed inside the leader's process and
 * through its Append stream. It decided whether sync shares the process of binlogsvr.
 *
 *   node bench/append-latency.ts [appends]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { epochOf } from '../base/brands.ts';
import { silentLogger } from '../base/ports.ts';
import { systemClock } from '../base/system-clock.ts';
import { systemRandom } from '../base/system-random.ts';
import { DEFAULT_LEASE, type NodeAddress } from '../base/topology.ts';
import { startBinlogsvr } from '../binlogsvr/binlogsvr.ts';
import { encodeValue } from '../binlogsvr/value-codec.ts';
import type { AppendValue } from '../binlogsvr/values.ts';
import { createBinlogsvrClient } from '../proto/binlogsvr-client.ts';
import { rpcNodes } from '../test/support/rpc-nodes.ts';

const SECURITY = { clusterSecret: 'bench', tls: null };
const EVENTS = Buffer.alloc(1024, 7);
const CRC = crc32(EVENTS);

type Task = Readonly<{ appends: number; inFlight: number; from: number; epoch: number }>;
/** `cpuMs`: of the measuring process, per append. */
type Result = Readonly<{ p50: number; p99: number; perSecond: number; cpuMs: number }>;

function appendOf(epoch: number, follows: number): AppendValue {
  const gtid = `3e11fa47-71ca-11e1-9e33-c80aa9429562:${follows + 1}`;
  const items = [{ kind: 'part', gtid, first: true, last: true, crc: CRC, events: EVENTS } as const];
  return { kind: 'append', epoch: epochOf(epoch), follows, items };
}

async function measure(task: Task, append: (follows: number) => Promise<{ accepted: boolean }>): Promise<Result> {
  const times: number[] = [];
  const begin = performance.now();
  const cpu = process.cpuUsage();
  const under = new Set<Promise<void>>();
  for (let i = 0; i < task.appends; i += 1) {
    const at = performance.now();
    const one = append(task.from + i).then((outcome) => {
      if (!outcome.accepted) throw new Error(`append ${task.from + i} refused: ${JSON.stringify(outcome)}`);
      times.push(performance.now() - at);
      under.delete(one);
    });
    under.add(one);
    if (under.size >= task.inFlight) await Promise.race(under);
  }
  await Promise.all(under);
  const seconds = (performance.now() - begin) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  const at3 = (ms: number): number => Math.round(ms * 1000) / 1000;
  const at = (q: number): number => at3(times[Math.floor(times.length * q)] ?? 0);
  return {
    p50: at(0.5),
    p99: at(0.99),
    perSecond: Math.round(task.appends / seconds),
    cpuMs: at3((user + system) / 1000 / task.appends),
  };
}

async function runNode(self: number, nodes: NodeAddress[], dir: string): Promise<void> {
  const svr = await startBinlogsvr({
    cluster: 'bench',
    self: nodes[self - 1] as NodeAddress,
    nodes,
    dataDir: join(dir, String(self)),
    security: SECURITY,
    lease: DEFAULT_LEASE,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    configChecksum: createHash('sha256').update('bench').digest(),
  });
  process.on('message', (task: Task) => {
    void measure(task, (follows) => svr.replica.propose(appendOf(task.epoch, follows), 'data', 10_000)).then((result) =>
      process.send?.(result),
    );
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.('up');
}

function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve) => child.once('message', (message) => resolve(message as T)));
}

async function main(appends: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'phxsql-bench-'));
  const nodes = await rpcNodes(3);
  const children = nodes.map((node) =>
    fork(fileURLToPath(import.meta.url), ['--node', String(node.id), JSON.stringify(nodes), dir], {
      env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
    }),
  );
  try {
    await Promise.all(children.map((child) => answer(child)));
    const leader = children[0] as ChildProcess;
    await using client = createBinlogsvrClient(`127.0.0.1:${nodes[0]?.rpc}`, SECURITY);
    while (!(await client.status(2000)).view.voting) await new Promise((resolve) => setTimeout(resolve, 20));
    await client.baseline('', 5000);
    const { epoch } = await client.stand('', 0, 5000);
    const renew = setInterval(() => void client.renew(epoch, 1000).catch(() => {}), 500);
    let from = 0;
    const stop = new AbortController();
    const stream = client.appendStream(stop.signal);
    const viaStream = (follows: number) => {
      const whole = encodeValue(appendOf(epoch, follows));
      // A Value with one Append in it: tag, length (two bytes here), the Append.
      return stream.append(whole.subarray(3));
    };
    const row = async (what: string, inFlight: number, run: (task: Task) => Promise<Result>): Promise<void> => {
      const task = { appends, inFlight, from, epoch };
      const { p50, p99, perSecond, cpuMs } = await run(task);
      from += appends;
      console.log(
        `${what.padEnd(12)} ${String(inFlight).padStart(3)} in flight  p50 ${p50} ms  p99 ${p99} ms  ${perSecond}/s  cpu ${cpuMs} ms`,
      );
    };
    const inside = (task: Task): Promise<Result> => {
      leader.send(task);
      return answer<Result>(leader);
    };
    for (const inFlight of [1, 1, 16]) {
      await row('in-process', inFlight, inside);
      await row('gRPC stream', inFlight, (task) => measure(task, viaStream));
    }
    clearInterval(renew);
    stop.abort();
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

const [flag, ...rest] = process.argv.slice(2);
if (flag === '--node')
  await runNode(Number(rest[0]), JSON.parse(rest[1] as string) as NodeAddress[], rest[2] as string);
else await main(Number(flag ?? 1000));
