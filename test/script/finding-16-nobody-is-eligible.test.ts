import { expect, test } from 'vitest';
import { epochOf, nodeId } from '../../base/brands.ts';
import type { AppendValue } from '../../binlogsvr/values.ts';
import { UUID, type World } from '../unit/binlogsvr/replica-world.ts';
import { fate, mastered, propose, takeOver, without } from './steps.ts';

function firstChunk(world: World): AppendValue {
  const { epoch, appendSeq: follows } = world.at(1).state;
  const events = new Uint8Array(10);
  return {
    kind: 'append',
    epoch,
    follows,
    items: [{ kind: 'part', gtid: `${UUID}:9`, first: true, last: false, crc: 0, events }],
  };
}

/*
 * 16a: the master dies after chunk 3 of 200.
 *
 *      node 1 (master)                      node 2
 *      T at 4 ────────────────────────────► executes T
 *      chunk 1 of U at 5 ─────────────────► nothing to execute yet
 *      dies                                 fences
 *                                           Elect{2, executed up to 4}: accepted, the chunk is dropped
 */
async function unfinishedTransaction() {
  const world = await mastered();
  const executedUpTo = (await world.append(1)).instance;
  expect(await fate(world, propose(world, 1, firstChunk(world)))).toBe('accepted');
  await world.until('2 knows', () => world.allApplied(world.at(1).state.appliedIndex));
  world.kill(1);
  await takeOver(world, 2, 1);
  const elect = { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(1), executedUpTo } as const;
  return { elect: await fate(world, propose(world, 2, elect)), chunk: world.at(2).state.chunk };
}

test('16a: an unfinished transaction makes nobody ineligible', async () => {
  expect(await unfinishedTransaction()).toEqual({ elect: 'accepted', chunk: null });
});

test('16a: without chunks-do-not-count no node is ever eligible', async () => {
  without('chunks-do-not-count');
  expect(await unfinishedTransaction()).toMatchObject({ elect: 'NOT_EXECUTED' });
});

/*
 * 16b: the master cannot renew, but its binlog goes on being appended.
 *
 *      node 1 (zombie)                node 2
 *      T1 ──────────────────────────► executes T1
 *                                     stands with T1 executed   ─┐ without Fence
 *      T2 ──────────────────────────► refused: T2 is beyond it  ─┘ again and again
 *
 *                                     Fence{1}: nothing is appended any more
 *      T3: refused                    executes what is left, Elect: accepted
 */
async function zombie(fenceFirst: boolean) {
  const world = await mastered();
  await world.until('takeover due', () => world.at(2).takeoverInMs === 0);
  if (fenceFirst) await takeOver(world, 2, 1);
  const ends: string[] = [];
  const leader = (): number => [1, 2].find((node) => world.at(node).leading) ?? 1;
  for (let i = 0; i < 5 && !ends.includes('accepted'); i += 1) {
    const executedUpTo = world.at(leader()).state.appliedIndex;
    const { epoch, appendSeq } = world.at(leader()).state;
    const append = propose(world, leader(), world.appendOf(epoch, appendSeq));
    const elect = { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(1), executedUpTo } as const;
    const stood = propose(world, leader(), elect);
    await fate(world, append);
    ends.push(await fate(world, stood));
  }
  return ends;
}

test('16b: a fenced epoch takes no more appends: the first election is accepted', async () => {
  expect(await zombie(true)).toEqual(['accepted']);
});

test('16b: without elect-needs-closed-epoch, standing at once, each election is refused by the next append', async () => {
  without('elect-needs-closed-epoch');
  expect(await zombie(false)).toEqual(Array(5).fill('NOT_EXECUTED'));
});
