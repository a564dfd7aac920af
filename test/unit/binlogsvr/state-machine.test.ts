import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { InvariantError } from '../../../base/invariant.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { AppendItem, AppendValue, LogValue } from '../../../binlogsvr/values.ts';

const UUID = 'aaaaaaaa-0000-0000-0000-000000000001';
const gtid = (n: number): string => `${UUID}:${n}`;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const members = [1, 2, 3].map((n) => ({ node: nodeId(n), storeId: `store-${n}` }));

const baseline: LogValue = { kind: 'baseline', node: nodeId(1), gtidSet: gtid(1), members };
const elect = (node: number, basedOnEpoch: number, executedUpTo: number): LogValue => ({
  kind: 'elect',
  node: nodeId(node),
  basedOnEpoch: epochOf(basedOnEpoch),
  executedUpTo: instanceId(executedUpTo),
});
const transfer = (epoch: number, to: number, executedUpTo: number): LogValue => ({
  kind: 'transfer',
  epoch: epochOf(epoch),
  to: nodeId(to),
  executedUpTo: instanceId(executedUpTo),
});
const renew = (epoch: number, renewal: number): LogValue => ({ kind: 'renew', epoch: epochOf(epoch), renewal });
const fence = (epoch: number, basedOnRenewal: number, by = 2, release = false): LogValue => ({
  kind: 'fence',
  epoch: epochOf(epoch),
  basedOnRenewal,
  by: nodeId(by),
  release,
});
const replaceStore = (node: number, oldStoreId: string, configVersion: number): LogValue => ({
  kind: 'replaceStore',
  node: nodeId(node),
  oldStoreId,
  newStoreId: 'store-new',
  configVersion,
});
const append = (epoch: number, follows: number, ...items: AppendItem[]): AppendValue => ({
  kind: 'append',
  epoch: epochOf(epoch),
  follows,
  items,
});
const file = (name: string): AppendItem => ({ kind: 'file', name, formatDescription: bytes(`fde ${name}`) });
const whole = (n: number, text = `events ${n}`): AppendItem => ({
  kind: 'part',
  gtid: gtid(n),
  first: true,
  last: true,
  crc: crc32(bytes(text)),
  events: bytes(text),
});
/** One chunk of transaction `n`, whose whole text is `all`. */
const chunk = (n: number, text: string, place: 'first' | 'middle' | 'last', all = ''): AppendItem => ({
  kind: 'part',
  gtid: gtid(n),
  first: place === 'first',
  last: place === 'last',
  crc: place === 'last' ? crc32(bytes(all)) : 0,
  events: bytes(text),
});

function applyAll(state: ReplicatedState, ...values: LogValue[]): { state: ReplicatedState; applied: Applied[] } {
  const applied: Applied[] = [];
  for (const value of values) {
    const step = apply(state, instanceId(state.appliedIndex + 1), value);
    state = step.state;
    applied.push(step.applied);
  }
  return { state, applied };
}

/** All of them must be accepted. */
function grow(state: ReplicatedState, ...values: LogValue[]): ReplicatedState {
  const result = applyAll(state, ...values);
  for (const { accepted, reason, value } of result.applied) expect(accepted, `${value.kind}: ${reason}`).toBe(true);
  return result.state;
}

const founded = grow(initialState(), baseline);
/** Epoch 1, master 1, at instance 2. */
const open = grow(founded, elect(1, 0, 0));
/** Epoch 1 with one renewal and two transactions, the last at instance 5. */
const busy = grow(open, renew(1, 1), append(1, 0, file('bin.000001'), whole(2)), append(1, 1, whole(3)));

