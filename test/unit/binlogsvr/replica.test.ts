import { describe, expect, test } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { TailComparison } from '../../../binlogsvr/tail-compare.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { crcOf, UUID, World } from './replica-world.ts';

describe('three replicas', () => {
  test('elect, append, apply everywhere in one order', async () => {
    const world = await World.start();
    expect(await world.elect(1)).toBe(1);
    expect(world.at(1).leading).toBe(true);
    for (let i = 0; i < 5; i += 1) expect((await world.append(1)).accepted).toBe(true);
    const index = world.at(1).state.appliedIndex;
    await world.until('all applied', () => world.allApplied(index));
    const logs = await Promise.all([1, 2, 3].map((n) => world.at(n).readLog(instanceId(1), 1e9)));
    expect(logs[1]).toEqual(logs[0]);
    expect(logs[2]).toEqual(logs[0]);
    expect(world.at(3).state.gtidSet.toString()).toBe(`${UUID}:1-5`);
  });

  test('an append is chosen within one round trip, without a tick', async () => {
    const world = await World.start();
    await world.elect(1);
    const before = world.clock.now();
    let done = false;
    void world
      .at(1)
      .propose(world.appendValue(1), 'data', 1000)
      .then(() => {
        done = true;
      });
    await world.until('applied', () => done, 5);
    expect(world.clock.now() - before).toBeLessThanOrEqual(5);
  });

  test('many appends at once keep their order through a full window', async () => {
    const world = await World.start();
    await world.elect(1);
    const { epoch } = world.at(1).state;
    const all = Array.from({ length: 500 }, (_, i) => world.at(1).propose(world.appendOf(epoch, i), 'data', 5000));
    const applied = await world.done(Promise.all(all));
    expect(applied.every((a) => a.accepted)).toBe(true);
  });

  test('the master dies: refused while its lease runs, then taken over with nothing lost', async () => {
    const world = await World.start();
    await world.elect(1);
    const renewed = await world.done(world.lease(1).renew(1, 1000));
    expect(renewed.accepted).toBe(true);
    await world.append(1);
    const at = world.clock.now();
    world.kill(1);
    const early = await world.done(world.lease(2).fence(1, false, 1000));
    expect(early).toMatchObject({ accepted: false, code: 'LEASE_RUNS' });
    await expect(world.done(world.at(2).lead(200))).rejects.toMatchObject({ code: 'LEASE_RUNS' });
    await world.until('takeover due', () => world.at(2).takeoverInMs === 0);
    const fenced = await world.done(world.lease(2).fence(1, false, 3000));
    expect(fenced.accepted).toBe(true);
    expect(world.clock.now() - at).toBeLessThan(4000);
    expect(await world.elect(2)).toBe(2);
    expect(world.at(2).state.gtidSet.toString()).toBe(`${UUID}:1`);
    expect((await world.append(2)).accepted).toBe(true);
    await world.boot(1);
    await world.until('it catches up', () => world.allApplied(world.at(2).state.appliedIndex));
    expect(world.at(1).state).toMatchObject({ master: 2, epoch: 2, open: true });
  });

  test('an append of an old epoch is refused by every replica alike', async () => {
    const world = await World.start();
    await world.elect(1);
    const stale = world.appendValue(1);
    expect((await world.done(world.lease(1).fence(1, true, 1000))).accepted).toBe(true);
    await world.elect(2);
    const applied = await world.done(world.at(2).propose(stale, 'data', 1000));
    expect(applied).toMatchObject({ accepted: false, code: 'WRONG_EPOCH' });
    await world.until('all applied', () => world.allApplied(applied.instance));
    for (const node of [1, 2, 3]) expect(world.at(node).state.appendSeq).toBe(0);
  });

  test('a release lets another take over at once', async () => {
    const world = await World.start();
    await world.elect(1);
    expect(world.at(1).leaseRemainingMs).toBeGreaterThan(2900);
    const at = world.clock.now();
    const released = await world.done(world.lease(1).fence(1, true, 1000));
    expect(released.accepted).toBe(true);
    expect(world.at(1).leaseRemainingMs).toBe(0);
    await world.until('heard', () => !world.at(3).state.open, 50);
    expect(await world.elect(3)).toBe(2);
    expect(world.clock.now() - at).toBeLessThan(500);
    expect(world.at(3).leaseRemainingMs).toBeGreaterThan(2500);
  });

  test('the lease is only the holder’s to state, counts from before the proposal and runs out', async () => {
    const world = await World.start();
    await world.elect(1);
    expect(world.at(1).leaseRemainingMs).toBeGreaterThan(2800);
    expect(world.at(2).leaseRemainingMs).toBe(0);
    await world.run(1000);
    const before = world.at(1).leaseRemainingMs;
    expect(before).toBeLessThan(2000);
    await world.done(world.lease(1).renew(1, 1000));
    expect(world.at(1).leaseRemainingMs).toBeGreaterThan(2800);
    await world.run(3100);
    expect(world.at(1).leaseRemainingMs).toBe(0);
  });

  test('without a majority nothing is applied; with it again the same append is', async () => {
    const world = await World.start();
    await world.elect(1);
    world.kill(2);
    world.kill(3);
    const lost = world.at(1).propose(world.appendValue(1), 'data', 1000);
    await expect(world.done(lost)).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(world.at(1).state.appendSeq).toBe(0);
    expect(world.at(1).quorum).toBe(false);
    await world.boot(3);
    await world.until('applied after all', () => world.at(1).state.appendSeq === 1);
    await expect(world.done(world.at(1).barrier(2000))).resolves.toBeUndefined();
  });

  test('a barrier on a follower sees what was chosen before it', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 3; i += 1) {
      const applied = await world.append(1);
      await world.done(world.at(3).barrier(1000));
      expect(world.at(3).state.appliedIndex).toBeGreaterThanOrEqual(applied.instance);
    }
    world.kill(1);
    world.kill(2);
    await expect(world.done(world.at(3).barrier(500))).rejects.toMatchObject({ code: 'NO_QUORUM' });
  });

  test('a restart keeps the state and the master leads again by itself', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 20; i += 1) await world.append(1);
    await world.shutDown(1);
    await world.boot(1);
    expect(world.at(1).state.appendSeq).toBe(20);
    expect(world.at(1).leaseRemainingMs).toBe(0);
    await world.until('leads again', () => world.at(1).leading, 1000);
    expect((await world.append(1)).accepted).toBe(true);
    expect((await world.done(world.lease(1).renew(1, 1000))).accepted).toBe(true);
    expect(world.at(1).leaseRemainingMs).toBeGreaterThan(2500);
  });

  test('kill -9 of all at once loses nothing', async () => {
    const world = await World.start();
    await world.elect(2);
    for (let i = 0; i < 300; i += 1) await world.append(2);
    for (const node of world.nodes) world.kill(node);
    for (const node of [1, 2, 3]) await world.boot(node);
    await world.until('leads again', () => world.at(2).leading, 2000);
    expect(world.at(2).state.gtidSet.toString()).toBe(`${UUID}:1-300`);
    await world.until('all', () => world.allApplied(world.at(2).state.appliedIndex));
  });

  test('a half-partitioned stranger does not depose a healthy master', async () => {
    const world = await World.start();
    await world.elect(1);
    world.network.cut(nodeId(1), nodeId(3));
    await world.done(world.lease(1).renew(1, 1000));
    const stood = await world.done(world.lease(3).fence(1, false, 1000));
    expect(stood.code).toBe('LEASE_RUNS');
    await world.run(2500);
    await world.done(world.lease(1).renew(1, 1000));
    // Node 3 does not hear the leader, but catches up through node 2.
    await world.run(3000);
    expect(world.at(3).state.renewal).toBe(2);
    expect(world.at(1).leading).toBe(true);
    world.network.heal();
    await world.append(1);
    await world.until('healed', () => world.allApplied(world.at(1).state.appliedIndex));
  });
});

