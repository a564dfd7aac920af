import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { epochOf, type InstanceId, instanceId, nodeId } from '../../../base/brands.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import {
  afterXaStep,
  knowsAllXa,
  NO_XA,
  oldestXa,
  type UnresolvedXa,
  XA_FOLLOWED_MAX,
} from '../../../binlogsvr/unresolved-xa.ts';
import { decodeValue, encodeValue } from '../../../binlogsvr/value-codec.ts';
import type { AppendItem, LogValue } from '../../../binlogsvr/values.ts';
import type { XaStep } from '../../../mysql/xa.ts';

const UUID = 'aaaaaaaa-0000-0000-0000-000000000001';
const gtid = (n: number): string => `${UUID}:${n}`;
const at = (n: number): InstanceId => instanceId(n);
const step = (kind: XaStep['kind'], xid: string | number): XaStep => ({ kind, xid: String(xid) });

function following(xa: UnresolvedXa, ...steps: readonly XaStep[]): UnresolvedXa {
  return steps.reduce((now, each, i) => afterXaStep(now, each, gtid(i + 1), at(i + 1)), xa);
}

describe('the unresolved XA transactions', () => {
  test('are those prepared and neither committed nor rolled back, oldest first', () => {
    const xa = following(
      NO_XA,
      step('prepare', 'a'),
      step('prepare', 'b'),
      step('prepare', 'c'),
      step('commit', 'a'),
      step('rollback', 'c'),
      step('prepare', 'd'),
    );
    expect(xa.prepared).toEqual([
      { xid: 'b', gtid: gtid(2), from: 2 },
      { xid: 'd', gtid: gtid(6), from: 6 },
    ]);
    expect(xa.last).toBe(gtid(6));
    expect(oldestXa(xa)).toMatchObject({ xid: 'b', from: 2 });
    expect(knowsAllXa(xa)).toBe(true);
    expect(oldestXa(following(xa, step('commit', 'b'), step('commit', 'd')))).toBeNull();
  });

  test('what was never prepared resolves nothing', () => {
    expect(following(NO_XA, step('commit', 'x'))).toEqual({ ...NO_XA, last: gtid(1) });
  });

  test('the same xid prepared anew is a new one', () => {
    const xa = following(NO_XA, step('prepare', 'a'), step('prepare', 'b'), step('commit', 'a'), step('prepare', 'a'));
    expect(xa.prepared.map(({ xid, from }) => [xid, from])).toEqual([
      ['b', 2],
      ['a', 4],
    ]);
  });

  test('more than are followed are counted until they are resolved: nothing is known to be all meanwhile', () => {
    const many = Array.from({ length: XA_FOLLOWED_MAX }, (_, i) => step('prepare', i));
    const full = following(NO_XA, ...many);
    expect(knowsAllXa(full)).toBe(true);
    let xa = afterXaStep(full, step('prepare', 'x'), gtid(900), at(900));
    xa = afterXaStep(xa, step('prepare', 'y'), gtid(901), at(901));
    expect(xa.prepared).toHaveLength(XA_FOLLOWED_MAX);
    expect(xa).toMatchObject({ beyond: 2, beyondFrom: 900 });
    expect(knowsAllXa(xa)).toBe(false);
    for (const each of many) xa = afterXaStep(xa, step('commit', each.xid), gtid(1000), at(1000));
    expect(oldestXa(xa)?.from).toBe(900);
    xa = afterXaStep(xa, step('commit', 'x'), gtid(1001), at(1001));
    xa = afterXaStep(xa, step('rollback', 'y'), gtid(1002), at(1002));
    expect(xa).toEqual({ ...NO_XA, last: gtid(1002) });
    expect(oldestXa(xa)).toBeNull();
  });

  test('after one that is unclear nothing is known to be all', () => {
    const xa = following(NO_XA, step('unclear', ''), step('prepare', 'a'), step('commit', 'a'));
    expect(xa).toMatchObject({ prepared: [], incomplete: true });
    expect(knowsAllXa(xa)).toBe(false);
  });
});

