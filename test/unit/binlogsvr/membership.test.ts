import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { MEMBERS_MAX, memberOf, REMOVED_MAX, VOTERS_MAX, votersOf } from '../../../binlogsvr/membership.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { ElectionRule, LogValue, Member, MemberKind } from '../../../binlogsvr/values.ts';

const founders = [1, 2, 3].map((n): Member => ({ node: nodeId(n), storeId: `s${n}` }));
const member = (n: number, kind: MemberKind = 'voter', election: ElectionRule = 'neutral', storeId = `s${n}`): Member =>
  memberOf({ node: nodeId(n), storeId }, kind, election, { host: '127.0.0.1', rpc: 17000 + n });

const baseline: LogValue = { kind: 'baseline', node: nodeId(1), gtidSet: '', members: founders };
const elect = (node: number, basedOnEpoch = 0): LogValue => ({
  kind: 'elect',
  node: nodeId(node),
  basedOnEpoch: epochOf(basedOnEpoch),
  executedUpTo: instanceId(9999),
});

type Change = (state: ReplicatedState) => LogValue;
const at = (state: ReplicatedState) => ({ configVersion: state.configVersion });
const addMember =
  (each: Member): Change =>
  (state) => ({ kind: 'addMember', member: each, ...at(state) });
const addLearner =
  (each: Member): Change =>
  (state) => ({ kind: 'addLearner', member: each, ...at(state) });
const remove =
  (node: number): Change =>
  (state) => ({ kind: 'removeMember', node: nodeId(node), ...at(state) });
const replace =
  (node: number, each: Member): Change =>
  (state) => ({ kind: 'replaceMember', node: nodeId(node), member: each, ...at(state) });
const rule =
  (node: number, election: ElectionRule): Change =>
  (state) => ({ kind: 'setElection', node: nodeId(node), election, ...at(state) });

function step(state: ReplicatedState, value: LogValue | Change): { state: ReplicatedState; applied: Applied } {
  return apply(state, instanceId(state.appliedIndex + 1), typeof value === 'function' ? value(state) : value);
}

function grow(state: ReplicatedState, ...values: (LogValue | Change)[]): ReplicatedState {
  for (const value of values) {
    const result = step(state, value);
    expect(result.applied.accepted, result.applied.reason).toBe(true);
    state = result.state;
  }
  return state;
}

const founded = grow(initialState(), baseline);
/** Node 1 is master of epoch 1. */
const open = grow(founded, elect(1));
const learner4 = grow(open, addLearner(member(4, 'learner')));

describe('accepted', () => {
  test.each<[string, ReplicatedState, Change, readonly Member[]]>([
    ['a learner', open, addLearner(member(4, 'learner')), [...founders, member(4, 'learner')]],
    ['a learner becomes a voter', learner4, addMember(member(4)), [...founders, member(4)]],
    ['a learner becomes a witness', learner4, addMember(member(4, 'witness')), [...founders, member(4, 'witness')]],
    ['a voter nobody knew', open, addMember(member(4, 'voter', 'prefer')), [...founders, member(4, 'voter', 'prefer')]],
    ['a removal', open, remove(3), founders.slice(0, 2)],
    ['the removal of a learner', learner4, remove(4), founders],
    [
      'a learner takes a seat',
      learner4,
      replace(3, member(4)),
      [founders[0] as Member, founders[1] as Member, member(4)],
    ],
    [
      'a node takes its own seat with another store',
      open,
      replace(3, member(3, 'voter', 'neutral', 'fresh')),
      [...founders.slice(0, 2), member(3, 'voter', 'neutral', 'fresh')],
    ],
    ['the master moves to another address', open, replace(1, member(1)), [member(1), ...founders.slice(1)]],
    [
      'an election rule',
      open,
      rule(2, 'never'),
      [founders[0] as Member, { ...(founders[1] as Member), election: 'never' }, founders[2] as Member],
    ],
    ['the usual rule again', grow(open, rule(2, 'prefer')), rule(2, 'neutral'), founders],
  ])('%s', (_, state, change, members) => {
    const next = grow(state, change);
    expect(next.members).toEqual(members);
    expect(next.configVersion).toBe(state.configVersion + 1);
    expect(stateFromJson(stateToJson(next))).toEqual(next);
    // Nothing else changes: who is master, and what of the data is accepted.
    const aside = { members: [], removed: [], membersSince: 0, configVersion: 0, appliedIndex: 0 };
    expect({ ...next, ...aside }).toEqual({ ...state, ...aside });
    const voters = (each: ReplicatedState) => votersOf(each.members).map(({ node, storeId }) => `${node} ${storeId}`);
    const changed = voters(next).join() !== voters(state).join();
    expect(next.membersSince).toBe(changed ? next.appliedIndex : state.membersSince);
    // The same value again names a configuration that is no more.
    const again = step(next, change(state));
    expect(again.applied).toMatchObject({ accepted: false, code: 'NOT_SUCCESSOR' });
    expect(again.state).toEqual({ ...next, appliedIndex: next.appliedIndex + 1 });
  });

  test('a removed store is remembered, a bounded number of them', () => {
    let state = grow(open, remove(3));
    expect(state.removed).toEqual([{ node: 3, storeId: 's3' }]);
    for (let i = 0; i < REMOVED_MAX; i += 1) {
      state = grow(state, addMember(member(3, 'voter', 'neutral', `fresh${i}`)), remove(3));
    }
    expect(state.removed).toHaveLength(REMOVED_MAX);
    expect(state.removed.at(-1)).toEqual({ node: 3, storeId: `fresh${REMOVED_MAX - 1}` });
    expect(state.removed.at(0)).toEqual({ node: 3, storeId: 'fresh0' });
  });

  test('whose epoch is closed may be removed though it was the last master', () => {
    const closed = grow(open, { kind: 'fence', epoch: epochOf(1), basedOnRenewal: 0, by: nodeId(2), release: false });
    expect(grow(closed, remove(1)).members).toEqual(founders.slice(1));
  });
});

