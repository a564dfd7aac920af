import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epochOf, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { systemRandom } from '../../../base/system-random.ts';
import type { NodeAddress } from '../../../base/topology.ts';
import { type Binlogsvr, startBinlogsvr } from '../../../binlogsvr/binlogsvr.ts';
import { LeaseService } from '../../../binlogsvr/lease-service.ts';
import { DEFAULT_PURGE, type PurgePolicy } from '../../../binlogsvr/purge-policy.ts';
import type { AppendValue } from '../../../binlogsvr/values.ts';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import type { AgentReport } from '../../../proto/binlogsvr-types.ts';
import { rpcNodes } from '../../support/rpc-nodes.ts';

/** Three nodes over real gRPC and LevelDB, one of which was away for long. */
const SECURITY = { clusterSecret: 'a secret', tls: null };
const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const BYTES = 64 * 1024;
const REPORT: AgentReport = {
  role: 'replica',
  reason: '',
  gtidExecuted: '',
  servingReads: false,
  servingWrites: false,
  epoch: 0,
  attachEpoch: 0,
  mysqlSocket: '',
  mysqldPid: 0,
  ioRunning: false,
  sqlRunning: false,
  pinned: '',
  incarnation: 1,
};

let dir: string;
let nodes: NodeAddress[];
const running = new Map<number, Binlogsvr>();

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'phxsql-far-'));
  nodes = await rpcNodes(3);
});

afterEach(async () => {
  for (const svr of running.values()) await svr.close();
  running.clear();
  await rm(dir, { recursive: true, force: true });
});

async function start(node: number, purge: PurgePolicy): Promise<void> {
  const svr = await startBinlogsvr({
    cluster: 'far',
    self: nodes[node - 1] as NodeAddress,
    nodes,
    dataDir: join(dir, String(node)),
    security: SECURITY,
    lease: { leaseMs: 3000, renewMs: 500, takeoverMs: 3400 },
    purge,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    configChecksum: createHash('sha256').update('config').digest(),
    onFatal: (error) => {
      throw error;
    },
  });
  running.set(node, svr);
}

async function stop(node: number): Promise<void> {
  await running.get(node)?.close();
  running.delete(node);
}

const at = (node: number): Binlogsvr => running.get(node) as Binlogsvr;
const applied = (node: number): number => at(node).replica.state.appliedIndex;

async function elect(): Promise<void> {
  await expect.poll(() => at(1).replica.mayVote && at(1).replica.quorum, { timeout: 20_000 }).toBe(true);
  const lease = new LeaseService(at(1).replica, nodeId(1), systemClock);
  expect(await lease.baseline('', 10_000)).toMatchObject({ accepted: true });
  expect(await lease.stand('', 0, 10_000)).toMatchObject({ accepted: true });
}

/** `count` transactions of 64 KiB. */
async function append(count: number): Promise<void> {
  for (let done = 0; done < count; done += 64) {
    const { epoch, appendSeq } = at(1).replica.state;
    const some = Array.from({ length: Math.min(64, count - done) }, (_, i) => {
      const follows = appendSeq + i;
      const events = Buffer.alloc(BYTES, follows % 251);
      const part = {
        kind: 'part',
        gtid: `${UUID}:${follows + 1}`,
        first: true,
        last: true,
        crc: crc32(events),
        events,
      } as const;
      const value: AppendValue = { kind: 'append', epoch: epochOf(epoch), follows, items: [part] };
      return at(1).replica.propose(value, 'data', 30_000);
    });
    await Promise.all(some);
  }
}

/** Reports, as an agent does, that the node's MySQL has executed everything; `nothing`: that it is empty. */
async function report(node: number, nothing = false): Promise<void> {
  const client = createBinlogsvrClient(`127.0.0.1:${nodes[node - 1]?.rpc}`, SECURITY);
  const gtidExecuted = nothing ? '' : at(node).replica.state.gtidSet.toString();
  await client.report({ ...REPORT, gtidExecuted }, 5000);
  await client[Symbol.asyncDispose]();
}

test('a node that asks for what is purged gets a snapshot and the log behind it', async () => {
  const small: PurgePolicy = { keepMs: 3_600_000, keepBytes: 8 * 1024 * 1024, capBytes: 12 * 1024 * 1024 };
  for (const node of [1, 2, 3]) await start(node, small);
  await elect();
  await append(10);
  await expect.poll(() => applied(3), { timeout: 10_000 }).toBe(applied(1));
  const before = applied(3);
  await stop(3);
  await append(512);
  await expect
    .poll(
      async () => {
        for (const node of [1, 2]) await report(node);
        return [1, 2].every((node) => (at(node).status().purge?.firstRetained ?? 0) > before + 1);
      },
      { timeout: 60_000, interval: 500 },
    )
    .toBe(true);
  for (const node of [1, 2]) {
    await stop(node);
    await start(node, small); // so that nothing is served from memory
  }
  await start(3, small);
  await expect.poll(() => applied(3), { timeout: 30_000 }).toBeGreaterThanOrEqual(512);
  await expect.poll(() => applied(3) === applied(1), { timeout: 30_000 }).toBe(true);
  expect(at(3).replica.state.gtidSet.toString()).toBe(`${UUID}:1-522`);
  expect(at(3).status().purge?.firstRetained).toBeGreaterThan(before + 1);
  await report(3, true);
  expect(at(3).view().needsClone).toContain('lacks transactions the log no longer holds');
  await report(3);
  expect(at(3).view().needsClone).toBe('');
  const first = at(3).status().purge?.firstRetained as number;
  await stop(3);
  await start(3, small);
  expect(at(3).status().purge?.firstRetained).toBe(first);
  await expect.poll(() => at(3).replica.mayVote, { timeout: 10_000 }).toBe(true);
});

test('a node far behind catches up from the retained log while the leader goes on', async () => {
  for (const node of [1, 2, 3]) await start(node, DEFAULT_PURGE);
  await elect();
  await stop(3);
  await append(1024);
  const bytes = 1024 * BYTES;
  await start(3, DEFAULT_PURGE);
  const begun = performance.now();
  const latencies: number[] = [];
  while (applied(3) < 1026) {
    const asked = performance.now();
    await append(1);
    latencies.push(performance.now() - asked);
  }
  const ms = performance.now() - begun;
  latencies.sort((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((p) => latencies[Math.floor(latencies.length * p)]?.toFixed(1));
  console.log(
    `caught up ${bytes / 1024 / 1024} MiB in ${ms.toFixed(0)} ms: ${(bytes / 1e3 / ms).toFixed(1)} MB/s; ` +
      `meanwhile ${latencies.length} appends of 64 KiB, one at a time: p50 ${p50} ms, p99 ${p99} ms`,
  );
  expect(latencies.length).toBeGreaterThan(0);
  await expect.poll(() => applied(3) === applied(1), { timeout: 30_000 }).toBe(true);
  expect(at(3).replica.state.gtidSet.equals(at(1).replica.state.gtidSet)).toBe(true);
});
