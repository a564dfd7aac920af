import { describe, expect, test } from 'vitest';
import { ApplierGuard, type Blocker, blockersIn } from '../../../agent/applier-guard.ts';
import { excludes } from '../../../agent/lock-conflicts.ts';
import { slowTablesIn } from '../../../agent/slow-tables.ts';

const row = (type: string, wanted: string, held: string, id: number, object = 'd.t') => ({
  type,
  object,
  wanted,
  held,
  id: String(id),
  user: 'app',
  host: 'localhost',
  statement: 'LOCK TABLES t READ',
});

describe('metadata locks', () => {
  test.each([
    ['TABLE', 'SHARED_WRITE', 'SHARED_READ_ONLY', true], // LOCK TABLES … READ before rows
    ['TABLE', 'SHARED_WRITE', 'SHARED_READ', false], // a SELECT
    ['TABLE', 'EXCLUSIVE', 'SHARED_READ', true], // a SELECT before a DDL
    ['TABLE', 'SHARED_NO_READ_WRITE', 'SHARED_READ', true],
    ['TABLE', 'SHARED_UPGRADABLE', 'SHARED_READ', false], // the first steps of an ALTER
    ['GLOBAL', 'INTENTION_EXCLUSIVE', 'SHARED', true], // FLUSH TABLES WITH READ LOCK
    ['COMMIT', 'INTENTION_EXCLUSIVE', 'SHARED', true],
    ['GLOBAL', 'INTENTION_EXCLUSIVE', 'INTENTION_EXCLUSIVE', false], // everybody who writes
    ['SCHEMA', 'EXCLUSIVE', 'INTENTION_EXCLUSIVE', true],
  ])('%s: who wants %s waits for %s: %s', (type, wanted, held, waits) => {
    expect(excludes(type, wanted, held)).toBe(waits);
  });
});

describe('what keeps an applier waiting', () => {
  test('is who holds a lock that excludes the one it wants, once each', () => {
    const results = [
      [
        row('TABLE', 'SHARED_WRITE', 'SHARED_READ', 7),
        row('TABLE', 'SHARED_WRITE', 'SHARED_READ_ONLY', 8),
        row('TABLE', 'SHARED_WRITE', 'SHARED_READ_ONLY', 8),
        row('GLOBAL', 'INTENTION_EXCLUSIVE', 'SHARED', 9, ''),
      ],
      [row('ROW', '', '', 10)],
    ];
    expect(blockersIn(results).map(({ id, object }) => [id, object])).toEqual([
      [8, 'd.t'],
      [9, 'global'],
      [10, 'row'],
    ]);
  });

  test('is killed once it has been in the way for the whole time', () => {
    const guard = new ApplierGuard(1000);
    const blocker = (id: number): Blocker => ({ id, user: 'app', host: 'h', statement: '', object: 'd.t' });
    const killed = (ids: number[], now: number) => guard.look(ids.map(blocker), now).map(({ id }) => id);
    expect(killed([1], 0)).toEqual([]);
    expect(killed([1, 2], 600)).toEqual([]);
    expect(killed([1, 2], 1000)).toEqual([1]);
    expect(killed([2], 1500)).toEqual([]);
    expect(killed([], 1550)).toEqual([]);
    // It came back: counted anew.
    expect(killed([2], 1700)).toEqual([]);
    expect(killed([2], 2700)).toEqual([2]);
  });
});

describe('tables without a primary key', () => {
  test('are named, the rest counted', () => {
    expect(slowTablesIn([])).toBe('');
    const names = (n: number) => Array.from({ length: n }, (_, i) => ({ name: `d.t${i}` }));
    expect(slowTablesIn(names(2))).toContain('d.t0, d.t1;');
    expect(slowTablesIn(names(7))).toContain('d.t4 and 2 more');
    expect(slowTablesIn(names(1000))).toContain('at least 995 more');
  });
});
