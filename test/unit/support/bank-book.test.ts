import { describe, expect, test } from 'vitest';
import { ACCOUNTS, BankBook, type BankState, INITIAL, type Transfer } from '../../support/bank-book.ts';

/** The checker of the bank: it has to find each thing that can be wrong. */
describe("the bank's book", () => {
  const transfer = (n: number): Transfer => ({ client: 1, n, from: 0, to: 1, amount: 10 });
  const stateAfter = (...journal: Transfer[]): BankState => {
    const balances = Array.from({ length: ACCOUNTS }, (_, id) => ({ id, balance: INITIAL }));
    for (const { from, to, amount } of journal) {
      balances[from] = { id: from, balance: (balances[from]?.balance ?? 0) - amount };
      balances[to] = { id: to, balance: (balances[to]?.balance ?? 0) + amount };
    }
    return { balances, journal };
  };
  const book = new BankBook();
  for (const n of [1, 2, 3]) book.send(transfer(n));
  for (const n of [1, 2]) book.acknowledge(transfer(n));
  const judge = (state: BankState): string => book.judge(state, book.acked()).join(' | ');

  test('takes what was sent, whether its end is known or not', () => {
    expect(judge(stateAfter(transfer(1), transfer(2)))).toBe('');
    expect(judge(stateAfter(transfer(1), transfer(2), transfer(3)))).toBe('');
  });

  test('finds a lost, an invented and a changed transfer, and money that came or went', () => {
    expect(judge(stateAfter(transfer(1)))).toBe('1 acknowledged transfers lost: 1:2');
    expect(judge(stateAfter(transfer(1), transfer(2), transfer(4)))).toMatch(/^1 transfers that were never sent: 1:4/);
    expect(judge(stateAfter(transfer(1), { ...transfer(2), amount: 11 }))).toMatch(/never sent: 1:2/);
    const right = stateAfter(transfer(1), transfer(2));
    const balances = right.balances.map((each) => (each.id === 7 ? { id: 7, balance: INITIAL + 1 } : each));
    expect(judge({ ...right, balances })).toMatch(/account 7 has 1001, its journal says 1000 \| the total is 50001/);
    expect(judge({ ...right, balances: right.balances.slice(1) })).toMatch(/^49 accounts/);
  });

  test('finds a stale read, a read of what was never sent, and a wrong total', () => {
    const glance = (n: number, total = ACCOUNTS * INITIAL) => ({ total, newest: new Map([[1, n]]) });
    const fresh = book.newestAcked();
    expect(book.judgeGlance(glance(2), fresh)).toEqual([]);
    expect(book.judgeGlance(glance(3), fresh)).toEqual([]);
    expect(book.judgeGlance(glance(1), null)).toEqual([]);
    expect(book.judgeGlance(glance(1), fresh)[0]).toMatch(/stale read/);
    expect(book.judgeGlance({ total: ACCOUNTS * INITIAL, newest: new Map() }, fresh)[0]).toMatch(/stale read/);
    expect(book.judgeGlance(glance(4), fresh)[0]).toMatch(/never sent/);
    expect(book.judgeGlance(glance(2, 49_990), fresh)[0]).toMatch(/total is 49990/);
  });
});
