import { expect, it } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import type { MemoryDisk } from '../../../binlogsvr/memory-store.ts';
import { World } from './replica-world.ts';

/**
 * Found by the simulator (seed 1023 of its first day):
 *
 *   node 2 forgets, its fresh store is bound by the log ──► power cut of all: nobody's applied state was synced
 *   ──► node 1 forgets ──► 2 and 3 are a majority of the acceptors, but of those the log had before, only 3 is left
 */
it('a fresh store, once bound, is an acceptor after a power cut of all too', async () => {
  const world = await World.start(3);
  const disk = (node: number): MemoryDisk => world.disks.get(nodeId(node)) as MemoryDisk;
  await world.elect(3);
  await world.append(3);
  world.kill(2);
  disk(2).forget('fresh-2', 'damaged');
  await world.boot(2);
  await world.until('the fresh store votes', () => world.at(2).mayVote);
  await world.append(3);
  await world.until('all have applied it', () => world.allApplied(world.at(3).state.appliedIndex));
  for (const node of [1, 2, 3]) {
    world.kill(node);
    disk(node).powerCut();
  }
  disk(1).forget('fresh-1', 'damaged');
  for (const node of [1, 2, 3]) await world.boot(node);
  await world.until('all vote again', () => world.nodes.every((node) => world.at(node).mayVote), 30_000);
  expect(world.at(1).state.members.map(({ storeId }) => storeId)).toEqual(['fresh-1', 'fresh-2', expect.any(String)]);
});
