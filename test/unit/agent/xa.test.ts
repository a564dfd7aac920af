import { describe, expect, test } from 'vitest';
import { XA_DOUBT_MS, type XaDifference, XaJudge, xaDifference, xaUnlogged } from '../../../agent/xa.ts';
import type { XaView } from '../../../proto/binlogsvr-types.ts';

const UUID = '11111111-1111-1111-1111-111111111111';
const gtid = (n: number): string => `${UUID}:${n}`;
const log = (prepared: readonly (readonly [string, number])[], last: number, complete = true): XaView => ({
  prepared: prepared.map(([xid, n]) => ({ xid, gtid: gtid(n) })),
  last: last === 0 ? '' : gtid(last),
  complete,
});
const here = (executed: string, ...prepared: string[]) => ({ gtidExecuted: `${UUID}:${executed}`, prepared });

describe('XA RECOVER and the log', () => {
  test.each([
    ['nothing prepared', here('1-9'), log([], 0)],
    ['a binlogsvr that does not tell', here('1-9', 'x'), null],
    [
      'the same',
      here('1-9', 'x', 'y'),
      log(
        [
          ['x', 3],
          ['y', 5],
        ],
        5,
      ),
    ],
    [
      'prepared in the log, not executed here yet',
      here('1-4', 'x'),
      log(
        [
          ['x', 3],
          ['y', 5],
        ],
        5,
      ),
    ],
    ['forgotten together with its GTID', here('1-2:4-9'), log([['x', 3]], 3)],
    ['resolved in the log, not executed here yet', here('1-4', 'x'), log([], 5)],
    ['prepared anew under the same xid, the old one resolved', here('1-4'), log([['x', 7]], 7)],
    ['not all are known', here('1-9', 'x'), log([], 5, false)],
  ])('agree: %s', (_, found, known) => {
    expect(xaDifference(found, known)).toBeNull();
  });

  test.each([
    [
      'resolved here alone',
      here('1-9', 'y'),
      log(
        [
          ['x', 3],
          ['y', 5],
        ],
        5,
      ),
      /^the log holds XA transaction x .*:3/,
    ],
    [
      'resolved here alone, and not all are known',
      here('1-9'),
      log([['x', 3]], 5, false),
      /the log holds XA transaction x/,
    ],
    ['prepared here alone', here('1-9', 'x'), log([], 5), /mysqld holds XA transaction x/],
    ['prepared here alone, and the log never had one', here('1-9', 'x'), log([], 0), /mysqld holds XA transaction x/],
  ])('differ: %s', (_, found, known, words) => {
    const difference = xaDifference(found, known);
    expect(difference?.words).toMatch(words);
    expect(difference?.kind).toBe(difference?.words.startsWith('the log') ? 'gone' : 'more');
  });
});

test('a difference counts once it has lasted, and anew when it is another', () => {
  const judge = new XaJudge();
  const of = (words: string): XaDifference => ({ kind: 'gone', words });
  expect(judge.verdict).toEqual({ difference: null, sure: false });
  judge.look(of('a'), 0);
  judge.look(of('a'), XA_DOUBT_MS - 1);
  expect(judge.verdict).toEqual({ difference: of('a'), sure: false });
  judge.look(of('a'), XA_DOUBT_MS);
  expect(judge.verdict.sure).toBe(true);
  judge.look(of('b'), XA_DOUBT_MS + 1);
  expect(judge.verdict).toEqual({ difference: of('b'), sure: false });
  judge.look(null, XA_DOUBT_MS + 2);
  judge.look(of('b'), 3 * XA_DOUBT_MS);
  expect(judge.verdict.sure).toBe(false);
});

test('who would not log what becomes of them', () => {
  const view = {
    xa: log(
      [
        ['x', 3],
        ['y', 5],
      ],
      5,
    ),
  };
  expect(xaUnlogged({ prepared: ['x'] }, view)).toMatch(/x and 1 more/);
  expect(xaUnlogged({}, { xa: null })).toBeNull();
  expect(xaUnlogged({ prepared: ['z'] }, {})).toMatch(/\(z\)/);
  expect(xaUnlogged({ prepared: ['z'], logsReplicated: true }, view)).toBeNull();
});
