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
import type { LeaseTimes, NodeAddress } from '../../../base/topology.ts';
import { type Binlogsvr, startBinlogsvr } from '../../../binlogsvr/binlogsvr.ts';
import { encodeValue } from '../../../binlogsvr/value-codec.ts';
import { RemoteMembers } from '../../../cli/member/access.ts';
import { added, elected, removed, replaced, seated } from '../../../cli/member/goals.ts';
import { reach } from '../../../cli/member/reach.ts';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import type { MemberChange, MemberOutcome, NodeStatus } from '../../../proto/binlogsvr-types.ts';
import { rpcNodes } from '../../support/rpc-nodes.ts';

const LEASE: LeaseTimes = { leaseMs: 2000, renewMs: 300, takeoverMs: 2400 };
const SECURITY = { clusterSecret: 'a secret', tls: null };
const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const WAIT = { timeout: 15_000, interval: 50 };

type Client = ReturnType<typeof createBinlogsvrClient>;
let dir: string;
let nodes: NodeAddress[];
const running = new Map<number, Binlogsvr>();
const clients = new Map<number, Client>();

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'phxsql-members-'));
  // Nobody listens on the other ports: they are only told.
  nodes = (await rpcNodes(5)).map((node) => {
    const of = (tens: number): number => tens * 10 + node.id;
    return { ...node, rw: of(1), ro: of(2), dump: of(3), mysql: of(4), http: of(5) };
  });
  for (const { id, rpc } of nodes) clients.set(id, createBinlogsvrClient(`127.0.0.1:${rpc}`, SECURITY));
});

afterEach(async () => {
  for (const client of clients.values()) await client[Symbol.asyncDispose]();
  for (const svr of running.values()) await svr.close();
  clients.clear();
  running.clear();
  await rm(dir, { recursive: true, force: true });
});

/** Knows by its configuration itself and `known`. */
async function start(node: number, known: readonly number[], joining = false): Promise<Binlogsvr> {
  const svr = await startBinlogsvr({
    cluster: 'members',
    self: nodes[node - 1] as NodeAddress,
    nodes: nodes.filter(({ id }) => id === node || known.includes(id)),
    dataDir: join(dir, String(node)),
    security: SECURITY,
    lease: LEASE,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    configChecksum: createHash('sha256').update('config').digest(),
    join: joining,
    onFatal: (error) => {
      throw error;
    },
  });
  running.set(node, svr);
  return svr;
}

const client = (node: number): Client => clients.get(node) as Client;
const status = (node: number): Promise<NodeStatus> => client(node).status(2000);
const at = (node: number): Binlogsvr => running.get(node) as Binlogsvr;

async function change(node: number, what: MemberChange): Promise<MemberOutcome> {
  const outcome = await client(node).changeMember(what, 15_000);
  expect(outcome.accepted, outcome.reason).toBe(true);
  return outcome;
}

function appendBytes(epoch: number, follows: number): Uint8Array {
  const events = Buffer.alloc(1024, follows % 251);
  const items = [
    { kind: 'part', gtid: `${UUID}:${follows + 1}`, first: true, last: true, crc: crc32(events), events } as const,
  ];
  // The Append inside the Value: after one tag byte and a length of two.
  return encodeValue({ kind: 'append', epoch: epochOf(epoch), follows, items }).subarray(3);
}

