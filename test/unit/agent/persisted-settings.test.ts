import { expect, test } from 'vitest';
import { persistedNames } from '../../../agent/persisted-settings.ts';

test('names of persisted settings, in both versions of the file', () => {
  const setting = { Value: 'OFF', Metadata: { Host: '', User: '', Timestamp: 1 } };
  const v1 = { Version: 1, mysql_server: { sync_binlog: setting, mysql_server_static_options: { x: setting } } };
  const v2 = { Version: 2, mysql_dynamic_variables: { sync_binlog: setting }, mysql_static_variables: { a: setting } };
  expect(persistedNames(JSON.stringify(v1))).toEqual(['sync_binlog', 'x']);
  expect(persistedNames(JSON.stringify(v2))).toEqual(['a', 'sync_binlog']);
});

test('a damaged file names nothing and throws nothing', () => {
  for (const text of ['', '{', 'null', '[]', '{"Version":2}']) expect(persistedNames(text)).toEqual([]);
});