describe('what is accepted', () => {
  test.each<[string, ReplicatedState, LogValue, Partial<ReplicatedState>]>([
    ['noop', busy, { kind: 'noop' }, {}],
    [
      'the first baseline',
      initialState(),
      baseline,
      { baseline: { node: nodeId(1), gtidSet: gtid(1) }, members, configVersion: 1 },
    ],
    ['the first election', founded, elect(2, 0, 0), { epoch: epochOf(1), master: nodeId(2), open: true, renewal: 0 }],
    [
      'an election after a fence',
      grow(busy, fence(1, 1)),
      elect(2, 1, 5),
      { epoch: epochOf(2), master: nodeId(2), open: true, renewal: 0 },
    ],
    [
      'an election that names more than the last transaction',
      grow(busy, fence(1, 1)),
      elect(3, 1, 99),
      { epoch: epochOf(2), master: nodeId(3), open: true, renewal: 0 },
    ],
    ['the next renewal', busy, renew(1, 2), { renewal: 2 }],
    ['a fence of the newest renewal', busy, fence(1, 1), { open: false, epoch: epochOf(1), master: nodeId(1) }],
    ['a release by the master, whatever renewal it knows', busy, fence(1, 0, 1, true), { open: false }],
    ['a transfer', busy, transfer(1, 3, 5), { epoch: epochOf(2), master: nodeId(3), open: true, renewal: 0 }],
    [
      'a replaced store',
      busy,
      replaceStore(2, 'store-2', 1),
      {
        configVersion: 2,
        membersSince: instanceId(6),
        members: [members[0], { node: nodeId(2), storeId: 'store-new' }, members[2]] as never,
      },
    ],
    ['an append', busy, append(1, 2, whole(4), whole(5)), { appendSeq: 3, lastTransactionIndex: instanceId(6) }],
    ['an append without items', busy, append(1, 2), { appendSeq: 3, lastTransactionIndex: instanceId(5) }],
    [
      'a file start',
      busy,
      append(1, 2, file('bin.000002')),
      {
        appendSeq: 3,
        file: { epoch: epochOf(1), name: 'bin.000002', instance: instanceId(6) },
        lastTransactionIndex: instanceId(5),
      },
    ],
  ])('%s', (_, state, value, change) => {
    const { state: next, applied } = apply(state, instanceId(state.appliedIndex + 1), value);
    expect(applied).toMatchObject({ accepted: true, code: null, reason: '', value, instance: state.appliedIndex + 1 });
    const { gtidSet: _gtids, ...rest } = next;
    const { gtidSet: _before, ...before } = state;
    const { gtidSet: _changed, ...expected } = {
      ...before,
      ...change,
      appliedIndex: state.appliedIndex + 1,
    } as ReplicatedState;
    expect(rest).toEqual(expected);
  });

  test('completed transactions extend the set and are reported in order', () => {
    const { state, applied } = apply(busy, instanceId(6), append(1, 2, whole(4), whole(5)));
    expect(state.gtidSet.toString()).toBe(`${UUID}:1-5`);
    expect(applied.transactions).toEqual([4, 5].map((n) => ({ gtid: gtid(n), crc: crc32(bytes(`events ${n}`)) })));
  });

  test('the baseline begins the set', () => {
    expect(founded.gtidSet.toString()).toBe(gtid(1));
    expect(founded.lastTransactionIndex).toBe(0);
  });
});

