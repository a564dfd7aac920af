import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { epochOf } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { systemRandom } from '../../../base/system-random.ts';
import type { LeaseTimes, NodeAddress } from '../../../base/topology.ts';
import { type Binlogsvr, type BinlogsvrOptions, startBinlogsvr } from '../../../binlogsvr/binlogsvr.ts';
import { encodeValue } from '../../../binlogsvr/value-codec.ts';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import type { AgentReport, BinlogsvrClient, View } from '../../../proto/binlogsvr-types.ts';
import { rpcNodes } from '../../support/rpc-nodes.ts';
import { eventually } from '../../support/wait.ts';

const LEASE: LeaseTimes = { leaseMs: 1000, renewMs: 200, takeoverMs: 1200 };
const SECURITY = { clusterSecret: 'a secret', tls: null };
/** Whichever end says it first; both ends try about once a second. */
const REFUSED = { timeout: 20_000 };
const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

let dir: string;
let nodes: NodeAddress[];
const running = new Map<number, Binlogsvr>();
const clients = new Map<number, BinlogsvrClient>();

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'phxsql-three-'));
  nodes = await rpcNodes(3);
  for (const { id, rpc } of nodes) clients.set(id, createBinlogsvrClient(`127.0.0.1:${rpc}`, SECURITY));
});

afterEach(async () => {
  for (const client of clients.values()) await client[Symbol.asyncDispose]();
  for (const svr of running.values()) await svr.close();
  clients.clear();
  running.clear();
  await rm(dir, { recursive: true, force: true });
});

async function start(node: number, changed: Partial<BinlogsvrOptions> = {}): Promise<Binlogsvr> {
  const svr = await startBinlogsvr({
    cluster: 'three',
    self: nodes[node - 1] as NodeAddress,
    nodes,
    dataDir: join(dir, String(node)),
    security: SECURITY,
    lease: LEASE,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    configChecksum: createHash('sha256').update('config').digest(),
    onFatal: (error) => {
      throw error;
    },
    ...changed,
  });
  running.set(node, svr);
  return svr;
}

async function stop(node: number): Promise<void> {
  await running.get(node)?.close();
  running.delete(node);
}

function client(node: number): BinlogsvrClient {
  return clients.get(node) as BinlogsvrClient;
}

/** The first view of a node that satisfies `holds`. */
async function viewWhere(node: number, holds: (view: View) => boolean, ms = 10_000): Promise<View> {
  const until = performance.now() + ms;
  let last: View | null = null;
  while (performance.now() < until) {
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(until - performance.now())));
    try {
      for await (const view of client(node).subscribe(signal)) {
        last = view;
        if (holds(view)) return view;
      }
    } catch {
      await eventually('the node is up', until - performance.now(), () => client(node).status(1000));
    }
  }
  throw new Error(`node ${node} never showed it; last view ${JSON.stringify(last)}`);
}

function appendBytes(epoch: number, follows: number): Uint8Array {
  const events = Buffer.alloc(1024, follows % 251);
  const gtid = `${UUID}:${follows + 1}`;
  const items = [{ kind: 'part', gtid, first: true, last: true, crc: crc32(events), events } as const];
  // The Append inside the Value: after one tag byte and a length of two.
  return encodeValue({ kind: 'append', epoch: epochOf(epoch), follows, items }).subarray(3);
}

async function elect(node: number): Promise<number> {
  await viewWhere(node, (view) => view.voting && view.quorum);
  const { baseline, gtidSet, epoch } = (await client(node).status(1000)).view;
  if (!baseline) expect(await client(node).baseline('', 5000)).toMatchObject({ accepted: true });
  const outcome = await client(node).stand(gtidSet, epoch, 5000);
  expect(outcome).toMatchObject({ accepted: true, epoch: epoch + 1 });
  return outcome.epoch;
}

