import { describe, expect, test } from 'vitest';
import { CatchUp } from '../../../binlogsvr/catch-up.ts';
import { RowTotals } from '../../../binlogsvr/row-totals.ts';

describe('how long a slave still needs', () => {
  test('is as long as it has been behind, with small transactions', () => {
    expect(new CatchUp().look(null, null, 700, false)).toBe(700);
  });

  test('is not known before a large one shows how far it is', () => {
    const catchUp = new CatchUp();
    expect(catchUp.look(null, null, 100, true)).toBeNull();
    expect(catchUp.look({ gtid: 'a:1', rows: 0, ms: 900 }, 500_000, 900, true)).toBeNull();
    expect(catchUp.look({ gtid: 'a:1', rows: 5_000, ms: 1_500 }, null, 1_500, true)).toBeNull();
    expect(catchUp.look({ gtid: 'a:1', rows: 6_000, ms: 2_000 }, 500_000, 2_000, true)).toBeNull();
    expect(catchUp.look({ gtid: 'a:1', rows: 9_000, ms: 2_700 }, 500_000, 2_700, true)).not.toBeNull();
  });

  test.each([
    ['at an even pace', 1],
    ['ever more slowly', 0.5],
    ['in between', 0.75],
  ])('is never told too short while rows are changed %s', (_, exponent) => {
    const total = 500_000;
    const wholeMs = 60_000;
    const catchUp = new CatchUp();
    for (let ms = 600; ms < wholeMs; ms += 400) {
      const rows = Math.round(total * (ms / wholeMs) ** exponent);
      const lagMs = ms + 200;
      const told = catchUp.look({ gtid: 'a:1', rows, ms }, total, lagMs, true);
      if (told === null) expect(ms).toBeLessThan(2_000);
      if (told === null) continue;
      expect(told).toBeGreaterThanOrEqual(wholeMs - ms);
      // Nor without any measure, once the pace is seen.
      if (ms > wholeMs / 4) expect(told).toBeLessThan((wholeMs - ms) * 1.5 + lagMs + 3_000);
    }
  });

  test('begins anew with another transaction', () => {
    const catchUp = new CatchUp();
    catchUp.look({ gtid: 'a:1', rows: 400_000, ms: 10_000 }, 500_000, 0, true);
    expect(catchUp.look({ gtid: 'a:2', rows: 10_000, ms: 1_000 }, 100_000, 0, true)).toBeNull();
    const told = catchUp.look({ gtid: 'a:2', rows: 20_000, ms: 2_000 }, 100_000, 0, true) as number;
    expect(told).toBeGreaterThan(7_900);
  });

  test('totals are bounded', () => {
    const totals = new RowTotals();
    for (let i = 0; i < 300; i += 1) totals.counter(`a:${i}`).done();
    expect(totals.of('a:0')).toBeNull();
    expect(totals.of('a:299')).toBe(0);
  });
});
