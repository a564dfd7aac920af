import { expect, test } from 'vitest';
import { recover, settle } from '../../agent/recovery.ts';
import { agentOf } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { mastered, takeOver, without } from './steps.ts';

/*
 * The old master comes back with commits nobody acknowledged.
 *
 *      node 1 (master)                    node 2                             log
 *      T1 T2 acked                                                           T1 T2
 *      T3 T4 written, waiting
 *      power off                          fenced, elected: epoch 2           T1 T2
 *      comes back, recovers:
 *      T3 T4 are cut, T1 T2 stay
 *      starts, compares: equal ─► replica
 */
async function comesBack() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const value = { kind: 'append', epoch, follows: 0, items: [T(1), T(2)].map(logged) } as const;
  await world.done(world.at(1).propose(value, 'data', 1000));
  const first = agentOf(world, 1).mysqld;
  for (const n of [1, 2, 3, 4]) first.write(T(n));
  world.kill(1);
  await takeOver(world, 2, 1);
  await world.elect(2);
  await world.boot(1);
  await world.until('1 knows', () => world.at(1).state.epoch === 2);
  const { context, mysqld } = agentOf(world, 1);
  mysqld.written = first.written;
  await world.done(recover(context, 'the agent began', false));
  const settled = await world.done(settle(context, 'compares').then(() => 'replica', String));
  const log = world.at(2).state.gtidSet;
  return {
    executedAndNotInTheLog: [...mysqld.committed].filter((gtid) => !log.contains(gtid)).length,
    inTheLogAndCut: mysqld.journal.filter((line) => line.startsWith('cuts') && log.contains(line.slice(5))).length,
    settled: settled === 'replica',
  };
}

test('an old master keeps what the log holds, loses the rest and replicates', async () => {
  expect(await comesBack()).toEqual({ executedAndNotInTheLog: 0, inTheLogAndCut: 0, settled: true });
});

test('without cut-no-less it has executed what is in no log', async () => {
  without('cut-no-less');
  expect(await comesBack()).toMatchObject({ executedAndNotInTheLog: 1, settled: false });
});

test('without cut-no-more it loses what the log holds', async () => {
  without('cut-no-more');
  expect(await comesBack()).toMatchObject({ inTheLogAndCut: 1 });
});
