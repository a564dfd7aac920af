import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { systemRandom } from '../../../base/system-random.ts';
import type { NodeAddress } from '../../../base/topology.ts';
import { type Binlogsvr, startBinlogsvr } from '../../../binlogsvr/binlogsvr.ts';
import { LeaseService } from '../../../binlogsvr/lease-service.ts';
import { statePath } from '../../../binlogsvr/store-open.ts';
import type { AppendValue } from '../../../binlogsvr/values.ts';
import { rpcNodes } from '../../support/rpc-nodes.ts';
import { BALLOT_BYTE, damageEntry } from '../../unit/binlogsvr/log-store-support.ts';

/** Three nodes over real gRPC and LevelDB. A bit of a value on node 2 flips, while the others have lost what they know to be chosen. */
const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const BAD = 20;

let dir: string;
let nodes: NodeAddress[];
const running = new Map<number, Binlogsvr>();
const repairs: { node: number; by: unknown }[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'phxsql-bad-'));
  nodes = await rpcNodes(3);
  repairs.length = 0;
});

afterEach(async () => {
  for (const node of [...running.keys()]) await stop(node);
  await rm(dir, { recursive: true, force: true });
});

const storeOf = (node: number): string => join(dir, String(node), 'store');
const at = (node: number): Binlogsvr => running.get(node) as Binlogsvr;
const applied = (node: number): number => at(node).replica.state.appliedIndex;

async function start(node: number): Promise<void> {
  const svr = await startBinlogsvr({
    cluster: 'bad',
    self: nodes[node - 1] as NodeAddress,
    nodes,
    dataDir: join(dir, String(node)),
    security: { clusterSecret: 'a secret', tls: null },
    lease: { leaseMs: 3000, renewMs: 500, takeoverMs: 3400 },
    clock: systemClock,
    random: systemRandom,
    log: {
      ...silentLogger,
      warn: (_message, fields) => {
        if (fields?.repairedBy !== undefined) repairs.push({ node, by: fields.repairedBy });
      },
    },
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

/** More instances than are sealed together, applied by all. */
async function filled(): Promise<number> {
  for (const node of [1, 2, 3]) await start(node);
  await expect.poll(() => at(1).replica.mayVote && at(1).replica.quorum, { timeout: 20_000 }).toBe(true);
  const lease = new LeaseService(at(1).replica, nodeId(1), systemClock);
  expect(await lease.baseline('', 10_000)).toMatchObject({ accepted: true });
  expect(await lease.stand('', 0, 10_000)).toMatchObject({ accepted: true });
  const { epoch, appendSeq } = at(1).replica.state;
  const appends = Array.from({ length: 100 }, (_, i) => {
    const events = Buffer.alloc(1000, i);
    const gtid = `${UUID}:${i + 1}`;
    const part = { kind: 'part', gtid, first: true, last: true, crc: crc32(events), events } as const;
    const value: AppendValue = { kind: 'append', epoch: epochOf(epoch), follows: appendSeq + i, items: [part] };
    return at(1).replica.propose(value, 'data', 30_000);
  });
  await Promise.all(appends);
  await expect.poll(() => [2, 3].every((node) => applied(node) === applied(1)), { timeout: 20_000 }).toBe(true);
  return applied(1);
}

test.each([
  ['a byte of it', -1, 'ballot'],
  ['its ballot', BALLOT_BYTE, 'majority'],
] as const)('a value comes back from those who accepted it: %s went bad', async (_, byte, by) => {
  const upTo = await filled();
  const before = await at(2).replica.readLog(instanceId(BAD), 1);
  for (const node of [1, 2, 3]) await stop(node);
  await start(2); // which seals the log
  await stop(2);
  await damageEntry(storeOf(2), instanceId(BAD), byte);
  // What a power cut takes of nodes that have not written a checkpoint.
  for (const node of [1, 3]) await rm(statePath(storeOf(node)), { recursive: true });
  await start(2);
  await expect(at(2).replica.readLog(instanceId(BAD), 1)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  expect(at(2).status().badValues).toContain(`instance ${BAD} is bad`);
  for (const node of [1, 3]) await start(node);
  await expect.poll(() => [1, 3].every((node) => applied(node) >= upTo), { timeout: 20_000 }).toBe(true);
  expect(repairs).toEqual([{ node: 2, by }]);
  expect(at(2).status().badValues).toBe('');
  for (const node of [1, 2, 3]) expect(await at(node).replica.readLog(instanceId(BAD), 1)).toEqual(before);
});
