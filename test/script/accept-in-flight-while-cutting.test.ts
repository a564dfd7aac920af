import { expect, test } from 'vitest';
import { recover } from '../../agent/recovery.ts';
import { agentOf } from './scripted-agent.ts';
import { logged, T } from './scripted-mysqld.ts';
import { fate, mastered, without } from './steps.ts';

/*
 * An accept of the master's own epoch is still in flight while its tail is being cut.
 *
 *      node 1 (master)                               nodes 2 and 3
 *      T1 ─────────────────────────────────────────► chosen
 *      T2: written, Append in flight ── (slow) ──
 *      mysqld ends; recover: T2 is not in the store
 *      barrier, Fence{1} ──────────────────────────► chosen behind T2, or T2 is refused
 *      asks the store again, cuts only what it
 *      will never hold
 *                                                    ◄ T2 arrives
 */
async function schedule() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const append = (n: number, follows: number) =>
    fate(world, world.at(1).propose({ kind: 'append', epoch, follows, items: [logged(T(n))] }, 'data', 5000));
  await append(1, 0);
  const { context, mysqld } = agentOf(world, 1);
  for (const n of [1, 2]) mysqld.write(T(n));
  const slow = world.network.hold({ from: 1, kind: 'accept', carrying: 'append' });
  const second = append(2, 1);
  await world.run(10);
  const recovered = recover(context, 'mysqld ended', false).then(() => 'recovered', String);
  await world.run(1000);
  slow.release();
  await second;
  await world.done(recovered);
  const log = world.at(1).state.gtidSet;
  return {
    cutAndLogged: mysqld.journal.filter((line) => line.startsWith('cuts') && log.contains(line.slice(5))).length,
  };
}

test('what is cut will never be in the log', async () => {
  expect(await schedule()).toEqual({ cutAndLogged: 0 });
});

test('without cut-behind-fence a transaction is cut that the log takes a moment later', async () => {
  without('cut-behind-fence');
  expect(await schedule()).toEqual({ cutAndLogged: 1 });
});
