import { describe, expect, onTestFinished, test } from 'vitest';
import { type InstanceId, instanceId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { switchOff } from '../../../base/rules.ts';
import { CloneHold } from '../../../binlogsvr/clone-hold.ts';
import { DumpStream } from '../../../binlogsvr/dump-stream.ts';
import { MemoryDisk } from '../../../binlogsvr/memory-store.ts';
import type { PeerMessage } from '../../../binlogsvr/peer-transport.ts';
import type { PurgePolicy } from '../../../binlogsvr/purge-policy.ts';
import { SnapshotSender } from '../../../binlogsvr/snapshot-sender.ts';
import { stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { AppendItem } from '../../../binlogsvr/values.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import type { XaStep } from '../../../mysql/xa.ts';
import { crcOf, UUID, World } from './replica-world.ts';

/** Small enough that a few hundred appends fill it. */
const SMALL: PurgePolicy = { keepMs: 3_600_000, keepBytes: 60_000, capBytes: 1_000_000 };

async function start(purge: PurgePolicy = SMALL): Promise<World> {
  const world = new World(3, 1);
  world.purge = purge;
  for (const node of world.nodes) await world.boot(node);
  await world.until('all vote', () => world.nodes.every((node) => world.at(node).mayVote));
  await world.elect(1);
  return world;
}

async function append(world: World, count: number, bytes = 300): Promise<void> {
  for (let done = 0; done < count; done += 500) {
    const { epoch, appendSeq } = world.at(1).state;
    const some = Array.from({ length: Math.min(500, count - done) }, (_, i) =>
      world.at(1).propose(world.appendOf(epoch, appendSeq + i, bytes), 'data', 20_000),
    );
    await world.done(Promise.all(some));
  }
}

/** Every running node's MySQL executes what its log has applied, as far as `behind` lets it, for long enough to count. */
async function execute(world: World, behind: Readonly<Record<number, number>> = {}, ms = 25_000): Promise<void> {
  for (let passed = 0; passed < ms; passed += 1000) {
    for (const [node, replica] of world.replicas) {
      const { appliedIndex } = replica.state;
      replica.keeping.purger.executed(instanceId(Math.min(appliedIndex, behind[node] ?? appliedIndex)));
    }
    await world.run(1000, 50);
  }
}

const begins = (world: World, node: number): number => world.at(node).keeping.purger.status().firstRetained;

async function readAll(world: World, node: number): Promise<readonly { instance: InstanceId }[]> {
  const replica = world.at(node);
  const out: { instance: InstanceId }[] = [];
  for (let from = begins(world, node); from <= replica.state.appliedIndex; ) {
    const entries = await replica.readLog(instanceId(from), 1e5);
    out.push(...entries);
    from += entries.length;
  }
  return out;
}

describe('purge', () => {
  test('by size, on every node, when all have executed it', async () => {
    const world = await start();
    await append(world, 2000);
    await execute(world);
    for (const node of [1, 2, 3]) {
      expect(begins(world, node)).toBeGreaterThan(1000);
      const { bytes, heldBy, leftBehind, needs } = world.at(node).keeping.purger.status();
      expect({ heldBy, leftBehind }).toEqual({ heldBy: '', leftBehind: [] });
      expect(bytes).toBeLessThan(400_000);
      expect(needs.map((need) => need.node)).toEqual([1, 2, 3]);
    }
    await world.shutDown(2);
    await world.boot(2); // so that nothing comes from memory
    await expect(world.done(world.at(2).readLog(instanceId(5), 100))).rejects.toMatchObject({ code: 'PURGED' });
    await append(world, 10);
    await world.until('all', () => world.allApplied(world.at(1).state.appliedIndex));
    expect(await readAll(world, 3)).toHaveLength(world.at(3).state.appliedIndex - begins(world, 3) + 1);
  });

  test('by age alone', async () => {
    const world = await start({ keepMs: 60_000, keepBytes: 1e9, capBytes: 2e9 });
    await append(world, 1000);
    await execute(world);
    expect(begins(world, 1)).toBe(1);
    await execute(world);
    await append(world, 600);
    await execute(world, {}, 45_000);
    expect(begins(world, 1)).toBeGreaterThan(500);
    expect(begins(world, 1)).toBeLessThan(1010);
  });

  test('never past what a live laggard still needs', async () => {
    const world = await start();
    await append(world, 2000);
    await execute(world, { 3: 700 });
    for (const node of [1, 2, 3]) {
      expect(begins(world, node)).toBeLessThanOrEqual(701);
      expect(begins(world, node)).toBeGreaterThan(400);
      expect(world.at(node).keeping.purger.status().heldBy).toBe('node 3 at 700');
    }
    await execute(world);
    expect(begins(world, 1)).toBeGreaterThan(1000);
  });

  test('what was executed counts only once it has stayed for a while', async () => {
    const world = await start();
    await append(world, 2000);
    await execute(world, { 3: 700 });
    world.at(3).keeping.purger.executed(instanceId(1900));
    await world.run(5000);
    expect(world.at(1).keeping.purger.status().needs[2]).toEqual({ node: 3, executed: 700 });
    // A machine that crashed takes its MySQL back.
    world.at(3).keeping.purger.executed(instanceId(500));
    await world.run(2000);
    expect(world.at(1).keeping.purger.status().needs[2]).toEqual({ node: 3, executed: 500 });
  });

  test('what a clone began with is kept on its own node, beyond the cap, until it reports none any more', async () => {
    const world = await start({ ...SMALL, capBytes: 400_000 });
    await append(world, 500);
    await execute(world);
    const { appliedIndex: base } = world.at(3).state;
    const hold = new CloneHold(world.at(3).keeping.purger, silentLogger);
    hold.report('the GTIDs of its donor', base);
    await append(world, 2000);
    await execute(world, { 3: base });
    expect(begins(world, 3)).toBeLessThanOrEqual(base + 1);
    expect(world.at(3).keeping.purger.status().heldBy).toContain('the clone of this node');
    expect(begins(world, 1)).toBeGreaterThan(base);
    // Another donor, which had less than this log still holds: it is held from where it begins.
    hold.report('fewer GTIDs', instanceId(1));
    await execute(world, { 3: base });
    expect(begins(world, 3)).toBeLessThanOrEqual(base + 1);
    hold.report('', base);
    await execute(world);
    expect(begins(world, 3)).toBeGreaterThan(base);
  });

  test('a dead member holds the log up to the cap, then it is left behind', async () => {
    const world = await start({ ...SMALL, capBytes: 400_000 });
    await append(world, 500);
    await execute(world);
    const held = world.at(3).state.appliedIndex;
    world.kill(3);
    await append(world, 500);
    await execute(world);
    expect(begins(world, 1)).toBeLessThanOrEqual(held + 1);
    expect(world.at(1).keeping.purger.status()).toMatchObject({ heldBy: `node 3 at ${held}`, leftBehind: [] });
    await append(world, 1500);
    await execute(world);
    expect(begins(world, 1)).toBeGreaterThan(held);
    expect(world.at(1).keeping.purger.status().leftBehind).toEqual([3]);
    // It will be cloned, and holds nothing any more.
    expect(world.at(1).keeping.purger.status().bytes).toBeLessThan(100_000);
  });

  test('a hold keeps it, until it is released or runs out', async () => {
    const world = await start();
    await append(world, 800);
    const hold = world.at(1).keeping.purger.hold('clone of node 3', instanceId(300));
    await append(world, 1200);
    await execute(world);
    expect(begins(world, 1)).toBeLessThanOrEqual(300);
    expect(world.at(1).keeping.purger.status().heldBy).toBe('clone of node 3');
    expect(begins(world, 2)).toBeGreaterThan(1000);
    hold.release();
    await execute(world);
    expect(begins(world, 1)).toBeGreaterThan(1000);
    expect(() => world.at(1).keeping.purger.hold('late', instanceId(300))).toThrow('begins at');
  });

  /** Prepared at the beginning, with all executed by all; then far more than the cap. */
  async function prepared(): Promise<
    Readonly<{ world: World; from: number; step: (step: XaStep) => Promise<number> }>
  > {
    const world = await start({ ...SMALL, capBytes: 400_000 });
    const step = async (xa: XaStep): Promise<number> => {
      const { epoch, appendSeq, file } = world.at(1).state;
      const value = world.appendOf(epoch, appendSeq);
      const [item] = value.items;
      if (item?.kind !== 'part') throw new Error('no transaction');
      const begin: AppendItem = {
        kind: 'file',
        name: 'binlog.000001',
        formatDescription: new Uint8Array(1),
        tellsXa: true,
      };
      const items = [...(file === null ? [begin] : []), { ...item, xa }];
      const { instance } = await world.done(world.at(1).propose({ ...value, items }, 'data', 5000));
      return instance;
    };
    await step({ kind: 'commit', xid: 'an older one' });
    await append(world, 300);
    const from = await step({ kind: 'prepare', xid: "X'61',X'',1" });
    await append(world, 2500);
    await execute(world);
    return { world, from, step };
  }

  test('never past what is prepared and unresolved, beyond the cap', async () => {
    const { world, from, step } = await prepared();
    for (const node of [1, 2, 3]) {
      expect(begins(world, node)).toBeLessThanOrEqual(from);
      expect(begins(world, node)).toBeGreaterThan(100);
      expect(world.at(node).keeping.purger.status().heldBy).toBe("XA transaction X'61',X'',1, prepared and unresolved");
    }
    await step({ kind: 'rollback', xid: "X'61',X'',1" });
    await append(world, 10);
    await execute(world);
    for (const node of [1, 2, 3]) expect(begins(world, node)).toBeGreaterThan(1000);
    const state = stateToJson(world.at(2).state);
    await world.shutDown(2);
    await world.boot(2);
    await world.until('applied again', () => stateToJson(world.at(2).state) === state);
  });

  test('without purge-keeps-unresolved-xa a MySQL that forgot it cannot have it again', async () => {
    onTestFinished(switchOff('purge-keeps-unresolved-xa'));
    const { world, from } = await prepared();
    expect(begins(world, 1)).toBeGreaterThan(from);
  });

  test('a restart at any time keeps what was purged purged, and the state', async () => {
    const world = await start();
    await append(world, 2000);
    await execute(world);
    const first = begins(world, 2);
    const state = stateToJson(world.at(2).state);
    world.kill(2);
    world.disks.get(nodeId(2))?.powerCut();
    await world.boot(2);
    expect(begins(world, 2)).toBe(first);
    await world.until('applied again', () => world.at(2).state.appliedIndex >= world.at(1).state.appliedIndex);
    expect(stateToJson(world.at(2).state)).toBe(state);
  });
});

describe('a node that asks for what is purged', () => {
  /** Node 3 is away while everything it lacks is purged. */
  async function leftBehind(): Promise<World> {
    const world = await start({ ...SMALL, capBytes: 150_000 });
    await append(world, 50);
    await world.until('all', () => world.allApplied(world.at(1).state.appliedIndex));
    await world.shutDown(3);
    await append(world, 1500);
    await execute(world, {}, 25_000);
    expect(begins(world, 1)).toBeGreaterThan(600);
    for (const node of [1, 2]) {
      await world.shutDown(node);
      await world.boot(node); // so that nothing comes from memory
    }
    await world.until('leads again', () => world.at(1).leading);
    return world;
  }

  async function expectCaughtUp(world: World): Promise<void> {
    await world.until('node 3 is there', () => world.at(3).state.appliedIndex === world.at(1).state.appliedIndex);
    expect(stateToJson(world.at(3).state)).toBe(stateToJson(world.at(1).state));
    expect(world.at(3).state.gtidSet.toString()).toBe(world.at(1).state.gtidSet.toString());
    const [log, other] = [await readAll(world, 3), await readAll(world, begins(world, 3) === begins(world, 1) ? 1 : 2)];
    expect(log).toEqual(other);
    expect(world.fatal).toEqual([]);
  }

  test('gets a snapshot and the log behind it, and votes again', async () => {
    const world = await leftBehind();
    await world.boot(3);
    await expectCaughtUp(world);
    expect(begins(world, 3)).toBeGreaterThan(600);
    // Its vote counts: nodes 1 and 3 are a majority.
    world.kill(2);
    await append(world, 5);
    expect(world.at(3).mayVote).toBe(true);
    world.kill(3);
    world.disks.get(nodeId(3))?.powerCut();
    await world.boot(3);
    await world.boot(2);
    await append(world, 5);
    await world.until('all', () => world.allApplied(world.at(1).state.appliedIndex));
    await expectCaughtUp(world);
    expect(world.at(3).purged.toString()).toMatch(new RegExp(`^${UUID}:1-\\d+$`));
  });

  test('hears of the snapshot before it hears of what was known to be chosen behind it', async () => {
    const world = await start({ ...SMALL, capBytes: 90_000 });
    await append(world, 400);
    await world.until('all', () => world.allApplied(world.at(1).state.appliedIndex));
    await world.shutDown(3);
    await append(world, 400);
    await execute(world);
    const { base, records } = world.disks.get(nodeId(1)) as MemoryDisk;
    const index = base?.appliedIndex ?? 0;
    expect(index).toBeGreaterThan(410);
    for (const node of [1, 2]) world.network.cut(node, 3);
    const replica = await world.boot(3);
    const heard: number[] = [];
    replica.events.onInstalled((state) => heard.push(-state.appliedIndex));
    replica.onApplied(({ instance }) => heard.push(instance));
    const entries = records.flatMap((each) =>
      each.kind === 'accepted' && each.entry.instance > index ? each.entry : [],
    );
    const behind = entries.slice(0, 2);
    expect(behind.map(({ instance }) => instance)).toEqual([index + 1, index + 2]);
    const { storeId } = world.at(1).hello();
    const chosenUpTo = instanceId(index + 2);
    const said = { leaseAge: null, firstRetained: index + 1 };
    replica.onMessage(nodeId(1), storeId, { kind: 'learned', entries: behind, chosenUpTo, ...said });
    await world.run(50); // on disk
    const sender = new SnapshotSender(
      () => base,
      (_, piece) => replica.onMessage(nodeId(1), storeId, piece),
    );
    sender.begin(nodeId(3));
    await world.until('all of it', () => replica.state.appliedIndex === index + 2);
    expect(heard).toEqual([-index, index + 1, index + 2]);
  });

  test('keeps its promise over the snapshot', async () => {
    const world = await leftBehind();
    const promised = Math.max(
      ...(world.disks.get(nodeId(3))?.records ?? []).map((r) => (r.kind === 'promised' ? r.ballot : 0)),
    );
    expect(promised).toBeGreaterThan(0);
    await world.boot(3);
    await expectCaughtUp(world);
    await world.shutDown(3);
    await world.boot(3);
    await expectCaughtUp(world);
    await world.shutDown(1);
    await world.until('takeover', () => world.at(2).takeoverInMs === 0);
    await world.done(world.lease(2).fence(1, false, 5000));
    await world.elect(2);
    expect(world.at(2).state.epoch).toBe(2);
  });

  test('with an empty store learns from a snapshot and is bound again', async () => {
    const world = await leftBehind();
    world.disks.set(nodeId(3), new MemoryDisk());
    await world.boot(3);
    await expectCaughtUp(world);
    await world.until('bound', () => world.at(3).mayVote);
  });

  test.each(['piece', 'whole'] as const)(
    'a flipped byte in a snapshot (%s) is noticed and sent again',
    async (which) => {
      const world = await leftBehind();
      let flips = 0;
      world.tamper = (_from, to, message): PeerMessage => {
        if (message.kind !== 'snapshot' || to !== 3 || flips >= 2) return message;
        flips += 1;
        const data = Buffer.from(message.data);
        data[10] = (data[10] as number) ^ 4;
        // A sender that read damaged memory would make a right checksum of the piece.
        return which === 'piece' ? { ...message, data } : { ...message, data, pieceCrc: crcOf(data) };
      };
      await world.boot(3);
      await expectCaughtUp(world);
      expect(flips).toBe(2);
    },
  );
});

describe('a replica that needs what is purged', () => {
  test('hears MySQL’s own words', async () => {
    const world = await start();
    await append(world, 1500);
    await execute(world);
    const first = begins(world, 1);
    const options = { serverId: 9, crc: true };
    const open = (has: string) => DumpStream.open(world.at(1), { kind: 'gtid', has: GtidSet.parse(has) }, options);
    const gone = world.at(1).purged.toString();
    await expect(world.done(open(`${UUID}:1-9`))).rejects.toMatchObject({
      code: 'PURGED',
      message:
        'Cannot replicate because the source purged required binary logs. Replicate the missing transactions from elsewhere, ' +
        "or provision a new replica from backup. Consider increasing the source's binary log expiration period. " +
        `The GTID set sent by the replica is '${UUID}:1-9', and the missing transactions are '${gone.replace(':1-', ':10-')}'`,
    });
    expect((await world.done(open(gone))).caughtUp).toBe(false);
    expect((await world.done(open(`${gone},${UUID}:1-1500`))).at).toEqual({ file: '', position: 4 });
    expect(first).toBeGreaterThan(600);
  });
});
