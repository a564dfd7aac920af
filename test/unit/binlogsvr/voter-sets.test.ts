import { expect, it } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { VOTER_SETS_MAX, VoterSets } from '../../../binlogsvr/voter-sets.ts';

/** A state whose voters, by store, were made by instance `since`. */
function state(since: number, ...stores: readonly string[]): ReplicatedState {
  const members = stores.map((storeId, i) => ({ node: nodeId(i + 1), storeId }));
  return { ...initialState(), baseline: { node: nodeId(1), gtidSet: '' }, membersSince: instanceId(since), members };
}

const at = (sets: VoterSets, instance: number): string | undefined =>
  sets
    .at(instanceId(instance))
    ?.map(({ storeId }) => storeId)
    .join('');

it('a change is decided by the voters before it', () => {
  const sets = VoterSets.from(null, state(0, 'a', 'b'));
  expect(sets.note(state(0, 'a', 'b'))).toBe(false);
  expect(sets.note(state(10, 'a', 'c'))).toBe(true);
  expect(sets.note(state(20, 'a', 'c', 'd'))).toBe(true);
  expect([1, 10, 11, 20, 21, 99].map((i) => at(sets, i))).toEqual(['ab', 'ab', 'ac', 'ac', 'acd', 'acd']);
});

it('learners are no voters, and before the baseline there are none', () => {
  const sets = VoterSets.from(null, initialState());
  expect(at(sets, 1)).toBeUndefined();
  const { members, ...rest } = state(0, 'a', 'b');
  sets.note({ ...rest, members: [...members, { node: nodeId(9), storeId: 'l', kind: 'learner' }] });
  expect(at(sets, 1)).toBe('ab');
});

it('are the same after a restart, from wherever the state goes on', () => {
  const sets = VoterSets.from(null, state(0, 'a'));
  for (const [since, store] of [
    [10, 'b'],
    [20, 'c'],
  ] as const)
    sets.note(state(since, store));
  const json = sets.json();
  const all = (from: ReplicatedState): (string | undefined)[] =>
    [5, 15, 25].map((i) => at(VoterSets.from(json, from), i));
  expect(all(state(20, 'c'))).toEqual(['a', 'b', 'c']);
  expect(all(state(10, 'b')), 'an older state: the rest comes again').toEqual(['a', 'b', 'b']);
  expect(all(state(30, 'd')), 'changes in between are not known').toEqual([undefined, undefined, undefined]);
  expect(all(state(20, 'x')), 'not its own').toEqual([undefined, undefined, 'x']);
});

it('a snapshot says nothing of the sets before it', () => {
  const sets = VoterSets.from(null, state(0, 'a'));
  sets.restart(state(50, 'z'));
  expect([5, 50, 51].map((i) => at(sets, i))).toEqual([undefined, undefined, 'z']);
});

it('are bounded: the oldest are forgotten', () => {
  const sets = VoterSets.from(null, state(0, 'a'));
  for (let i = 1; i <= VOTER_SETS_MAX; i += 1) sets.note(state(i * 10, `s${i}`));
  expect(at(sets, 10)).toBeUndefined();
  expect(at(sets, 11)).toBe('s1');
});
