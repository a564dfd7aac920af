import { expect, test } from 'vitest';
import { nodeId } from '../../base/brands.ts';
import { votersOf } from '../../binlogsvr/membership.ts';
import { UUID } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, propose, takeOver, without } from './steps.ts';

/*
 * The members change while the master fails.
 *
 *      node 1 (master, of 5)                node 2                          nodes 3, 4, 5
 *      T ─────────────────────────────────► chosen ───────────────────────► chosen
 *      RemoveMember{5, configuration 1} ──► accepted                        (slow)
 *      dies                                 leads: finds it, proposes it again, wins phase 1 under {1,2,3,4}
 *                                           fences, is elected
 *      "it failed, remove 4 instead":       RemoveMember{4, configuration 1}
 *                                           refused: this is configuration 2
 */
async function schedule() {
  const world = await mastered(5);
  expect((await world.append(1)).accepted).toBe(true);
  const { configVersion } = world.at(1).state;
  const remove = (node: number) => ({ kind: 'removeMember', node: nodeId(node), configVersion }) as const;
  for (const to of [3, 4, 5]) world.network.hold({ from: 1, to, kind: 'accept' });
  void fate(world, propose(world, 1, remove(5), 500));
  await world.run(50);
  world.kill(1);
  await takeOver(world, 2, 1);
  await world.elect(2);
  const second = await fate(world, propose(world, 2, remove(4)));
  const { members, gtidSet } = world.at(2).state;
  return { second, voters: votersOf(members).map(({ node }) => Number(node)), kept: gtidSet.contains(`${UUID}:1`) };
}

test('the change under way is finished by the next leader, a second one from the same configuration is refused', async () => {
  expect(await schedule()).toEqual({ second: 'NOT_SUCCESSOR', voters: [1, 2, 3, 4], kept: true });
});

test('without change-names-configuration two are removed where one was meant', async () => {
  without('change-names-configuration');
  expect(await schedule()).toMatchObject({ second: 'accepted', voters: [1, 2, 3] });
});
