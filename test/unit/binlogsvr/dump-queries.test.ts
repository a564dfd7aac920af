import { expect, test } from 'vitest';
import { answerQuery, type DumpFacts } from '../../../binlogsvr/dump-queries.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';

const facts: DumpFacts = {
  serverId: 7,
  serverUuid: 'uuid',
  serverVersion: '9.7.4',
  file: '3-binlog.000002',
  position: 4,
  gtidSet: GtidSet.parse('3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5'),
  nowWallMs: 1_700_000_000_123,
};

function rows(sql: string, variables = new Map<string, string>()): unknown {
  const answer = answerQuery(sql, variables, facts);
  return answer.kind === 'rows' ? answer.rows : answer;
}

test('what a 9.7 replica asks its source (design 9.12)', () => {
  const variables = new Map<string, string>();
  expect(rows('SELECT UNIX_TIMESTAMP()')).toEqual([['1700000000']]);
  expect(rows('SELECT @@GLOBAL.SERVER_ID')).toEqual([['7']]);
  expect(rows('SET @master_heartbeat_period = 500000256, @source_heartbeat_period = 500000256', variables)).toEqual({
    kind: 'ok',
  });
  expect(variables.get('source_heartbeat_period')).toBe('500000256');
  rows('SET @source_binlog_checksum = @@global.binlog_checksum', variables);
  expect(rows('SELECT @source_binlog_checksum', variables)).toEqual([['CRC32']]);
  expect(rows('SELECT @@GLOBAL.GTID_MODE')).toEqual([['ON']]);
  expect(rows('SELECT @@GLOBAL.SERVER_UUID')).toEqual([['uuid']]);
  rows("SET @slave_uuid = 'abc', @replica_uuid = 'abc'", variables);
  expect(variables.get('replica_uuid')).toBe('abc');
});

test('what CDC clients ask', () => {
  expect(rows("SHOW GLOBAL VARIABLES LIKE 'binlog_format'")).toEqual([['binlog_format', 'ROW']]);
  expect(rows('show variables where variable_name = "gtid_mode";')).toEqual([['gtid_mode', 'ON']]);
  expect(rows('SHOW MASTER STATUS')).toEqual([['3-binlog.000002', '4', '', '', facts.gtidSet.toString()]]);
  expect(rows('SELECT @@version AS v, 1')).toEqual([['9.7.4', '1']]);
});

test('anything else is refused, by name', () => {
  expect(answerQuery('DROP TABLE t', new Map(), facts)).toMatchObject({ kind: 'error', errno: 1235 });
  expect(answerQuery('SELECT @@nonsense', new Map(), facts)).toMatchObject({ kind: 'error', errno: 1193 });
});
