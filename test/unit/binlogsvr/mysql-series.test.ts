import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { compareSeries, seriesObjection, seriesOf, seriesToFinalize } from '../../../binlogsvr/mysql-series.ts';
import type { PeerHello } from '../../../binlogsvr/peer-transport.ts';
import { apply, initialState, stateFromJson, stateToJson } from '../../../binlogsvr/state-machine.ts';
import { decodeValue, encodeValue } from '../../../binlogsvr/value-codec.ts';
import type { Member } from '../../../binlogsvr/values.ts';

const members: readonly Member[] = [
  { node: nodeId(1), storeId: 's1' },
  { node: nodeId(2), storeId: 's2' },
  { node: nodeId(3), storeId: 's3', kind: 'witness' },
  { node: nodeId(4), storeId: 's4', kind: 'learner' },
];
const hello = (node: number, mysql: string | null, storeId = `s${node}`) =>
  ({ node: nodeId(node), storeId, ...(mysql === null ? {} : { runs: { build: '0.2.0', mysql } }) }) as PeerHello;
const NEW = { build: '0.2.0', mysql: '9.7.4' };
const OLD = { build: '0.2.0', mysql: '8.4.6' };
const at = (mysqlSeries = '') => ({ members, mysqlSeries });

test('series of versions, in order', () => {
  expect(['9.7.4', '8.4.6', '9.10.0', '8.0', '', 'x'].map(seriesOf)).toEqual(['9.7', '8.4', '9.10', '8.0', '', '']);
  expect(['9.10', '8.4', '9.7', '8.0'].sort(compareSeries)).toEqual(['8.0', '8.4', '9.7', '9.10']);
});

describe('who may be master while nodes are upgraded', () => {
  test.each([
    ['newer than a voter that is alive', NEW, at(), [hello(2, '8.4.6')], /9.7 is newer than node 2's \(8.4\)/],
    ['newer, in the patch only', { ...NEW, mysql: '8.4.7' }, at(), [hello(2, '8.4.6')], null],
    ['older than the others', OLD, at(), [hello(2, '9.7.4')], null],
    ['newer than a voter that is away', NEW, at(), [], null],
    [
      'newer than a witness, a learner, a stranger, a store that was replaced',
      NEW,
      at(),
      [hello(3, ''), hello(4, '8.4.6'), hello(9, '8.4.6'), hello(2, '8.4.6', 'other')],
      null,
    ],
    ['newer than a voter that does not tell', NEW, at(), [hello(2, null)], null],
    ['finalized', NEW, at('9.7'), [hello(2, '8.4.6')], null],
    ['older than what was finalized', OLD, at('9.7'), [hello(2, '9.7.4')], /older than 9.7/],
    ['newer than what was finalized', NEW, at('8.4'), [hello(2, '8.4.6')], /newer than node 2's/],
    ['does not tell', undefined, at('9.7'), [hello(2, '8.4.6')], null],
  ])('%s', (_, own, state, connected, objection) => {
    const found = seriesObjection(own, state, connected);
    if (objection === null) expect(found).toBeNull();
    else expect(found).toMatch(objection);
  });
});

describe('what can be finalized', () => {
  const all = [hello(2, '9.7.4'), hello(3, ''), hello(4, '9.7.5')];
  test('the series all members have reached', () => {
    expect(seriesToFinalize(1, NEW, at(), all)).toEqual({ series: '9.7' });
    expect(seriesToFinalize(1, NEW, at('8.4'), all)).toEqual({ series: '9.7' });
  });
  test.each([
    ['a member is away', NEW, at(), all.slice(1), /node 2 is not connected/],
    ['one is older', NEW, at(), [hello(2, '8.4.6'), ...all.slice(1)], /node 2 still runs MySQL 8.4/],
    ['one does not tell', NEW, at(), [hello(2, null), ...all.slice(1)], /node 2 runs a version of ours/],
    ['it was already', NEW, at('9.7'), all, /finalized already/],
  ])('nothing: %s', (_, own, state, connected, reason) => {
    const found = seriesToFinalize(1, own, state, connected);
    expect(found).toMatchObject({ series: null, reason: expect.stringMatching(reason) });
  });
});

test('the log only ever raises it, and remembers', () => {
  const value = (mysqlSeries: string) => ({ kind: 'finalizeUpgrade', mysqlSeries }) as const;
  expect(decodeValue(encodeValue(value('9.7')))).toEqual(value('9.7'));
  let state = { ...initialState(), epoch: epochOf(1) };
  const fates = ['8.4', '9.7', '9.7', '8.4', 'x', ''].map((series, i) => {
    const { state: next, applied } = apply(state, instanceId(i + 1), value(series));
    state = next;
    return applied.accepted;
  });
  expect(fates).toEqual([true, true, false, false, false, false]);
  expect(state.mysqlSeries).toBe('9.7');
  expect(stateFromJson(stateToJson(state))).toEqual(state);
  expect(stateToJson(initialState())).not.toContain('mysqlSeries');
});
