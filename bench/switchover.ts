/**
 * How long nobody can write when the master changes, under a sysbench load through the read-write ports:
 *
 *   node bench/switchover.ts [--load oltp_insert] [--threads 16] [--switchovers 20] [--mysqld-kills 10] [--node-kills 5]
 *
 * A cluster of three nodes on this machine. The gap is the longest silence of four clients of our own beside the load, each
 * inserting a row at a time; whatever they hear that is not a row acknowledged is counted by kind. The timelines are the nodes' own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { systemClock } from '../base/system-clock.ts';
import { existingCluster, statusSourceOf } from '../cli/cluster-dir.ts';
import { handOver } from '../cli/commands/switchover.ts';
import { type LastFailover, lastFailover } from '../cli/last-failover.ts';
import type { ClusterStatus } from '../cli/status.ts';
import { StatusCollector } from '../cli/status-collector.ts';
import { kill, runToEnd, TestCluster } from '../test/support/cluster.ts';
import { longestGap, Writers } from '../test/support/writers.ts';

const { values: flags } = parseArgs({
  options: {
    load: { type: 'string', default: 'oltp_insert' },
    threads: { type: 'string', default: '16' },
    switchovers: { type: 'string', default: '20' },
    'mysqld-kills': { type: 'string', default: '10' },
    'node-kills': { type: 'string', default: '5' },
  },
});

/** The load runs undisturbed for this long before each event. */
const STEADY_MS = 3000;
/** Silence is looked for from this long before it. */
const BEFORE_MS = 500;
const LAG_MS_MAX = 1000;

type Run = { gapMs: number; errors: readonly string[]; timeline: LastFailover | null };

const cluster = await TestCluster.start();
const source = statusSourceOf(cluster.dir, existingCluster(cluster.dir));
const collector = new StatusCollector(source, systemClock);
let load: ChildProcess | null = null;
try {
  const ports = source.nodes.map(({ host, rw }) => ({ host, port: rw }));
  const first = ports[0] as (typeof ports)[number];
  await cluster.sql(
    first,
    "CREATE DATABASE sbtest; CREATE USER sb@'%' IDENTIFIED BY 'sb'; GRANT ALL ON sbtest.* TO sb@'%'",
  );
  const sysbench = [
    flags.load,
    `--mysql-host=${first.host}`,
    `--mysql-port=${first.port}`,
    '--mysql-user=sb',
    '--mysql-password=sb',
    '--tables=4',
    '--table-size=5000',
    `--threads=${flags.threads}`,
    '--mysql-ignore-errors=all',
  ];
  await runToEnd('sysbench', [...sysbench, 'prepare'], 120_000);
  load = spawn('sysbench', [...sysbench, '--time=86400', 'run'], { stdio: 'ignore' });
  const writers = await Writers.start(cluster, 4, ports, 'bench.acked');

  const once = async (event: (status: ClusterStatus) => Promise<void>): Promise<Run> => {
    const before = await healthy();
    await pause(STEADY_MS);
    const seen = writers.errors.length;
    const at = Date.now();
    await event(before);
    await changed(before.epoch);
    await writers.firstAckAfter(Date.now(), 30_000);
    await pause(1000);
    const gapMs = longestGap(writers.ackTimes.filter((time) => time >= at - BEFORE_MS));
    return { gapMs, errors: writers.errors.slice(seen), timeline: lastFailover((await collector.ask()).replies) };
  };
  await series('switchover', Number(flags.switchovers), () =>
    once(async () => {
      const { result, reason } = await handOver(source, collector, 0, 10_000, () => {});
      if (result !== 'done') throw new Error(`switchover ${result}: ${reason}`);
    }),
  );
  await series("kill -9 of the master's mysqld", Number(flags['mysqld-kills']), () =>
    once(async ({ master, nodes }) => kill(nodes.find(({ id }) => id === master)?.pids.mysqld ?? null)),
  );
  await series("kill -9 of all of the master's node", Number(flags['node-kills']), () =>
    once(async ({ master, nodes }) => {
      const pids = nodes.find(({ id }) => id === master)?.pids;
      for (const pid of [pids?.supervisor, pids?.mysqld, pids?.binlogsvr, pids?.agent, ...(pids?.proxy ?? [])])
        kill(pid ?? null);
    }),
  );
  await writers.stop();
  const check = await writers.check((await healthy()).master ?? 1);
  console.log(
    `rows acknowledged ${writers.acked.size}, lost ${check.lost.length}, not written by us ${check.invented.length}`,
  );
} finally {
  if (load?.pid !== undefined) {
    load.kill('SIGKILL');
  }
  await collector.close();
  await cluster.destroy();
}
process.exit(0);

async function healthy(): Promise<ClusterStatus> {
  for (;;) {
    const status = await collector.collect();
    const well = status.nodes.every(
      ({ state, reason, lagMs }) =>
        (state === 'master' || (state === 'slave' && reason === '')) && (lagMs ?? 0) < LAG_MS_MAX,
    );
    if (status.master !== null && well) return status;
    await pause(100);
  }
}

async function changed(epoch: number): Promise<void> {
  for (;;) {
    const status = await collector.collect();
    if (status.epoch > epoch && status.master !== null) return;
    await pause(100);
  }
}

async function series(what: string, count: number, run: () => Promise<Run>): Promise<void> {
  const runs: Run[] = [];
  for (let i = 0; i < count; i += 1) {
    runs.push(await run());
    const last = runs.at(-1) as Run;
    console.log(`  ${what} ${i + 1}: ${last.gapMs} ms ${marksOf(last)}`);
  }
  if (runs.length === 0) return;
  const gaps = runs.map(({ gapMs }) => gapMs).sort((a, b) => a - b);
  const at = (q: number): number => gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * q))] as number;
  console.log(
    `${what}, ${flags.load} with ${flags.threads} threads, ${count} times: write gap ms min ${at(0)} median ${at(0.5)} p90 ${at(0.9)} max ${at(1)}`,
  );
  const kinds = new Map<string, number>();
  for (const error of runs.flatMap(({ errors }) => errors)) {
    const kind = error.replace(/\d+/g, 'N');
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  for (const [kind, number] of kinds) console.log(`    ${number} × ${kind}`);
}

function marksOf({ timeline }: Run): string {
  if (timeline === null) return '';
  return timeline.accounts
    .map(
      ({ side, ms }) =>
        `[${side}: ${Object.entries(ms)
          .map(([name, at]) => `${name} ${at}`)
          .join(', ')}]`,
    )
    .join(' ');
}
