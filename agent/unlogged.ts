import type { Row } from './mysqld-admin.ts';

/**
 * How often a statement of somebody switched sql_log_bin off since this mysqld started, or now has. Only who has the privileges of the
 * agent can; a write in between is on this node alone, with no GTID that would ever show it.
 */
export const UNLOGGED_SQL = `SELECT
  (SELECT COALESCE(SUM(COUNT_STAR), 0) FROM performance_schema.events_statements_summary_by_digest
    WHERE DIGEST_TEXT LIKE 'SET %sql_log_bin%') AS said,
  (SELECT COUNT(*) FROM performance_schema.variables_by_thread
    WHERE VARIABLE_NAME = 'sql_log_bin' AND VARIABLE_VALUE = 'OFF') AS now`;

/** The warning about it; '' if there is nothing to warn of. */
export function unloggedIn(rows: readonly Row[]): string {
  const said = Number(rows[0]?.['said'] ?? 0);
  const now = Number(rows[0]?.['now'] ?? 0);
  if (said === 0 && now === 0) return '';
  const sessions = now === 0 ? '' : `, and is off in ${now} session${now === 1 ? '' : 's'} now`;
  return `sql_log_bin was set ${said} times${sessions}: what was written with it off is on this node alone; compare its tables with another node's, or have it cloned anew`;
}