describe('what is refused changes nothing but the applied index', () => {
  const fenced = grow(busy, fence(1, 1));
  test.each<[string, ReplicatedState, LogValue, string]>([
    ['a second baseline', founded, baseline, 'NOT_SUCCESSOR'],
    [
      'a baseline with a malformed set',
      initialState(),
      { ...baseline, gtidSet: 'nonsense' } as LogValue,
      'GTID_INVALID',
    ],
    ['an append before any election', founded, append(0, 0, whole(2)), 'WRONG_EPOCH'],
    ['an append of an earlier epoch', grow(fenced, elect(2, 1, 5)), append(1, 2, whole(4)), 'WRONG_EPOCH'],
    ['an append of a later epoch', busy, append(2, 2, whole(4)), 'WRONG_EPOCH'],
    ['an append of a closed epoch', fenced, append(1, 2, whole(4)), 'WRONG_EPOCH'],
    ['the same append again', busy, append(1, 1, whole(3)), 'NOT_SUCCESSOR'],
    ['an append ahead of its predecessor', busy, append(1, 3, whole(4)), 'NOT_SUCCESSOR'],
    ['a transaction the log holds', busy, append(1, 2, whole(3)), 'NOT_SUCCESSOR'],
    ['a transaction of the baseline', busy, append(1, 2, whole(1)), 'NOT_SUCCESSOR'],
    ['the same transaction twice in one append', busy, append(1, 2, whole(4), whole(4)), 'NOT_SUCCESSOR'],
    ['a good transaction beside a bad one', busy, append(1, 2, whole(4), whole(3)), 'NOT_SUCCESSOR'],
    ['a wrong checksum', busy, append(1, 2, { ...whole(4), crc: 1 } as AppendItem), 'NOT_SUCCESSOR'],
    ['a later chunk without a first', busy, append(1, 2, chunk(4, 'b', 'middle')), 'NOT_SUCCESSOR'],
    ['a malformed GTID', busy, append(1, 2, { ...whole(4), gtid: 'x' } as AppendItem), 'GTID_INVALID'],
    ['an election before the baseline', initialState(), elect(1, 0, 0), 'NOT_SUCCESSOR'],
    ['an election while the epoch is open', busy, elect(2, 1, 5), 'WRONG_EPOCH'],
    ['an election based on an earlier epoch', fenced, elect(2, 0, 5), 'WRONG_EPOCH'],
    ['the same election again', open, elect(1, 0, 0), 'WRONG_EPOCH'],
    ['an election that has not executed the last transaction', fenced, elect(2, 1, 4), 'NOT_EXECUTED'],
    ['an election of a stranger', fenced, elect(9, 1, 5), 'PEER_REFUSED'],
    ['the same renewal again', busy, renew(1, 1), 'NOT_SUCCESSOR'],
    ['a renewal that skips one', busy, renew(1, 3), 'NOT_SUCCESSOR'],
    ['a renewal of another epoch', busy, renew(2, 2), 'WRONG_EPOCH'],
    ['a renewal of a closed epoch', fenced, renew(1, 2), 'WRONG_EPOCH'],
    ['a fence of an earlier renewal', busy, fence(1, 0), 'LEASE_RUNS'],
    ['a fence of an earlier epoch', grow(fenced, elect(2, 1, 5)), fence(1, 1), 'WRONG_EPOCH'],
    ['the same fence again', fenced, fence(1, 1), 'WRONG_EPOCH'],
    ['a release by another node', busy, fence(1, 1, 2, true), 'WRONG_EPOCH'],
    ['the same release again', grow(busy, fence(1, 1, 1, true)), fence(1, 1, 1, true), 'WRONG_EPOCH'],
    ['the same transfer again', grow(busy, transfer(1, 3, 5)), transfer(1, 3, 5), 'WRONG_EPOCH'],
    ['a transfer of a closed epoch', fenced, transfer(1, 3, 5), 'WRONG_EPOCH'],
    ['a transfer to who has not executed everything', busy, transfer(1, 3, 4), 'NOT_EXECUTED'],
    ['a transfer to a stranger', busy, transfer(1, 9, 5), 'PEER_REFUSED'],
    [
      'the same replacement again',
      grow(busy, replaceStore(2, 'store-2', 1)),
      replaceStore(2, 'store-2', 1),
      'NOT_SUCCESSOR',
    ],
    ['a replacement of another store', busy, replaceStore(2, 'store-9', 1), 'NOT_SUCCESSOR'],
    ['a replacement in another configuration', busy, replaceStore(2, 'store-2', 2), 'NOT_SUCCESSOR'],
    ["a stranger's replacement", busy, replaceStore(9, 'store-9', 1), 'NOT_SUCCESSOR'],
  ])('%s', (_, state, value, code) => {
    const { state: next, applied } = apply(state, instanceId(state.appliedIndex + 1), value);
    expect(applied).toMatchObject({ accepted: false, code, transactions: [] });
    expect(applied.reason).not.toBe('');
    expect(next).toEqual({ ...state, appliedIndex: state.appliedIndex + 1 });
    expect(next.gtidSet).toBe(state.gtidSet);
  });
});

