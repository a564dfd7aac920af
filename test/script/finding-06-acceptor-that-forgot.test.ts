import { expect, test } from 'vitest';
import { instanceId, nodeId } from '../../base/brands.ts';
import { LevelDbLogStore } from '../../binlogsvr/log-store.ts';
import { openDatabase } from '../../binlogsvr/store-database.ts';
import { acceptorPath } from '../../binlogsvr/store-open.ts';
import { encodeLogKey, RECORD_CLASS } from '../../binlogsvr/store-records.ts';
import { storeOptions, TempDir } from '../unit/binlogsvr/log-store-support.ts';
import { accepted, B1, promised } from '../unit/binlogsvr/log-store-values.ts';
import { UUID, type World } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, takeOver, without } from './steps.ts';

/*
 * 6a: a transaction is chosen by two of three, one of them loses its disk, the other dies.
 *
 *          node 1 (master)                   node 2                            node 3
 *          T ──────────────────────────────► accepted: chosen, acknowledged    (hears nothing)
 *          dies                              its disk is wiped; starts empty
 *                                            may not vote ◄─────────────────── campaigns
 *          (nothing is chosen until node 1 is back)
 */
async function wipedDisk() {
  const world = await mastered();
  const deaf = world.network.hold({ to: 3 });
  const acknowledged = (await world.append(1)).accepted;
  world.kill(1);
  world.kill(2);
  deaf.drop();
  world.disks.delete(nodeId(2));
  await world.boot(2);
  await world.run(4000);
  return { acknowledged, ...(await afterwards(world, 3)) };
}

/** Node 1 is away: tries to go on with node 2 and `node`; tells what became of T. */
async function afterwards(world: World, node: number) {
  const fenced = await fate(world, world.lease(node).fence(1, false, 2000));
  if (fenced !== 'accepted') return { goesOn: false, lost: false };
  await world.elect(node);
  return { goesOn: true, lost: !world.at(node).state.gtidSet.contains(`${UUID}:1`) };
}

test('6a: an empty store under a known name does not vote', async () => {
  expect(await wipedDisk()).toEqual({ acknowledged: true, goesOn: false, lost: false });
});

test('6a: without forgetful-store-does-not-vote the acknowledged transaction is lost', async () => {
  without('forgetful-store-does-not-vote');
  expect(await wipedDisk()).toEqual({ acknowledged: true, goesOn: true, lost: true });
});

/*
 * 6b: a store opens without error, but its newest records are gone (a flipped bit, a restored snapshot).
 *
 *          node 1 (master)                   node 2                            node 3
 *          T ──────────────────────────────► record 12: accepted, chosen       (hears no accept)
 *                                            "I have 12 on disk" ────────────► remembers 12 (at the next hello)
 *          dies                              crashes; opens with 10 records
 *                                            "I have 10" ────────────────────► refused: it went back
 */
async function lostRecords() {
  const world = await mastered();
  const holds = (['accept', 'learned', 'commit'] as const).map((kind) => world.network.hold({ to: 3, kind }));
  const acknowledged = (await world.append(1)).accepted;
  world.network.cut(2, 3);
  world.network.heal();
  await world.run(100);
  world.kill(1);
  world.kill(2);
  for (const held of holds) held.drop();
  const disk = world.disks.get(nodeId(2));
  if (disk === undefined) throw new Error('node 2 has no disk');
  disk.records.splice(disk.records.findIndex((r) => r.kind === 'accepted' && r.entry.value.length > 100));
  disk.saved = null;
  await world.boot(2);
  await world.run(4000);
  const refused = world.network.refused.some((reason) => reason.includes('went back'));
  return { acknowledged, refused, ...(await afterwards(world, 3)) };
}

test('6b: a store that has less than it confirmed is refused', async () => {
  expect(await lostRecords()).toEqual({ acknowledged: true, refused: true, goesOn: false, lost: false });
});

test('6b: without store-that-went-back-is-refused the acknowledged transaction is lost', async () => {
  without('store-that-went-back-is-refused');
  expect(await lostRecords()).toEqual({ acknowledged: true, refused: false, goesOn: true, lost: true });
});

/*
 * 6c: LevelDB drops a record in the middle and opens without an error.
 *
 *          acceptor                               on disk
 *          accepts T at 1 (record 2)              1: promise   2: T   3: U
 *          a bit flips in the write-ahead log     1: promise          3: U
 *          opens                                  the numbers have a hole: it forgot, so it does not vote
 */
async function droppedRecord() {
  await using temp = await TempDir.make(true);
  const options = storeOptions(temp.path);
  const { store } = await LevelDbLogStore.open(options);
  await store.write([promised(B1), accepted(1, B1, 'T'), accepted(2, B1, 'U')]);
  await store.close();
  const db = await openDatabase(acceptorPath(temp.path), false);
  await db.del(encodeLogKey(instanceId(1), RECORD_CLASS.entry, 2));
  await db.close();
  const again = await LevelDbLogStore.open(options);
  const { amnesia, tail } = again.report;
  await again.store.close();
  return { votes: amnesia === null, forgotT: !tail.some(({ instance }) => instance === 1) };
}

test('6c: a store with a hole in its numbers does not vote', async () => {
  expect(await droppedRecord()).toEqual({ votes: false, forgotT: true });
});

test('6c: without hole-is-amnesia it votes, and has forgotten what it accepted', async () => {
  without('hole-is-amnesia');
  expect(await droppedRecord()).toEqual({ votes: true, forgotT: true });
});

test('6: once the log names the fresh store it votes, and nothing was lost', async () => {
  const world = await mastered();
  await world.append(1);
  world.kill(2);
  world.disks.delete(nodeId(2));
  await world.boot(2);
  await world.until('2 is bound again', () => world.at(2).mayVote);
  world.kill(1);
  await takeOver(world, 2, 1);
  await world.elect(2);
  expect(world.at(2).state.gtidSet.toString()).toBe(`${UUID}:1`);
});
