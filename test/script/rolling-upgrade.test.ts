import { expect, test } from 'vitest';
import { nodeId } from '../../base/brands.ts';
import type { World } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, without } from './steps.ts';

/** Which MySQL each node runs from now on: its peers hear it as after a restart. */
function runs(world: World, versions: Readonly<Record<number, string>>): void {
  for (const [node, mysql] of Object.entries(versions)) {
    const replica = world.at(Number(node));
    const plain = replica.hello.bind(replica);
    replica.hello = () => ({ ...plain(), runs: { build: '0.2.0', mysql } });
  }
  for (const node of world.nodes) {
    for (const other of world.nodes) if (other !== node) world.at(node).onPeerChanged(world.at(other).hello());
  }
}

/*
 * Nodes are upgraded one after the other; the master dies in the middle of it.
 *
 *      node 1 (master, 8.4)        node 2 (9.7)                                    node 3 (8.4)
 *      Release{1}                  stands: refused, node 3 could not follow it
 *                                                                                  stands: elected
 */
async function halfUpgraded() {
  const world = await mastered();
  runs(world, { 1: '8.4.6', 2: '9.7.4', 3: '8.4.6' });
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  const executed = world.at(1).state.gtidSet.toString();
  return { newer: await fate(world, world.lease(2).stand(executed, 1, 2000)), world, executed };
}

test('a node whose MySQL is newer than that of a living voter is not elected', async () => {
  const { newer, world, executed } = await halfUpgraded();
  expect(newer).toBe('MEMBER_REFUSED');
  expect(await fate(world, world.lease(3).stand(executed, 1, 2000))).toBe('accepted');
});

test('without newer-mysql-waits it is, and the older ones cannot follow it', async () => {
  without('newer-mysql-waits');
  expect((await halfUpgraded()).newer).toBe('accepted');
});

test('once the last older one is stopped for its upgrade the newer ones are elected', async () => {
  const world = await mastered();
  runs(world, { 1: '8.4.6', 2: '9.7.4', 3: '9.7.4' });
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  const executed = world.at(1).state.gtidSet.toString();
  expect(await fate(world, world.lease(2).stand(executed, 1, 2000))).toBe('MEMBER_REFUSED');
  world.kill(1);
  expect(await fate(world, world.lease(2).stand(executed, 1, 5000))).toBe('accepted');
});

test('finalizing needs all members on one series; then the log keeps older ones from being elected', async () => {
  const world = await mastered();
  runs(world, { 1: '9.7.4', 2: '9.7.4', 3: '8.4.6' });
  const finalize = () => world.done(world.at(1).membership.finalizeUpgrade(world.at(1).hello().runs, 2000));
  expect(await finalize()).toMatchObject({
    accepted: false,
    code: 'MEMBER_REFUSED',
    reason: expect.stringContaining('node 3'),
  });
  runs(world, { 3: '9.7.4' });
  expect(await finalize()).toMatchObject({ accepted: true, reason: 'MySQL 9.7' });
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  expect(world.nodes.map((node) => world.at(node).state.mysqlSeries)).toEqual(['9.7', '9.7', '9.7']);
  runs(world, { 3: '8.4.6' }); // somebody goes back
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  const executed = world.at(1).state.gtidSet.toString();
  expect(await fate(world, world.lease(3).stand(executed, 1, 2000))).toBe('MEMBER_REFUSED');
  expect(await fate(world, world.lease(2).stand(executed, 1, 2000))).toBe('accepted');
  expect(world.at(2).state.master).toBe(nodeId(2));
});
