import type { Applying } from '../proto/binlogsvr-types.ts';
import type { Row } from './mysqld-admin.ts';

/** Smaller ones are over before it matters. */
const ROWS_MIN = 1_000;
/** A transaction that changed nothing for so long is taken for a large one too: it may be looking for its first row. */
const SILENT_MS_MIN = 1_000;

/** The transaction of the applier that has changed the most rows, and since when it is being executed. */
export const PROGRESS_SQL = `SELECT w.APPLYING_TRANSACTION AS gtid, x.trx_rows_modified AS changed,
   TIMESTAMPDIFF(MICROSECOND, w.APPLYING_TRANSACTION_START_APPLY_TIMESTAMP, NOW(6)) DIV 1000 AS ms
  FROM performance_schema.replication_applier_status_by_worker w
  JOIN performance_schema.threads t ON t.THREAD_ID = w.THREAD_ID
  JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = t.PROCESSLIST_ID
 WHERE w.APPLYING_TRANSACTION <> '' ORDER BY x.trx_rows_modified DESC LIMIT 1`;

/** null: no large transaction is being executed. */
export function applyingIn(rows: readonly Row[]): Applying | null {
  const [row] = rows;
  if (row === undefined) return null;
  const found = { gtid: String(row['gtid']).toLowerCase(), rows: Number(row['changed']), ms: Number(row['ms']) };
  return found.rows >= ROWS_MIN || found.ms >= SILENT_MS_MIN ? found : null;
}
