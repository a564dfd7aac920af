import { describe, expect, test } from 'vitest';
import { eventStatements } from '../../../agent/event-states.ts';
import { unloggedIn } from '../../../agent/unlogged.ts';

const row = (e: string, status: string, more: object = {}) => ({
  s: 'd',
  e,
  definer: 'o@brien@%',
  status,
  sql_mode: 'ANSI_QUOTES,STRICT_TRANS_TABLES',
  time_zone: 'SYSTEM',
  collation: 'utf8mb4_0900_ai_ci',
  ...more,
});

describe('the events of a new master', () => {
  test('get the state they had; those that were given one here keep it', () => {
    const rows = [
      row('runs', 'REPLICA_SIDE_DISABLED'),
      row('Stopped', 'SLAVESIDE_DISABLED'),
      row('own', 'ENABLED'),
      row('off', 'DISABLED'),
    ];
    const statements = eventStatements(rows, ['`d`.`stopped`']);
    expect(statements.map((each) => each.at(-1))).toEqual([
      "ALTER DEFINER = 'o@brien'@'%' EVENT `d`.`runs` ENABLE",
      "ALTER DEFINER = 'o@brien'@'%' EVENT `d`.`Stopped` DISABLE",
    ]);
  });

  test('keep mode, time zone and character set', () => {
    const [statements] = eventStatements([row('e`x', 'REPLICA_SIDE_DISABLED', { time_zone: '+02:00' })], []);
    expect(statements).toEqual([
      "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES', time_zone = '+02:00'",
      "SET SESSION collation_connection = 'utf8mb4_0900_ai_ci'",
      "ALTER DEFINER = 'o@brien'@'%' EVENT `d`.`e``x` ENABLE",
    ]);
  });
});

describe('writes around the log', () => {
  test('are warned of', () => {
    expect(unloggedIn([{ said: '0', now: '0' }])).toBe('');
    expect(unloggedIn([])).toBe('');
    expect(unloggedIn([{ said: '2', now: '0' }])).toMatch(/sql_log_bin was set 2 times/);
    expect(unloggedIn([{ said: '1', now: '1' }])).toMatch(/off in 1 session now/);
  });
});