test('3 -> 5 -> 3 while appends go on: dialled by the address in the log, nothing lost, no stall of a lease', async () => {
  const founders = [1, 2, 3];
  for (const node of founders) await start(node, founders);
  await expect.poll(async () => (await status(1)).view.voting, WAIT).toBe(true);
  expect(await client(1).baseline('', 5000)).toMatchObject({ accepted: true });
  const { epoch } = await client(1).stand('', 0, 5000);
  const stream = client(1).appendStream(new AbortController().signal);
  let going = true;
  let appended = 0;
  let longestMs = 0;
  let last = performance.now();
  const load = (async () => {
    while (going) {
      expect(await stream.append(appendBytes(epoch, appended))).toMatchObject({ accepted: true });
      appended += 1;
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }
  })();
  load.catch(() => {}); // told at the end
  const renewing = (async () => {
    for (let due = performance.now(); going; ) {
      if (performance.now() < due) await expect.poll(() => performance.now() >= due || !going, WAIT).toBe(true);
      due += LEASE.renewMs;
      await client(1).renew(epoch, 2000);
    }
  })();
  renewing.catch(() => {});

  // Each newcomer knows one member only; it is dialled by the others at the address the log says.
  await start(4, [1], true);
  await start(5, [2], true);
  for (const node of [4, 5]) {
    await expect
      .poll(async () => (await status(1)).members?.find((each) => each.node === node)?.kind, WAIT)
      .toBe('learner');
    await change(1, { change: 'add', node, kind: 'voter', election: 'neutral' });
  }
  expect((await status(1)).members).toMatchObject([1, 2, 3, 4, 5].map((node) => ({ node, kind: 'voter' })));
  await expect.poll(async () => (await status(5)).peers.filter((peer) => peer.connected).length, WAIT).toBe(4);
  expect(await client(2).changeMember({ change: 'remove', node: 3 }, 2000)).toMatchObject({
    accepted: false,
    code: 'NOT_LEADER',
    ask: 1,
  });
  for (const node of [2, 3]) await change(1, { change: 'remove', node });
  await expect.poll(async () => (await status(4)).view.voting, WAIT).toBe(true);
  going = false;
  await Promise.all([load, renewing]);
  stream.close();

  expect(longestMs).toBeLessThan(LEASE.leaseMs);
  expect(appended).toBeGreaterThan(20);
  for (const node of [1, 4, 5]) {
    await expect.poll(async () => (await status(node)).view.appendSeq, WAIT).toBe(appended);
    expect((await status(node)).view).toMatchObject({ epoch, master: 1, gtidSet: `${UUID}:1-${appended}` });
  }
  // Who was removed says so itself, is let go by the others, and is refused when it comes back.
  await expect.poll(async () => (await status(2)).view.membership?.kind, WAIT).toBe('removed');
  expect((await status(2)).view.votingReason).toContain('removed');
  await expect.poll(async () => (await status(1)).peers.some((peer) => peer.node === 3), WAIT).toBe(false);
  await at(3).close();
  await start(3, founders);
  await expect
    .poll(async () => (await status(3)).peers.find((peer) => peer.node === 1)?.reason, WAIT)
    .toContain('removed');
  // The two that joined are a majority of the three: they go on without the last founder but one.
  await at(4).close();
  running.delete(4);
  await start(4, [1]);
  await expect.poll(async () => (await status(4)).view.voting, WAIT).toBe(true);
});

test('phxsql member: a node that joins is added, its address is in every view, one is removed, one replaced', async () => {
  const founders = [1, 2, 3];
  for (const node of founders) await start(node, founders);
  await expect.poll(async () => (await status(1)).view.voting, WAIT).toBe(true);
  await client(1).baseline('', 5000);
  await start(4, [1], true);
  // As a configuration that knows one member and the newcomer.
  const known = nodes.filter(({ id }) => id === 2 || id === 4);
  const source = { cluster: 'members', nodes: known, security: SECURITY, nodeDirs: new Map(), self: nodeId(4) };
  await using access = new RemoteMembers(source, systemClock);
  const options = { access, clock: systemClock, deadline: systemClock.now() + 15_000, say: () => {} };
  await reach(seated(4, ''), options);
  const { members } = await reach(added(4, 'voter', 'never', ''), options);
  expect(members).toMatchObject([{ node: 1 }, { node: 2 }, { node: 3 }, { node: 4, kind: 'voter', election: 'never' }]);
  await expect
    .poll(async () => (await status(2)).view.members?.at(-1), WAIT)
    .toEqual({
      ...{ node: 4, storeId: expect.stringMatching(/./), kind: 'voter', election: 'never', host: '127.0.0.1' },
      ...{ rpc: nodes[3]?.rpc, rw: 14, ro: 24, dump: 34, mysql: 44, http: 54 },
    });
  await expect(reach(added(4, 'witness', 'neutral', ''), options)).rejects.toMatchObject({ code: 'MEMBER_REFUSED' });
  await reach(elected(4, 'neutral', ''), options);
  const { members: left } = await reach(removed(3, ''), options);
  expect(left.map(({ node }) => node)).toEqual([1, 2, 4]);
  await start(5, [4], true);
  await reach(seated(5, ''), { ...options });
  const { members: replacedOnes } = await reach(replaced(2, 5, ''), options);
  expect(replacedOnes.map(({ node }) => node).sort()).toEqual([1, 4, 5]);
});