describe('in the log', () => {
  const members = [1, 2, 3].map((n) => ({ node: nodeId(n), storeId: `store-${n}` }));
  const baseline: LogValue = { kind: 'baseline', node: nodeId(1), gtidSet: '', members };
  const elect: LogValue = { kind: 'elect', node: nodeId(1), basedOnEpoch: epochOf(0), executedUpTo: instanceId(0) };
  const part = (n: number, text: string, first: boolean, last: boolean, whole: string, xa?: XaStep): AppendItem => ({
    kind: 'part',
    gtid: gtid(n),
    first,
    last,
    crc: last ? crc32(Buffer.from(whole)) : 0,
    events: Buffer.from(text),
    ...(xa === undefined ? {} : { xa }),
  });
  const transaction = (n: number, xa?: XaStep): AppendItem => part(n, `t${n}`, true, true, `t${n}`, xa);
  const append = (follows: number, ...items: AppendItem[]): LogValue => {
    const value: LogValue = { kind: 'append', epoch: epochOf(1), follows, items };
    return decodeValue(encodeValue(value)); // as it is on disk
  };
  const grow = (state: ReplicatedState, ...values: LogValue[]): ReplicatedState =>
    values.reduce((now, value) => {
      const next = apply(now, instanceId(now.appliedIndex + 1), value);
      expect(next.applied.reason).toBe('');
      return next.state;
    }, state);
  const file: AppendItem = {
    kind: 'file',
    name: 'binlog.000001',
    formatDescription: Buffer.from('fde'),
    tellsXa: true,
  };
  const elected = grow(initialState(), baseline, elect);
  const open = grow(elected, append(0, file));
  const TOLD: UnresolvedXa = { ...NO_XA, told: true };

  test('a value says the same after disk or wire, and without XA it has the bytes it always had', () => {
    for (const xa of [
      step('prepare', "X'61',X'',1"),
      step('commit', 'x'),
      step('rollback', 'y'),
      step('unclear', ''),
    ]) {
      expect(append(0, transaction(1, xa))).toMatchObject({ items: [{ xa }] });
    }
    const plain = append(0, transaction(1));
    expect(plain.kind === 'append' && plain.items[0]).not.toHaveProperty('xa');
    const bytes = Buffer.from(encodeValue(append(0, transaction(1, step('commit', 'x')))));
    expect(() => decodeValue(Buffer.from(bytes.toString('latin1').replace('\x30\x02', '\x30\x09'), 'latin1'))).toThrow(
      /no XA step/,
    );
  });

  test('a transaction in chunks counts from its first, once its last is there', () => {
    const begun = grow(open, append(1, transaction(1), part(2, 'a', true, false, '')));
    expect(begun.xa).toEqual(TOLD);
    const done = grow(begun, append(2, part(2, 'b', false, true, 'ab', step('prepare', 'x'))));
    expect(done.xa.prepared).toEqual([{ xid: 'x', gtid: gtid(2), from: 4 }]);
    expect(grow(done, append(3, transaction(3, step('rollback', 'x')))).xa).toEqual({ ...TOLD, last: gtid(3) });
  });

  test('a refused append changes nothing', () => {
    const value = append(7, transaction(1, step('prepare', 'x')));
    expect(apply(open, instanceId(4), value).state.xa).toBe(open.xa);
  });

  test('is saved with the state', () => {
    const busy = grow(open, append(1, transaction(1, step('prepare', 'x')), transaction(2, step('prepare', 'y'))));
    expect(stateFromJson(stateToJson(busy))).toEqual(busy);
    const idle = grow(open, append(1, transaction(1)));
    expect(stateFromJson(stateToJson(idle)).xa).toEqual(TOLD);
    expect(JSON.parse(stateToJson(elected))).not.toHaveProperty('xa');
  });

  test('a log that did not tell leaves it open, replayed or read from a state it saved', () => {
    const { tellsXa: _, ...untold } = file;
    const replayed = grow(elected, append(0, untold, transaction(1)));
    expect(replayed.xa).toEqual({ ...NO_XA, incomplete: true });
    expect(knowsAllXa(replayed.xa)).toBe(false);
    expect(JSON.parse(stateToJson(replayed))).not.toHaveProperty('xa');
    const upgraded = stateFromJson(stateToJson(replayed));
    expect(upgraded).toEqual(replayed);
    expect(grow(upgraded, append(1, file, transaction(2, step('prepare', 'z')))).xa).toEqual({
      ...TOLD,
      prepared: [{ xid: 'z', gtid: gtid(2), from: 4 }],
      last: gtid(2),
      incomplete: true,
    });
  });
});