describe('stores that forgot', () => {
  test('a wiped store learns, does not vote until the log names it, then does', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 10; i += 1) await world.append(1);
    world.kill(3);
    world.kill(2);
    world.disks.delete(nodeId(3));
    await world.boot(3);
    await world.run(1000);
    // Nodes 1 and 3 are a majority of nodes, but not of acceptors.
    expect(world.at(3).mayVote).toBe(false);
    expect(world.at(3).votingReason).toContain('learning');
    const lost = world.at(1).propose(world.appendValue(1), 'data', 1000);
    await expect(world.done(lost)).rejects.toMatchObject({ code: 'TIMEOUT' });
    await world.boot(2);
    await world.until('bound again', () => world.at(3).mayVote);
    expect(world.at(1).state.configVersion).toBe(2);
    await world.until('leads under the new set', () => world.at(1).leading);
    world.kill(2);
    expect((await world.append(1)).accepted).toBe(true);
    expect(world.at(3).state.gtidSet.equals(world.at(1).state.gtidSet)).toBe(true);
  });

  test('an amnesiac store begun anew is replaced the same way', async () => {
    const world = await World.start();
    await world.elect(2);
    await world.append(2);
    world.kill(1);
    world.disks.get(nodeId(1))?.forget('store-fresh', 'a hole at 3');
    await world.boot(1);
    expect(world.at(1).mayVote).toBe(false);
    await world.until('bound', () => world.at(1).mayVote);
    expect(world.at(1).state.members.find((m) => m.node === 1)?.storeId).toBe('store-fresh');
  });

  test('a store that went back behind what it confirmed is refused', async () => {
    const world = await World.start();
    await world.elect(1);
    await world.append(1);
    await world.run(1000);
    world.kill(3);
    const disk = world.disks.get(nodeId(3));
    disk?.records.splice(disk.records.length - 2);
    await world.boot(3);
    await world.run(500);
    expect(world.network.refused.some((reason) => reason.includes('went back'))).toBe(true);
  });
});

