import { describe, expect, test } from 'vitest';
import { EVENT_TYPE, parseEventHeader } from '../../../mysql/binlog-event.ts';
import { RowCounter } from '../../../mysql/row-count.ts';
import { BINLOGS, fixture } from './fixtures.ts';

/** Rows of each recorded transaction of rows, in order; null where they cannot be counted. */
function counts(): (number | null)[] {
  const found: (number | null)[] = [];
  for (const name of BINLOGS) {
    const bytes = fixture(name);
    let counter = new RowCounter();
    for (let at = 4; at < bytes.length; ) {
      const { size, type } = parseEventHeader(bytes, at);
      const event = bytes.subarray(at, at + size);
      counter.push(event);
      at += size;
      if (type !== EVENT_TYPE.XID && type !== EVENT_TYPE.TRANSACTION_PAYLOAD) continue;
      found.push(counter.rows);
      counter = new RowCounter();
    }
  }
  return found;
}

describe('rows of a transaction', () => {
  test('are counted in what a real mysqld wrote; compressed ones cannot be', () => {
    const all = counts();
    // INSERT of three, UPDATE and DELETE of one each, then an INSERT of one: test/support/record-fixtures.ts.
    expect(all[0]).toBe(3);
    expect(all).toContain(null);
    expect(all.filter((rows) => rows !== null && (rows < 1 || rows > 3))).toEqual([]);
  });

  test('of what cannot be read are not known, and it does not throw', () => {
    const bytes = fixture(BINLOGS[0]);
    for (let at = 4; at < bytes.length; ) {
      const { size } = parseEventHeader(bytes, at);
      const event = Buffer.from(bytes.subarray(at, at + size));
      at += size;
      for (let cut = 19; cut < size; cut += 1) new RowCounter().push(event.subarray(0, cut));
      for (let flip = 19; flip < size; flip += 1) {
        const damaged = Buffer.from(event);
        damaged[flip] = (damaged[flip] as number) ^ 0xff;
        new RowCounter().push(damaged);
      }
    }
  });
});
