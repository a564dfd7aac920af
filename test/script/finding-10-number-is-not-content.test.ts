import { expect, test } from 'vitest';
import { recover, settle } from '../../agent/recovery.ts';
import { crcOf } from '../unit/binlogsvr/replica-world.ts';
import { agentOf } from './scripted-agent.ts';
import { FIRST_UUID, logged, T } from './scripted-mysqld.ts';
import { mastered, without } from './steps.ts';

/** The log has T1 T2 and, as T3, Y; the binlog of node 1 ends in T3 = X. */
async function sameNumberOtherContent() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const other = { ...T(3), bytes: new Uint8Array(T(3).bytes.length), crc: crcOf(new Uint8Array(T(3).bytes.length)) };
  const value = { kind: 'append', epoch, follows: 0, items: [T(1), T(2), other].map(logged) } as const;
  expect((await world.done(world.at(1).propose(value, 'data', 1000))).accepted).toBe(true);
  const { context, mysqld } = agentOf(world, 1);
  for (const n of [1, 2, 3]) mysqld.write(T(n));
  return { world, context, mysqld };
}

/*
 * 10a: a snapshot of the machine comes back.
 *
 *      node 1 (master)                                       log
 *      T1 T2 acked; T3 = X written, not acked                T1 T2
 *      snapshot taken
 *      dies, recovers: X is cut; the same number again: Y    T1 T2 T3 = Y
 *      snapshot restored: the binlog ends in T3 = X          T3 is in the log, X is not: cut
 */
async function restoredSnapshot() {
  const { world, context, mysqld } = await sameNumberOtherContent();
  await world.done(recover(context, 'the machine was restored', false));
  return { binlog: mysqld.written.map(({ gtid }) => gtid), sameName: mysqld.uuid === FIRST_UUID };
}

test('10a: a transaction of the same number and another content is cut', async () => {
  expect(await restoredSnapshot()).toEqual({ binlog: [T(1).gtid, T(2).gtid], sameName: false });
});

test('10a: without number-is-not-content it stays: divergence with equal GTIDs', async () => {
  without('number-is-not-content');
  expect(await restoredSnapshot()).toEqual({ binlog: [1, 2, 3].map((n) => T(n).gtid), sameName: true });
});

test('10a: what a replica logged of what the log sent it is held by its number: those are bytes of its own', async () => {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const value = { kind: 'append', epoch, follows: 0, items: [T(1), T(2)].map(logged) } as const;
  await world.done(world.at(1).propose(value, 'data', 1000));
  const { compareTail } = agentOf(world, 1).context.options.client;
  const there = [{ ...T(1) }, { ...T(2), crc: 1 }];
  expect(await world.done(compareTail(there, 1000))).toMatchObject({ matching: 1 });
  const replicated = there.map((each) => ({ ...each, replicated: true }));
  expect(await world.done(compareTail(replicated, 1000))).toMatchObject({ matching: 2 });
  expect(await world.done(compareTail([{ ...T(3), replicated: true }], 1000))).toMatchObject({ matching: 0 });
});

/*
 * 10a, committed: as above, and mysqld had committed X before (a clean SHUTDOWN commits what waits).
 *
 *      the cut takes X from the binlog; MySQL has executed T3, and so, by number, has the log
 */
async function committedUnderAnotherContent() {
  const { world, context, mysqld } = await sameNumberOtherContent();
  mysqld.commit(T(1), T(2), T(3));
  await world.done(recover(context, 'mysqld ended by itself', false));
  return await world.done(
    settle(context, 'compares').then(
      () => 'serves',
      (error: Error) => `${error.name}: ${error.message}`,
    ),
  );
}

test('10a: the same number, another content, and committed: it does not serve', async () => {
  expect(await committedUnderAnotherContent()).toMatch(
    /^Unfit: mysqld has executed .* with another content than the log/,
  );
});

test('10a: without cut-is-rolled-back it serves, unlike all others with equal GTIDs', async () => {
  without('cut-is-rolled-back');
  expect(await committedUnderAnotherContent()).toBe('serves');
});

/*
 * 10b: who lost transactions to a cut never uses their numbers again.
 *
 *      node 1                                                log
 *      T1 T2, T3 not acked: dies, T3 is cut                  T1 T2
 *      writes its next transaction                           not as T3: it has another server_uuid
 */
async function cutAndWriteAgain() {
  const world = await mastered();
  const { epoch } = world.at(1).state;
  const value = { kind: 'append', epoch, follows: 0, items: [T(1), T(2)].map(logged) } as const;
  await world.done(world.at(1).propose(value, 'data', 1000));
  const { context, mysqld } = agentOf(world, 1);
  for (const n of [1, 2, 3]) mysqld.write(T(n));
  await world.done(recover(context, 'mysqld ended', false));
  return { binlog: mysqld.written.length, numbersCanRepeat: mysqld.uuid === FIRST_UUID };
}

test('10b: a cut gives the server a new name', async () => {
  expect(await cutAndWriteAgain()).toEqual({ binlog: 2, numbersCanRepeat: false });
});

test('10b: without numbers-are-never-reused the next transaction takes the number of the one that was cut', async () => {
  without('numbers-are-never-reused');
  expect(await cutAndWriteAgain()).toEqual({ binlog: 2, numbersCanRepeat: true });
});
