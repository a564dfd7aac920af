import { describe, expect, test } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { DumpStream } from '../../../binlogsvr/dump-stream.ts';
import { fromWire, toWire, type WireMessage } from '../../../binlogsvr/peer-codec.ts';
import type { PeerMessage } from '../../../binlogsvr/peer-transport.ts';
import { TailComparison } from '../../../binlogsvr/tail-compare.ts';
import { REPAIRS_MAX } from '../../../binlogsvr/value-repair.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { accepted, B1 } from './log-store-values.ts';
import { crcOf, UUID, World } from './replica-world.ts';

/** Ten appends, applied by all; then node 2 restarts with a flipped byte where the seventh value is, and nothing in memory. */
async function damaged(): Promise<{ world: World; at: number }> {
  const world = await World.start();
  await world.elect(1);
  let at = 0;
  for (let i = 1; i <= 10; i += 1) {
    const { instance } = await world.append(1);
    if (i === 7) at = instance;
  }
  await world.until('all', () => world.allApplied(world.at(1).state.appliedIndex));
  await world.run(300);
  await world.shutDown(2);
  world.disks.get(nodeId(2))?.damaged.add(instanceId(at));
  await world.boot(2);
  await world.until('node 2 knows its peers', () => world.at(2).quorum);
  return { world, at };
}

const repaired = (world: World, at: number): boolean =>
  world.disks.get(nodeId(2))?.repaired.has(instanceId(at)) ?? false;

const crc = (gno: number): number => crcOf(Buffer.alloc(100, gno % 251));

describe('a flipped byte in the store is repaired from a peer, never served', () => {
  test('to a replica that reads the dump', async () => {
    const { world, at } = await damaged();
    const stream = await DumpStream.open(world.at(2), { kind: 'gtid', has: GtidSet.EMPTY }, { serverId: 9, crc: true });
    // These appends hold no file, so that no event leaves: what counts is that the stream gets past the damage.
    const read = async (): Promise<boolean> => {
      for await (const _ of stream.events());
      return stream.caughtUp;
    };
    expect(await world.done(read())).toBe(true);
    expect(repaired(world, at)).toBe(true);
  });

  test('to a peer that asks for it', async () => {
    const { world, at } = await damaged();
    const served: number[] = [];
    world.tamper = (from, _to, message) => {
      if (message.kind === 'learned' && from === 2) served.push(...message.entries.map((entry) => entry.instance));
      return message;
    };
    world.kill(3);
    world.disks.delete(nodeId(3));
    world.network.cut(nodeId(1), nodeId(3));
    await world.boot(3);
    await world.until('node 3 has it all', () => world.at(3).state.appliedIndex >= world.at(1).state.appliedIndex);
    expect(served).toContain(at);
    expect(repaired(world, at)).toBe(true);
    expect(world.at(3).state.gtidSet.equals(world.at(1).state.gtidSet)).toBe(true);
  });

  test('to an agent that compares its binlog', async () => {
    const { world, at } = await damaged();
    const comparison = new TailComparison(world.at(2));
    const compare = async (): Promise<number> => {
      for (let gno = 5; gno <= 10; gno += 1) await comparison.next({ gtid: `${UUID}:${gno}`, crc: crc(gno) });
      return comparison.result.matching;
    };
    expect(await world.done(compare())).toBe(6);
    expect(repaired(world, at)).toBe(true);
  });

  test('to a peer of an older version, which knows no recall', async () => {
    const { world, at } = await damaged();
    world.tamper = (_from, _to, message) => (message.kind === 'recall' ? null : message);
    expect(await world.done(world.at(2).readLog(instanceId(at), 100))).toHaveLength(1);
    expect(repaired(world, at)).toBe(true);
  });

  test('without a peer that has it, nothing is served, and the status says why; with one it comes back by itself', async () => {
    const { world, at } = await damaged();
    world.kill(1);
    world.kill(3);
    const read = (): Promise<readonly unknown[]> => world.done(world.at(2).readLog(instanceId(at), 100));
    await expect(read()).rejects.toMatchObject({ code: 'STORE_CORRUPT', hint: expect.stringContaining('by itself') });
    const { repairs } = world.at(2).keeping;
    expect(repairs.status).toContain(`instance ${at} is bad and waits for 2 of the 3 acceptors`);
    await world.boot(3);
    await world.until('asked again', () => repaired(world, at));
    expect(repairs.status).toBe('');
    expect(await read()).toHaveLength(1);
  });

  test('one that is bad on two nodes is repaired on both', async () => {
    const { world, at } = await damaged();
    await world.shutDown(3);
    world.disks.get(nodeId(3))?.damaged.add(instanceId(at));
    await world.boot(3);
    for (const n of [2, 3]) expect(await world.done(world.at(n).readLog(instanceId(at), 100))).toHaveLength(1);
  });

  test('no more are wanted at once than are bounded', async () => {
    const { world } = await damaged();
    world.kill(1);
    world.kill(3);
    const { repairs } = world.at(2).keeping;
    const asked = Array.from({ length: REPAIRS_MAX + 1 }, (_, i) => repairs.repair(instanceId(i + 1)));
    const outcomes = await world.done(Promise.allSettled(asked));
    expect(outcomes.map(({ status }) => status)).not.toContain('fulfilled');
    expect(outcomes.at(-1)).toMatchObject({ reason: { message: expect.stringContaining(`${REPAIRS_MAX} others`) } });
  });
});