describe('refused, and nothing changes', () => {
  const witness = grow(open, addMember(member(4, 'witness')));
  const only1 = grow(open, rule(2, 'never'), rule(3, 'never'));
  const removed3 = grow(open, remove(3));
  const full = Array.from({ length: VOTERS_MAX - 3 }, (_, i) => addMember(member(10 + i)));
  const crowd = Array.from({ length: MEMBERS_MAX - 3 }, (_, i) => addLearner(member(10 + i, 'learner')));
  test.each<[string, ReplicatedState, LogValue | Change, RegExp]>([
    ['a change of another configuration', open, { ...remove(3)(open), configVersion: 7 } as LogValue, /current one is/],
    ['a change before the baseline', initialState(), remove(3), /no baseline/],
    ['a voter again', open, addMember(member(3)), /voter already/],
    ['a voter as a learner', open, addLearner(member(3, 'learner')), /voter already/],
    ['a learner again', learner4, addLearner(member(4, 'learner')), /learner already/],
    ['a learner by addMember', open, addMember(member(4, 'learner')), /not added by addMember/],
    ['a voter by addLearner', open, addLearner(member(4)), /not added by addLearner/],
    [
      'a learner with another store',
      learner4,
      addMember(member(4, 'voter', 'neutral', 'other')),
      /has store s4, not other/,
    ],
    ['a store of another node', open, addMember(member(4, 'voter', 'neutral', 's2')), /that of node 2/],
    ['a newcomer without an address', open, addMember({ node: nodeId(4), storeId: 's4' }), /no address/],
    [
      'a port that is none',
      open,
      addMember({ ...member(4), address: { host: 'h', rpc: 65536 } }),
      /no address that others/,
    ],
    [
      'an address in use',
      learner4,
      addMember({ ...member(5), address: { host: '127.0.0.1', rpc: 17004 } }),
      /address of node 4/,
    ],
    ['node id 0', open, addMember(member(0)), /no node id/],
    ['node id 256', open, addMember(member(256)), /no node id/],
    ['no store id', open, addMember(member(4, 'voter', 'neutral', '')), /no store id/],
    ['one voter too many', grow(open, ...full), addMember(member(99)), /at most 9 voters/],
    ['one member too many', grow(open, ...crowd), addLearner(member(99, 'learner')), /at most 32 members/],
    ['a removed store as it was', removed3, addMember(member(3)), /empty data directory/],
    ['a removed store as a learner', removed3, addLearner(member(3, 'learner')), /empty data directory/],
    ['the removal of a stranger', open, remove(9), /not a member/],
    ['the removal of the master', open, remove(1), /hand over first/],
    ['the replacement of the master', open, replace(1, member(4)), /hand over first/],
    [
      'the removal of the last electable',
      grow(founded, rule(2, 'never'), rule(3, 'never')),
      remove(1),
      /become master/,
    ],
    ['the replacement of a stranger', open, replace(9, member(4)), /not a member/],
    ['a voter in the seat of another', open, replace(3, member(2)), /voter already/],
    ['a learner in the seat of a voter', open, replace(3, member(4, 'learner')), /cannot take the seat/],
    ['a voter in the seat of a learner', learner4, replace(4, member(5)), /cannot take the seat/],
    ['a witness as the last electable', only1, rule(1, 'never'), /become master/],
    ['the rule of a witness', witness, rule(4, 'prefer'), /witness/],
    ['the rule of a stranger', open, rule(9, 'never'), /not a member/],
    ['the rule there is', open, rule(2, 'neutral'), /neutral already/],
  ])('%s', (_, state, change, reason) => {
    const { state: next, applied } = step(state, change);
    expect(applied).toMatchObject({ accepted: false, transactions: [] });
    expect(applied.reason).toMatch(reason);
    expect(next).toEqual({ ...state, appliedIndex: state.appliedIndex + 1 });
  });
});

describe('who is elected', () => {
  const mixed = grow(founded, addMember(member(4, 'witness')), addLearner(member(5, 'learner')), rule(3, 'never'));
  test.each([
    [4, /witness/],
    [5, /learner/],
    [3, /never elected/],
    [9, /not a member/],
  ])('not node %i', (node, reason) => {
    expect(step(mixed, elect(node)).applied).toMatchObject({ accepted: false, reason: expect.stringMatching(reason) });
    const master = grow(mixed, elect(1));
    const transfer: LogValue = {
      kind: 'transfer',
      epoch: epochOf(1),
      to: nodeId(node),
      executedUpTo: instanceId(9999),
    };
    const { applied, state } = step(master, transfer);
    expect(applied).toMatchObject({ accepted: false, reason: expect.stringMatching(reason) });
    expect(state).toMatchObject({ epoch: 1, master: 1, open: true });
  });
});

describe('what older versions wrote', () => {
  test('a saved state without the newer fields is that of neutral voters', () => {
    const { removed: _, membersSince: __, ...old } = JSON.parse(stateToJson(grow(open, remove(3))));
    const state = stateFromJson(JSON.stringify(old));
    expect(state.members).toEqual(founders.slice(0, 2));
    expect(state.removed).toEqual([]);
  });

  test('a state without newer things is written as it was', () => {
    expect(Object.keys(JSON.parse(stateToJson(open)))).not.toContain('removed');
    expect(JSON.parse(stateToJson(open)).members[0]).toEqual({ node: 1, storeId: 's1' });
  });
});
