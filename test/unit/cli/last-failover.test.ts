import { expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { lastFailover, lastFailoverText } from '../../../cli/last-failover.ts';
import type { Reply } from '../../../cli/status.ts';
import type { NodeStatus, TurnAccount } from '../../../proto/binlogsvr-types.ts';

const turn = (epoch: number, side: TurnAccount['side'], marks: Readonly<Record<string, number>>): TurnAccount => ({
  kind: 'failover',
  side,
  epoch,
  atWall: Date.UTC(2026, 0, 2, 3, 4, 5, 678) + epoch,
  marks: Object.entries(marks).map(([name, ms]) => ({ name, ms })),
  end: side === 'next' ? 'open for writes' : `released epoch ${epoch - 1}`,
});
const replies = (turns: Readonly<Record<number, readonly TurnAccount[] | null>>) =>
  new Map(
    Object.entries(turns).map(([node, told]): [ReturnType<typeof nodeId>, Reply] => [
      nodeId(Number(node)),
      told === null ? { error: 'down' } : { status: { turns: told } as unknown as NodeStatus },
    ]),
  );

const FORMER = turn(7, 'former', { 'mysqld gone': 0, reaped: 4, released: 11 });
const NEXT = turn(7, 'next', { released: 0, elected: 20, promoted: 90, 'first write': 120 });

test('the newest one, put together from both nodes', () => {
  const last = lastFailover(replies({ 1: [turn(5, 'next', {}), FORMER], 2: [turn(6, 'former', {}), NEXT], 3: null }));
  expect(last).toMatchObject({ epoch: 7, kind: 'failover', from: 1, to: 2, toFirstWriteMs: 120 });
  expect(lastFailoverText(last)).toBe(`last change of master: node 2 after node 1, epoch 7, failover

  node 1, the former master: released epoch 6
    2026-01-02T03:04:05.685Z by its clock, then
         0 ms  mysqld gone
         4 ms  reaped
        11 ms  released

  node 2, the next master: open for writes
    2026-01-02T03:04:05.685Z by its clock, then
         0 ms  released
        20 ms  elected
        90 ms  promoted
       120 ms  first write

Each node counts from its own first mark; how far their wall clocks are apart nobody knows.`);
});

test('a former master that does not answer, a write nobody made, and nothing at all', () => {
  const lone = turn(8, 'next', { expired: 0, promoted: 60 });
  expect(lastFailover(replies({ 1: null, 2: [lone] }))).toMatchObject({ from: 0, to: 2, toFirstWriteMs: null });
  expect(lastFailover(replies({ 1: null, 2: [] }))).toBeNull();
  expect(lastFailoverText(null)).toMatch(/no node remembers/);
});

test('a hand-over that was undone is no change of master', () => {
  const undone = turn(9, 'former', { asked: 0, undone: 900 });
  expect(lastFailover(replies({ 1: [FORMER, undone], 2: [NEXT] }))).toMatchObject({ epoch: 7 });
});
