import { expect, test } from 'vitest';
import { decide } from '../../agent/decide.ts';
import { settle } from '../../agent/recovery.ts';
import { World } from '../unit/binlogsvr/replica-world.ts';
import { agentOf, type ScriptedAgent } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { fate, mastered, without } from './steps.ts';

/** mysqld runs and has answered. */
async function running(world: World, agent: ScriptedAgent): Promise<void> {
  const { pid } = await agent.mysqld.start();
  agent.mysqld.sessions = true;
  agent.context.watch.begin(pid, 0);
  await world.done(agent.context.watch.probeNow());
}

/*
 * 11a: an empty log, a server with data, an empty one.
 *
 *      node 1: its MySQL holds T1               node 2: its MySQL is empty
 *      does not found the cluster               founds it, is elected
 *      is set aside, its data untouched
 *
 *      (were it to found the cluster, the log would name T1, which no store can serve: nobody else is ever complete)
 */
async function serverWithData() {
  const world = await World.start();
  const agents = [1, 2].map((node) => agentOf(world, node)) as [ScriptedAgent, ScriptedAgent];
  agents[0].mysqld.write(T(1));
  for (const agent of agents) {
    await running(world, agent);
    agent.context.become('replica', 'runs');
  }
  // Its newest view is older than its probe: nothing is called extra by it yet.
  const early = agents[0].context.watch.facts('', 0);
  const first = decide(agents[0].observe({ index: 0, mysqld: early }));
  const second = decide(agents[1].observe({ index: 1 }));
  const founder = first.do === 'baseline' ? 1 : 2;
  const executed = agents[founder - 1]?.mysqld.gtidExecuted ?? '';
  await world.done(world.lease(founder).baseline(executed, 2000));
  await world.until('2 knows', () => world.at(2).state.baseline !== null);
  const stood = await fate(world, world.lease(2).stand(agents[1].mysqld.gtidExecuted, 0, 2000));
  const judged = await world.done(settle(agents[0].context, 'compares').then(String, (error: Error) => error.name));
  return { decided: [first.do, second.do], stood, judged, data: agents[0].mysqld.committed.size };
}

test('11a: only an empty node founds a cluster; the data of another is left alone', async () => {
  expect(await serverWithData()).toEqual({
    decided: ['wait', 'baseline'],
    stood: 'accepted',
    judged: 'Unfit',
    data: 1,
  });
});

test('11a: without founder-is-empty no other node can ever be complete', async () => {
  without('founder-is-empty');
  expect(await serverWithData()).toMatchObject({ decided: ['baseline', 'baseline'], stood: 'NOT_EXECUTED' });
});

/*
 * 11b: a store that is behind must not call its MySQL's data extra.
 *
 *      node 1 (master)               node 3: store                   node 3: MySQL (a fresh CLONE of node 2)
 *      T1 ─────────────────────────► T1                              T1
 *      T2 ── (slow)                  (behind)                        T1 T2
 *                                    asks a majority ◄────────────── "T2 is not in the store"
 *                                    T2 ───────────────────────────► equal: replica
 */
async function storeBehind() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const append = (n: number, follows: number) =>
    world.at(1).propose({ kind: 'append', epoch, follows, items: [logged(T(n))] }, 'data', 2000);
  const one = await world.done(append(1, 0));
  await world.until('3 knows T1', () => world.allApplied(one.instance));
  const slow = (['accept', 'commit', 'learned'] as const).map((kind) => world.network.hold({ to: 3, kind }));
  await world.done(append(2, 1));
  const agent = agentOf(world, 3);
  for (const n of [1, 2]) agent.mysqld.write(T(n));
  await running(world, agent);
  const settled = settle(agent.context, 'compares').then(
    () => 'replica',
    (error: Error) => error.name,
  );
  await world.run(100);
  for (const held of slow) held.release();
  return world.done(settled);
}

test('11b: what looks extra is judged by a store that knows all that was chosen', async () => {
  expect(await storeBehind()).toBe('replica');
});

test('11b: without extra-behind-barrier a good copy is set aside', async () => {
  without('extra-behind-barrier');
  expect(await storeBehind()).toBe('Unfit');
});
