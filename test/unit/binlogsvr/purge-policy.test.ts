import { expect, onTestFinished, test } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { switchOff } from '../../../base/rules.ts';
import { decidePurge } from '../../../binlogsvr/purge-policy.ts';

type Numbers = Readonly<{
  purged?: number;
  aged?: number;
  sized?: number;
  capped?: number;
  needs?: Readonly<Record<number, number | null>>;
  hold?: number;
}>;
type Expected = readonly [upTo: number, heldBy: string, ...leftBehind: number[]];

const table: readonly (readonly [string, Numbers, Expected])[] = [
  ['nothing old, nothing large', { needs: { 1: 900 } }, [0, '']],
  ['age alone', { aged: 500, needs: { 1: 900 } }, [500, '']],
  ['size alone', { sized: 600, needs: { 1: 900 } }, [600, '']],
  ['the larger of both', { aged: 500, sized: 600 }, [600, '']],
  ['members behind hold it', { aged: 500, needs: { 1: 900, 2: 300, 3: 450 } }, [300, 'node 2 at 300, node 3 at 450']],
  [
    'who was not heard of holds what is there',
    { purged: 9, aged: 500, needs: { 3: null } },
    [9, 'node 3 not heard of'],
  ],
  ['at the cap one is left behind', { sized: 700, capped: 400, needs: { 2: 300, 3: 900 } }, [400, 'node 2 at 300', 2]],
  ['at the cap nobody is who need not be', { capped: 400, needs: { 2: 400 } }, [400, '']],
  [
    'who is left behind holds nothing',
    { purged: 400, sized: 700, needs: { 2: 300, 3: 650 } },
    [650, 'node 3 at 650', 2],
  ],
  [
    'a hold is never passed',
    { aged: 500, capped: 400, needs: { 2: 100 }, hold: 301 },
    [300, 'clone, node 2 at 100', 2],
  ],
  ['a hold above what may go holds nothing', { aged: 200, hold: 301 }, [200, '']],
  ['what is gone is gone', { purged: 250, aged: 200, hold: 100 }, [250, '']],
];

test.each(table)(
  '%s',
  (_, { purged = 0, aged = 0, sized = 0, capped = 0, needs = {}, hold }, [upTo, heldBy, ...left]) => {
    const decision = decidePurge({
      purged: instanceId(purged),
      aged: instanceId(aged),
      sized: instanceId(sized),
      capped: instanceId(capped),
      needs: Object.entries(needs).map(([node, executed]) => ({
        node: nodeId(Number(node)),
        executed: executed === null ? null : instanceId(executed),
      })),
      holds: hold === undefined ? [] : [{ name: 'clone', from: instanceId(hold) }],
    });
    expect(decision).toEqual({ upTo, heldBy, leftBehind: left });
  },
);

test('without purge-keeps-what-is-needed a member that is away finds its place gone', () => {
  onTestFinished(switchOff('purge-keeps-what-is-needed'));
  const none = instanceId(0);
  const needs = [{ node: nodeId(2), executed: instanceId(300) }];
  const facts = { purged: none, aged: instanceId(500), sized: none, capped: none, needs, holds: [] };
  expect(decidePurge(facts)).toEqual({ upTo: 500, heldBy: '', leftBehind: [2] });
});
