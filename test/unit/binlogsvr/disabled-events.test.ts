import { describe, expect, test } from 'vitest';
import { afterTransaction, DISABLED_EVENTS_MAX, type DisabledEvents } from '../../../binlogsvr/disabled-events.ts';
import { EVENT_TYPE, encodeEvent } from '../../../mysql/binlog-event.ts';

/** A definition as it is in the binlog: a GTID event, and the statement. */
function definition(sql: string, schema = 'd'): Buffer {
  const gtid = encodeEvent({ type: EVENT_TYPE.GTID, serverId: 1, timestamp: 0, body: Buffer.alloc(42) });
  const head = Buffer.alloc(13);
  head.writeUInt8(schema.length, 8);
  const body = Buffer.concat([head, Buffer.from(`${schema}\0${sql}`)]);
  return Buffer.concat([gtid, encodeEvent({ type: EVENT_TYPE.QUERY, serverId: 1, timestamp: 0, body })]);
}

const following = (...statements: string[]): DisabledEvents =>
  statements.reduce<DisabledEvents>((disabled, sql) => afterTransaction(disabled, definition(sql)), []);

const EVERY = 'ON SCHEDULE EVERY 1 DAY';

describe('disabled events, by the log', () => {
  test.each([
    [[`CREATE EVENT e ${EVERY} DO SELECT 1`], []],
    [[`CREATE EVENT e ${EVERY} DISABLE DO SELECT 1`], ['`d`.`e`']],
    [[`CREATE EVENT E ${EVERY} DISABLE DO SELECT 1`, 'ALTER EVENT e ENABLE'], []],
    [[`CREATE EVENT e ${EVERY} DO SELECT 1`, 'ALTER EVENT E DISABLE', 'ALTER EVENT e DISABLE'], ['`d`.`e`']],
    [['ALTER EVENT e DISABLE', `ALTER EVENT e ${EVERY}`], ['`d`.`e`']],
    [['ALTER EVENT e DISABLE', 'ALTER EVENT e RENAME TO x.f'], ['`x`.`f`']],
    [['ALTER EVENT e DISABLE', 'ALTER EVENT e RENAME TO f ENABLE'], []],
    [['ALTER EVENT e DISABLE', 'DROP EVENT e'], []],
    [['ALTER EVENT e DISABLE', 'ALTER EVENT x.e DISABLE', 'DROP DATABASE d'], ['`x`.`e`']],
    [['ALTER EVENT e DISABLE', 'CREATE TABLE t (id INT)'], ['`d`.`e`']],
  ])('%j', (statements, disabled) => {
    expect(following(...statements)).toEqual(disabled);
  });

  test('are bounded: the newest stay', () => {
    const many = Array.from({ length: DISABLED_EVENTS_MAX + 5 }, (_, i) => `ALTER EVENT e${i} DISABLE`);
    const disabled = following(...many);
    expect(disabled).toHaveLength(DISABLED_EVENTS_MAX);
    expect(disabled.at(-1)).toBe(`\`d\`.\`e${DISABLED_EVENTS_MAX + 4}\``);
  });

  test('are the same list after whatever is not about them, or cannot be read', () => {
    const disabled = following('ALTER EVENT e DISABLE');
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('no events at all, but longer than a header'),
      definition('x').subarray(0, 70),
    ])
      expect(afterTransaction(disabled, bytes)).toBe(disabled);
  });
});