test('who decided what is remembered beyond a change of the voters', async () => {
  const world = await World.start();
  await world.elect(1);
  world.kill(3);
  world.disks.delete(nodeId(3));
  await world.boot(3);
  await world.until('the fresh store is bound', () => world.at(3).mayVote);
  const { membersSince } = world.at(3).state;
  const sets = JSON.parse(world.disks.get(nodeId(1))?.meta.get('voter-sets') ?? '[]') as unknown[];
  const [first, fresh] = ['store-3', 'store-4'].map((storeId) => expect.arrayContaining([{ node: 3, storeId }]));
  expect(sets).toEqual([
    { since: 0, voters: first },
    { since: membersSince, voters: fresh },
  ]);
});

describe('a flipped byte on the way', () => {
  const entries = [1, 2].map((i) => {
    const record = accepted(i, B1, `value ${i}`);
    if (record.kind !== 'accepted') throw new Error('not a value');
    return { ...record.entry, value: new Uint8Array(record.entry.value) };
  });
  const chosenUpTo = instanceId(0);
  const messages: readonly PeerMessage[] = [
    { kind: 'accept', ballot: B1, entries, chosenUpTo },
    { kind: 'learned', entries, chosenUpTo, leaseAge: null, firstRetained: 1 },
    { kind: 'promise', ballot: B1, accepted: entries, chosenUpTo, durableSeq: 3, leaseAge: null },
  ];

  test.each(messages)('$kind is refused', (message) => {
    const received = (): WireMessage => structuredClone({ body: message.kind, ...toWire(message) });
    expect(fromWire(received())).toEqual(message);
    const wire = received();
    const body = wire[message.kind] as { entries?: { value: Uint8Array }[]; accepted?: { value: Uint8Array }[] };
    const value = (body.entries ?? body.accepted)?.[1]?.value as Uint8Array;
    value[3] = (value[3] as number) ^ 1;
    expect(() => fromWire(wire)).toThrow('damaged on the way');
  });
});

describe('a store that went back', () => {
  test('joins again as a learner by itself, says why, and votes again', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 5; i += 1) await world.append(1);
    await world.run(1000);
    world.kill(3);
    const disk = world.disks.get(nodeId(3));
    disk?.records.splice(disk.records.length - 2);
    await world.boot(3);
    await world.until('it ends itself', () => world.fatal.length > 0);
    expect(world.fatal[0]).toMatchObject({ code: 'AMNESIA', message: expect.stringContaining('went back') });
    expect(disk?.amnesia).toContain('went back');
    world.kill(3);
    disk?.forget('store-anew', disk.amnesia as string); // as the next process does: see openStore in binlogsvr.ts
    await world.boot(3);
    world.network.heal();
    expect(world.at(3).mayVote).toBe(false);
    expect(world.at(3).votingReason).toContain('went back');
    await world.until('votes again', () => world.at(3).mayVote);
    expect(world.at(1).state.members.find((member) => member.node === 3)?.storeId).toBe('store-anew');
  });
});