describe('transactions in chunks', () => {
  const all = 'one two three';

  test('across appends: visible, and counted by elections, only when the last one is applied', () => {
    const two = grow(busy, append(1, 2, chunk(4, 'one ', 'first')), append(1, 3, chunk(4, 'two ', 'middle')));
    expect(two.chunk).toEqual({ gtid: gtid(4), firstInstance: 6, crc: crc32(bytes('one two ')) });
    expect(two.gtidSet.contains(gtid(4))).toBe(false);
    expect(two).toMatchObject({ lastTransactionIndex: 5, appendSeq: 4 });
    const { state, applied } = apply(two, instanceId(8), append(1, 4, chunk(4, 'three', 'last', all), whole(5)));
    expect(applied.transactions.map((each) => each.gtid)).toEqual([gtid(4), gtid(5)]);
    expect(applied.transactions[0]?.crc).toBe(crc32(bytes(all)));
    expect(state).toMatchObject({ chunk: null, lastTransactionIndex: 8 });
    expect(state.gtidSet.toString()).toBe(`${UUID}:1-5`);
  });

  test('several in one append', () => {
    const value = append(1, 2, chunk(4, 'one two ', 'first'), chunk(4, 'three', 'last', all), chunk(5, 'x', 'first'));
    const state = grow(busy, value);
    expect(state.gtidSet.contains(gtid(4))).toBe(true);
    expect(state.chunk?.gtid).toBe(gtid(5));
  });

  test('a chunk of another transaction, or bytes that do not match, are refused and the unfinished one stays', () => {
    const one = grow(busy, append(1, 2, chunk(4, 'one ', 'first')));
    for (const bad of [chunk(5, 'two ', 'middle'), chunk(4, 'wrong', 'last', all)]) {
      const { state, applied } = apply(one, instanceId(7), append(1, 3, bad));
      expect(applied).toMatchObject({ accepted: false, code: 'NOT_SUCCESSOR' });
      expect(state).toEqual({ ...one, appliedIndex: 7 });
    }
    grow(one, append(1, 3, chunk(4, 'two three', 'last', all)));
  });

  test('a first chunk begins anew: its reader was restarted and asks for all that is not complete', () => {
    const one = grow(busy, append(1, 2, chunk(4, 'one ', 'first')), append(1, 3, chunk(4, 'two ', 'middle')));
    const again = grow(one, append(1, 4, chunk(4, 'one two ', 'first')));
    expect(again.chunk).toEqual({ gtid: gtid(4), firstInstance: 8, crc: crc32(bytes('one two ')) });
    expect(grow(again, append(1, 5, chunk(4, 'three', 'last', all))).gtidSet.contains(gtid(4))).toBe(true);
    expect(grow(one, append(1, 4, file('bin.000002'))).chunk).toBeNull();
  });

  test('an unfinished one is dropped when the epoch ends, and does not stand in the way of an election', () => {
    const one = grow(busy, append(1, 2, chunk(4, 'one ', 'first')));
    const fenced = grow(one, fence(1, 1));
    expect(fenced.chunk).toBeNull();
    expect(grow(one, transfer(1, 2, 5)).chunk).toBeNull();
    const next = grow(fenced, elect(2, 1, 5)); // protocol-findings 16: executed up to the last completed one
    const late = apply(next, instanceId(9), append(2, 3, chunk(4, 'two three', 'last', all)));
    expect(late.applied).toMatchObject({ accepted: false, code: 'NOT_SUCCESSOR' });
    grow(next, append(2, 3, chunk(4, all, 'first'), chunk(4, '', 'last', all)));
  });
});

