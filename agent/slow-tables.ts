import type { Row } from './mysqld-admin.ts';

/** Named in the warning; the rest is counted. */
const NAMED_MAX = 5;
const COUNTED_MAX = 1_000;
const EXECUTION_MS_MAX = 4_000;

/** Tables of users without a primary key, and without a unique one that could take its place. */
export const SLOW_TABLES_SQL = `SELECT /*+ MAX_EXECUTION_TIME(${EXECUTION_MS_MAX}) */ CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME) AS name
  FROM information_schema.TABLES t
 WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')
   AND NOT EXISTS (
     SELECT 1 FROM information_schema.TABLE_CONSTRAINTS c
      WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY')
 ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME LIMIT ${COUNTED_MAX}`;

/** The warning about them; '' if there are none. A slave finds each row they change by reading the whole table. */
export function slowTablesIn(rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const names = rows.slice(0, NAMED_MAX).map((row) => String(row['name']));
  const more = rows.length - names.length;
  const rest = more === 0 ? '' : ` and ${rows.length === COUNTED_MAX ? `at least ${more}` : more} more`;
  return `without a primary key: ${names.join(', ')}${rest}; slaves execute changes of many rows there slowly, and a failover waits for them`;
}
