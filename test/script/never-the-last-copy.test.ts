import { expect, test } from 'vitest';
import { Reprovisioner } from '../../agent/reprovision.ts';
import { DEFAULT_REPROVISION } from '../../agent/reprovision-plan.ts';
import type { World } from '../unit/binlogsvr/replica-world.ts';
import { agentOf, type ScriptedAgent } from './scripted-agent.ts';
import { ScriptedCloneHost } from './scripted-clone.ts';
import { logged, T } from './scripted-mysqld.ts';
import { mastered, without } from './steps.ts';

/*
 * 11c: the last copy.
 *
 *      node 1: log T1, data lost      node 2: log T1, data lost      node 3: log T1, its MySQL holds T1 and T9
 *      (its mysqld does not run)      (MySQL of another series)      T9 is in no log: it is to be replaced
 *                                                                    nobody to copy from: stays as it is, asked again
 *      (were it replaced, what it holds would be erased, and nothing came in its place)
 *
 * `donor`: node 2 holds T1 as well, and is healthy.
 */
async function replace(world: World, agent: ScriptedAgent, donor: boolean) {
  const { mysqld, context } = agent;
  const host = new ScriptedCloneHost(mysqld, context.clock);
  host.offer(1, [T(1)], { role: 'recovering', servingReads: false, mysqldPid: 0 });
  host.offer(2, [T(1)], donor ? {} : { mysqlVersion: '8.4.1' });
  const policy = { ...DEFAULT_REPROVISION, divergedData: 'erase' } as const;
  const reprovisioner = new Reprovisioner({ host, policy });
  const ended = await world.done(
    reprovisioner.run(context, 'diverged', 'T9 is not in the log').then(
      () => 'copied',
      (error: Error) => error.name,
    ),
  );
  return { ended, holds: mysqld.committed.size, said: reprovisioner.facts(context.clock.now()).said };
}

async function diverged() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const value = { kind: 'append', epoch, follows: 0, items: [logged(T(1))] } as const;
  const { instance } = await world.done(world.at(1).propose(value, 'data', 2000));
  await world.until('all know T1', () => world.allApplied(instance));
  const agent = agentOf(world, 3);
  agent.mysqld.write(T(1));
  agent.mysqld.write(T(9));
  const { pid } = await agent.mysqld.start();
  agent.context.watch.begin(pid, 0);
  await world.done(agent.context.watch.probeNow());
  agent.context.become('failed', 'diverged');
  return { world, agent };
}

test('11c: with a healthy donor the data is replaced by its', async () => {
  const { world, agent } = await diverged();
  expect(await replace(world, agent, true)).toEqual({ ended: 'copied', holds: 1, said: '' });
});

test('11c: while nobody else is known to have the data, it stays', async () => {
  const { world, agent } = await diverged();
  const { ended, holds, said } = await replace(world, agent, false);
  expect({ ended, holds }).toEqual({ ended: 'NotYet', holds: 2 });
  expect(said).toMatch(/node 1 is not healthy \(recovering\); node 2 runs MySQL 8.4.1/);
});

test('11c: without never-the-last-copy it is gone, and nothing in its place', async () => {
  without('never-the-last-copy');
  const { world, agent } = await diverged();
  expect(await replace(world, agent, false)).toMatchObject({ ended: 'NotYet', holds: 0 });
});