test('elect, renew, append, lose nodes, come back', async () => {
  const begun = performance.now();
  await start(1);
  expect(performance.now() - begun).toBeLessThan(1500);
  const alone = await client(1).status(1000);
  expect(alone.view.voting).toBe(false);
  expect(alone.view.votingReason).toContain('waiting to meet node 2, node 3');
  expect(await client(1).baseline('', 1000)).toMatchObject({ accepted: false, code: 'NO_QUORUM' });
  await start(2);
  await start(3);
  const epoch = await elect(1);
  expect(await client(1).renew(epoch, 1000)).toMatchObject({ accepted: true });
  expect((await client(1).lease(1000)).remainingMs).toBeGreaterThan(500);
  expect((await client(2).lease(1000)).remainingMs).toBe(0);
  expect(await client(2).renew(epoch, 1000)).toMatchObject({ accepted: false, code: 'WRONG_EPOCH' });
  expect(await client(2).fence(epoch, false, 1000)).toMatchObject({ accepted: false, code: 'LEASE_RUNS' });
  expect(await client(2).stand('', epoch, 1000)).toMatchObject({ accepted: false, code: 'WRONG_EPOCH' });

  const stream = client(1).appendStream(new AbortController().signal);
  const outcomes = await Promise.all(Array.from({ length: 200 }, (_, i) => stream.append(appendBytes(epoch, i))));
  expect(outcomes.every((outcome) => outcome.accepted)).toBe(true);
  expect(await stream.append(appendBytes(epoch, 7))).toMatchObject({ accepted: false, code: 'NOT_SUCCESSOR' });
  expect(await stream.append(Buffer.from('nonsense'))).toMatchObject({ accepted: false });
  for (const node of [1, 2, 3]) {
    expect((await viewWhere(node, (view) => view.appendSeq === 200)).gtidSet).toBe(`${UUID}:1-200`);
  }
  expect((await client(3).barrier(2000)).appendSeq).toBe(200);
  const tail = [199, 200, 201].map((n) => ({ gtid: `${UUID}:${n}`, crc: crc32(Buffer.alloc(1024, (n - 1) % 251)) }));
  expect(await client(2).compareTail(tail, 2000)).toMatchObject({ matching: 2 });

  await stop(3);
  await client(1).renew(epoch, 2000);
  expect(await stream.append(appendBytes(epoch, 200))).toMatchObject({ accepted: true });
  await stop(2);
  const lost = stream.append(appendBytes(epoch, 201)).catch((error: { code: string }) => error.code);
  await viewWhere(1, (view) => !view.quorum && view.leaseRemainingMs === 0 && view.takeoverDue);
  expect(await lost).toBe('TIMEOUT');
  expect((await client(1).status(1000)).peers.every((peer) => !peer.connected && peer.reason !== '')).toBe(true);
  await expect(client(2).status(1000)).rejects.toMatchObject({ code: 'UNAVAILABLE' });

  await start(2);
  await viewWhere(2, (view) => view.appendSeq === 202);
  await start(3);
  await viewWhere(3, (view) => view.appendSeq === 202);
  await viewWhere(2, (view) => view.takeoverDue, 500);
  expect(await client(2).fence(epoch, false, 5000)).toMatchObject({ accepted: true });
  expect(await elect(2)).toBe(epoch + 1);
  expect(await stream.append(appendBytes(epoch, 202)).catch((error: unknown) => error)).toMatchObject({
    code: expect.stringMatching(/WRONG_EPOCH|NOT_LEADER/),
  });
  stream.close();
});

test('views are pushed, reports are shown, a slow report goes stale', async () => {
  for (const node of [1, 2, 3]) await start(node);
  const epoch = await elect(1);
  const report: AgentReport = {
    role: 'master',
    reason: '',
    gtidExecuted: '',
    servingReads: false,
    servingWrites: true,
    epoch,
    attachEpoch: epoch,
    mysqlSocket: '/tmp/x.sock',
    mysqldPid: 7,
    ioRunning: false,
    sqlRunning: false,
    pinned: '',
    incarnation: 1,
  };
  expect((await client(1).report(report, 1000)).agent).toMatchObject(report);
  const seen = await viewWhere(1, (view) => view.agent?.servingWrites === true);
  expect(seen.agentAlive).toBe(true);
  await viewWhere(1, (view) => !view.agentAlive, 3000);
  await expect(client(1).report({ ...report, gtidExecuted: 'rubbish' }, 1000)).rejects.toMatchObject({
    code: 'GTID_INVALID',
  });
  const status = await client(1).status(1000);
  expect(status.executedIndex).toBe(status.view.appliedIndex);
  // The epoch's end is heard by all at once.
  const heard = [2, 3].map((node) => viewWhere(node, (view) => view.epoch === epoch && !view.open, 2000));
  expect(await client(1).fence(epoch, true, 1000)).toMatchObject({ accepted: true });
  await Promise.all(heard);
});

test('who does not belong is refused, and status says why', async () => {
  await start(1);
  const stranger = createBinlogsvrClient(`127.0.0.1:${nodes[0]?.rpc}`, { clusterSecret: 'another', tls: null });
  await expect(stranger.status(1000)).rejects.toMatchObject({ code: 'PEER_REFUSED' });
  await expect(stranger.compareTail([], 1000)).rejects.toMatchObject({ code: 'PEER_REFUSED' });
  await expect(stranger.subscribe(AbortSignal.timeout(2000))[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: 'PEER_REFUSED',
  });
  await stranger[Symbol.asyncDispose]();

  const reasonOf = async (node: number, about: number): Promise<string> => {
    const status = await client(node).status(1000);
    return status.peers.find((peer) => peer.node === about)?.reason ?? '';
  };
  await start(2, { cluster: 'other' });
  await expect.poll(() => reasonOf(1, 2), REFUSED).toMatch(/belongs to cluster (other, not three|three, not other)/);
  await start(3, { configChecksum: createHash('sha256').update('else').digest() });
  await expect.poll(() => reasonOf(1, 3), REFUSED).toMatch(/configuration of node [13] differs/);
  await stop(3);
  await start(3, { security: { clusterSecret: 'another', tls: null } });
  await expect.poll(() => reasonOf(1, 3), REFUSED).toContain('secret');
  expect((await client(1).status(1000)).view.voting).toBe(false);
});