test('an election rule and a witness show in status; what may not stand says why', async () => {
  const founders = [1, 2, 3];
  for (const node of founders) await start(node, founders);
  await expect.poll(async () => (await status(1)).view.voting, WAIT).toBe(true);
  await client(1).baseline('', 5000);
  await start(4, [1, 2, 3], true);
  await expect.poll(async () => (await status(1)).members?.length, WAIT).toBe(4);
  await change(1, { change: 'add', node: 4, kind: 'witness', election: 'neutral' });
  await change(1, { change: 'setElection', node: 2, election: 'never' });
  await change(1, { change: 'setElection', node: 3, election: 'prefer' });
  await expect.poll(async () => (await status(4)).view.membership?.standRefusal, WAIT).toContain('witness');
  await expect.poll(async () => (await status(2)).view.membership?.standRefusal, WAIT).toContain('never');
  expect((await status(3)).view.membership).toMatchObject({ kind: 'voter', election: 'prefer', standInMs: 0 });
  expect((await status(2)).members).toMatchObject([
    { node: 1, kind: 'voter', election: 'neutral', host: '127.0.0.1', rpc: nodes[0]?.rpc },
    { node: 2, kind: 'voter', election: 'never' },
    { node: 3, kind: 'voter', election: 'prefer' },
    { node: 4, kind: 'witness', rpc: nodes[3]?.rpc },
  ]);
  for (const node of [2, 4]) {
    expect(await client(node).stand('', 0, 2000)).toMatchObject({ accepted: false, code: 'MEMBER_REFUSED' });
  }
  await expect(client(1).changeMember({ change: 'promote', node: 1 } as never, 2000)).rejects.toMatchObject({
    message: expect.stringContaining('unknown change'),
  });
});

test('who reads at once that a node was removed and came back does not let it go', async () => {
  const founders = [1, 2, 3];
  for (const node of founders) await start(node, founders);
  await expect.poll(async () => (await status(1)).view.voting, WAIT).toBe(true);
  await client(1).baseline('', 5000);
  const seatOf = async (node: number) => (await status(1)).members?.find((each) => each.node === node)?.kind;
  await start(4, [1], true);
  await expect.poll(() => seatOf(4), WAIT).toBe('learner');
  await change(1, { change: 'remove', node: 4 });
  await at(4).close();
  await rm(join(dir, '4'), { recursive: true });
  await start(4, [1], true);
  await expect.poll(() => seatOf(4), WAIT).toBe('learner');
  await change(1, { change: 'add', node: 4, kind: 'voter', election: 'neutral' });

  await start(5, [1], true);
  await expect.poll(() => seatOf(5), WAIT).toBe('learner');
  // A removed node is let go of a second after the log says so.
  await expect.poll(async () => (await status(5)).uptimeMs, WAIT).toBeGreaterThan(3000);
  const { peers } = await status(5);
  expect(peers.filter(({ connected }) => connected).map(({ node }) => Number(node))).toEqual([1, 2, 3, 4]);
});