describe('protocol findings', () => {
  test('3: an append chosen behind an election of another is refused by all', () => {
    const { applied } = applyAll(busy, fence(1, 1), elect(2, 1, 5), append(1, 2, whole(4)), renew(1, 2));
    expect(applied.map(({ accepted }) => accepted)).toEqual([true, true, false, false]);
  });

  test('8: an append that slips in before a transfer or an election makes it refused', () => {
    const { applied, state } = applyAll(busy, append(1, 2, whole(4)), transfer(1, 2, 5));
    expect(applied[1]).toMatchObject({ accepted: false, code: 'NOT_EXECUTED' });
    expect(state).toMatchObject({ epoch: 1, master: 1, open: true });
  });

  test('8: a second copy of a fence, chosen late, does not depose the next master', () => {
    const { state } = applyAll(busy, fence(1, 1), elect(2, 1, 5), fence(1, 1), fence(1, 1, 1, true));
    expect(state).toMatchObject({ epoch: 2, master: 2, open: true });
  });

  test('8: a release closes the epoch for appends, chunks and renewals still under way', () => {
    const { applied, state } = applyAll(
      busy,
      fence(1, 1, 1, true),
      append(1, 2, whole(4)),
      append(1, 2, chunk(4, 'x', 'first')),
      renew(1, 2),
      elect(2, 1, 5),
    );
    expect(applied.map(({ code }) => code)).toEqual([null, 'WRONG_EPOCH', 'WRONG_EPOCH', 'WRONG_EPOCH', null]);
    expect(state).toMatchObject({ epoch: 2, master: 2, open: true });
  });
});

describe('purity', () => {
  test('the state before is unchanged, the instances must be dense', () => {
    const json = stateToJson(busy);
    applyAll(busy, append(1, 2, chunk(4, 'x', 'first')), append(1, 3, whole(5)), transfer(1, 2, 9), fence(2, 0));
    expect(stateToJson(busy)).toBe(json);
    for (const wrong of [5, 7]) {
      expect(() => apply(busy, instanceId(wrong), { kind: 'noop' })).toThrow(InvariantError);
    }
  });

  test('the same log gives the same bytes, saved and read again at any point', () => {
    const log: LogValue[] = [
      baseline,
      elect(1, 0, 0),
      renew(1, 1),
      append(1, 0, file('bin.000001'), whole(2), chunk(3, 'a', 'first')),
      append(1, 1, chunk(3, 'b', 'last', 'ab')),
      append(1, 2, chunk(4, 'c', 'first')),
      replaceStore(3, 'store-3', 1),
      transfer(1, 2, 5),
      fence(2, 0),
      append(2, 3, whole(9)),
    ];
    const straight = applyAll(initialState(), ...log).state;
    let saved = initialState();
    for (const value of log) {
      saved = stateFromJson(stateToJson(saved));
      saved = apply(saved, instanceId(saved.appliedIndex + 1), value).state;
    }
    expect(stateToJson(saved)).toBe(stateToJson(straight));
    expect(saved.gtidSet.equals(straight.gtidSet)).toBe(true);
    expect(stateFromJson(stateToJson(straight))).toEqual(straight);
  });

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{}',
    stateToJson(busy).replace('"epoch":1', '"epoch":-1'),
    stateToJson(busy).replace(UUID, 'x'),
  ])('garbage is no state: %s', (json) => {
    const error = (() => {
      try {
        stateFromJson(json);
      } catch (thrown) {
        return thrown;
      }
      return null;
    })();
    expect(error).toBeInstanceOf(PhxError);
    expect((error as PhxError).code).toBe('STORE_CORRUPT');
  });
});