describe('reading the log', () => {
  test('a sample for a GTID set lies before its first missing transaction', async () => {
    const world = await World.start();
    await world.elect(1);
    const { epoch } = world.at(1).state;
    const all = Array.from({ length: 1000 }, (_, i) => world.at(1).propose(world.appendOf(epoch, i), 'data', 10_000));
    await world.done(Promise.all(all));
    await world.run(300);
    const set = GtidSet.parse(`${UUID}:1-600`);
    const { state } = await world.at(1).sampleFor(set);
    expect(state.gtidSet.isSubsetOf(set)).toBe(true);
    expect(state.gtidSet.count()).toBeGreaterThan(300);
    expect((await world.at(1).sampleFor(GtidSet.EMPTY)).state.appliedIndex).toBe(0);
    const whole = world.at(1).state.gtidSet;
    expect((await world.at(1).sampleFor(whole)).state.appliedIndex).toBe(world.at(1).state.appliedIndex);
  });

  test('a bad value is fetched from a peer and repaired', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 5; i += 1) await world.append(1);
    await world.run(300);
    await world.shutDown(2);
    world.disks.get(nodeId(2))?.damaged.add(instanceId(4));
    await world.boot(2);
    await world.run(300);
    const entries = await world.done(readAll(world, 2));
    expect(entries).toEqual(await world.done(readAll(world, 1)));
  });

  test('a local binlog’s tail: held, held with another checksum, not held', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 10; i += 1) await world.append(1);
    const crc = (gno: number): number => crcOf(Buffer.alloc(100, gno % 251));
    const local = (from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, i) => ({ gtid: `${UUID}:${from + i}`, crc: crc(from + i) }));
    const compare = async (list: { gtid: string; crc: number }[]) => {
      const comparison = new TailComparison(world.at(1));
      for (const transaction of list) if (!(await comparison.next(transaction))) break;
      return comparison.result;
    };
    expect(await compare(local(1, 10))).toEqual({ matching: 10, reason: '' });
    expect(await compare(local(8, 12))).toMatchObject({ matching: 3, reason: `${UUID}:11 is not in the log` });
    const forged = local(1, 10).map((t, i) => (i === 4 ? { ...t, crc: 1 } : t));
    expect(await compare(forged)).toMatchObject({ matching: 4 });
  });
});

async function readAll(world: World, node: number) {
  const replica = world.at(node);
  const out: unknown[] = [];
  for (let from = 1; from <= replica.state.appliedIndex; ) {
    const entries = await replica.readLog(instanceId(from), 1e6);
    out.push(...entries);
    from += entries.length;
  }
  return out;
}
