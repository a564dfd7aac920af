import { describe, expect, test } from 'vitest';
import { eventChangesOf } from '../../../mysql/event-statement.ts';

const set = (name: string, enabled: boolean | null, schema = 'd') => ({ kind: 'set', schema, name, enabled });

describe('statements about events', () => {
  test.each([
    ['CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1', [set('e', true)]],
    ['CREATE DEFINER=`root`@`%` EVENT `e` ON SCHEDULE EVERY 1 DAY ENABLE DO SELECT 1', [set('e', true)]],
    ["create definer = 'a'@'b' event x.e on schedule at now() disable do begin end", [set('e', false, 'x')]],
    ['CREATE DEFINER=CURRENT_USER() EVENT e ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE DO SELECT 1', [set('e', false)]],
    ['CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DO SELECT 1', [set('e', null)]],
    ['CREATE EVENT IF NOT EXISTS e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1', [set('e', false)]],
    // Words that mean nothing where they stand.
    ["CREATE EVENT e ON SCHEDULE EVERY 1 DAY COMMENT 'DISABLE' DO UPDATE t SET a = 'DISABLE'", [set('e', true)]],
    ['CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO ALTER EVENT e DISABLE', [set('e', true)]],
    ['CREATE EVENT e ON SCHEDULE EVERY (SELECT disable FROM t) DAY DO SELECT 1', [set('e', true)]],
    ['CREATE EVENT e /* DISABLE */ ON SCHEDULE EVERY 1 DAY # DISABLE\n -- DISABLE\n DO SELECT 1', [set('e', true)]],
    ['CREATE EVENT `DISABLE` ON SCHEDULE EVERY 1 DAY DO SELECT 1', [set('DISABLE', true)]],
    // As mysqldump writes it.
    [
      '/*!50106 CREATE*/ /*!50117 DEFINER=`a`@`b`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1 */',
      [set('e', false)],
    ],
    ['ALTER EVENT e DISABLE', [set('e', false)]],
    ['ALTER EVENT `a``b`.`c.d` ENABLE', [set('c.d', true, 'a`b')]],
    ["ALTER DEFINER = 'u'@'%' EVENT `d`.`e` DISABLE", [set('e', false)]],
    ['ALTER EVENT e ON SCHEDULE EVERY 2 DAY', [set('e', null)]],
    [
      'ALTER EVENT e RENAME TO x.f',
      [{ kind: 'rename', from: { schema: 'd', name: 'e' }, to: { schema: 'x', name: 'f' } }, set('f', null, 'x')],
    ],
    [
      'ALTER EVENT e RENAME TO f DISABLE',
      [{ kind: 'rename', from: { schema: 'd', name: 'e' }, to: { schema: 'd', name: 'f' } }, set('f', false)],
    ],
    ['DROP EVENT IF EXISTS x.e', [{ kind: 'drop', schema: 'x', name: 'e' }]],
    ['DROP DATABASE IF EXISTS `x`', [{ kind: 'dropSchema', schema: 'x' }]],
    ['drop schema x', [{ kind: 'dropSchema', schema: 'x' }]],
  ])('%s', (statement, changes) => {
    expect(eventChangesOf(statement, 'd')).toEqual(changes);
  });

  test.each([
    'CREATE TABLE event (id INT)',
    'CREATE DEFINER=`root`@`%` PROCEDURE event() SELECT 1',
    'ALTER TABLE t DISABLE KEYS',
    'DROP TABLE event',
    'INSERT INTO event VALUES (1)',
    'CREATE',
    'CREATE EVENT',
    'DROP EVENT x.',
    '',
  ])('nothing is about an event in: %s', (statement) => {
    expect(eventChangesOf(statement, 'd')).toEqual([]);
  });
});
