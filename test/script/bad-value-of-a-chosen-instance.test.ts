import { expect, test } from 'vitest';
import { type InstanceId, instanceId, nodeId } from '../../base/brands.ts';
import type { World } from '../unit/binlogsvr/replica-world.ts';
import { UUID } from '../unit/binlogsvr/replica-world.ts';
import { mastered, propose, without } from './steps.ts';

/*
 * The only node that knows a value to be chosen can no longer read it; one of the others accepted another one there.
 *
 *        node 1                           node 2                             node 3
 *                                         leads; W at i, heard by nobody
 *        leads; V at i ───────────────────────── (cut off) ────────────────► accepted: V is chosen
 *        power cut                        power cut                          power cut: has V, not that it is chosen
 *        a byte of V flips
 *        starts; i is bad: who has it? ─► starts: "I accepted W"             (still down)
 *        waits: 1 of 3 is no majority
 *        who has it? ──────────────────────────────────────────────────────► starts: "I accepted V, at a higher ballot"
 *        V is back; all read on
 */
async function rival(): Promise<{ world: World; at: InstanceId }> {
  const world = await mastered();
  const at = instanceId(world.at(1).state.appliedIndex + 1);
  await world.until('the lease is over', () => world.at(2).takeoverInMs === 0);
  await world.done(world.at(2).lead(5000));
  const unheard = world.network.hold({ from: 2, kind: 'accept' });
  propose(world, 2, world.appendValue(2)).catch(() => {}); // W is UUID:1, and never ends
  await world.until('node 2 accepted W', () => unheard.packets.length > 0);
  world.network.cut(2, 1);
  world.network.cut(2, 3);
  unheard.drop();
  await world.done(world.at(1).lead(5000));
  const { instance } = await world.append(1); // V is UUID:2
  expect(instance).toBe(at);
  await world.until('node 3 knows too', () => world.at(3).state.appliedIndex >= at);
  await world.run(300); // node 1 saves its state, with i in it
  await world.shutDown(1);
  for (const n of [2, 3]) {
    world.kill(n);
    world.disks.get(nodeId(n))?.powerCut();
  }
  world.network.heal();
  return { world, at };
}

const damage = (world: World, at: InstanceId, ballotToo: boolean): void => {
  const disk = world.disks.get(nodeId(1));
  disk?.damaged.add(at);
  if (ballotToo) disk?.unreadable.add(at);
};

/** The transaction each node that runs reads at `at`; what keeps it from that. */
async function readAt(world: World, at: InstanceId): Promise<Readonly<Record<number, string>>> {
  const found: Record<number, string> = {};
  for (const [node, replica] of world.replicas) {
    try {
      const [entry] = await world.done(replica.readLog(at, 1));
      const item = entry?.value.kind === 'append' ? entry.value.items[0] : undefined;
      found[node] = item?.kind === 'part' ? item.gtid.replace(UUID, '') : (entry?.value.kind ?? 'nothing yet');
    } catch (error) {
      found[node] = String((error as { code?: string }).code);
    }
  }
  return found;
}

async function schedule(ballotToo = true) {
  const { world, at } = await rival();
  damage(world, at, ballotToo);
  await world.boot(1);
  await world.boot(2);
  await world.run(2000);
  const withTwo = await readAt(world, at);
  const why = world.at(1).keeping.repairs.status;
  await world.boot(3);
  await world.run(2000);
  return { withTwo, why, withThree: await readAt(world, at), left: world.at(1).keeping.repairs.status };
}

test('a minority is not believed; with the third node the value comes back', async () => {
  expect(await schedule()).toEqual({
    withTwo: { 1: 'STORE_CORRUPT', 2: 'nothing yet' },
    why: expect.stringMatching(/instance \d+ is bad and waits for 2 of the 3 acceptors .* 1 did; not yet: 3$/),
    withThree: { 1: ':2', 2: ':2', 3: ':2' },
    left: '',
  });
});

test('without bad-value-needs-majority the value nobody chose is read in its place', async () => {
  without('bad-value-needs-majority');
  expect(await schedule()).toMatchObject({ withTwo: { 1: ':1', 2: ':1' }, why: '' });
});

test('a ballot that can be read is enough with one node that accepted at it', async () => {
  const { world, at } = await rival();
  damage(world, at, false);
  await world.boot(1);
  await world.boot(3);
  await world.run(2000);
  expect(await readAt(world, at)).toEqual({ 1: ':2', 3: ':2' });
  expect(await schedule(false), 'and node 2 did not accept at it').toMatchObject({ withTwo: { 1: 'STORE_CORRUPT' } });
});
