import { INTERNAL_ACCOUNTS } from '../base/accounts.ts';
import { excludes } from './lock-conflicts.ts';
import type { Row } from './mysqld-admin.ts';
import { sqlText } from './sql-text.ts';

/** Rows looked at: an applier has a handful of threads, a table may have many readers. */
const ROWS_MAX = 256;
const STATEMENT_LENGTH_MAX = 200;

const APPLIERS = ['replica_worker', 'replica_sql', 'slave_worker', 'slave_sql']
  .map((name) => `'thread/sql/${name}'`)
  .join(', ');
const OURS = ['system user', 'event_scheduler', ...Object.values(INTERNAL_ACCOUNTS)].map(sqlText).join(', ');

/** A session of a client, with the statement it runs, or ran last: who locks tables is idle meanwhile. */
const SESSION = `s.PROCESSLIST_ID AS id, s.PROCESSLIST_USER AS user, s.PROCESSLIST_HOST AS host,
  LEFT(COALESCE(s.PROCESSLIST_INFO, e.SQL_TEXT, ''), ${STATEMENT_LENGTH_MAX}) AS statement`;
const OF_A_CLIENT = `s.PROCESSLIST_ID IS NOT NULL AND s.NAME NOT IN (${APPLIERS}) AND s.PROCESSLIST_USER NOT IN (${OURS})`;

/** What the applier waits for, with all who hold anything there; and who holds rows it wants. */
export const BLOCKERS_SQL: readonly string[] = [
  `SELECT w.OBJECT_TYPE AS type, CONCAT_WS('.', w.OBJECT_SCHEMA, w.OBJECT_NAME) AS object, w.LOCK_TYPE AS wanted,
     h.LOCK_TYPE AS held, ${SESSION}
     FROM performance_schema.metadata_locks w
     JOIN performance_schema.threads a ON a.THREAD_ID = w.OWNER_THREAD_ID AND a.NAME IN (${APPLIERS})
     JOIN performance_schema.metadata_locks h ON h.LOCK_STATUS = 'GRANTED' AND h.OBJECT_TYPE = w.OBJECT_TYPE
      AND h.OBJECT_SCHEMA <=> w.OBJECT_SCHEMA AND h.OBJECT_NAME <=> w.OBJECT_NAME
     JOIN performance_schema.threads s ON s.THREAD_ID = h.OWNER_THREAD_ID
     LEFT JOIN performance_schema.events_statements_current e ON e.THREAD_ID = s.THREAD_ID AND e.NESTING_EVENT_LEVEL = 0
    WHERE w.LOCK_STATUS = 'PENDING' AND ${OF_A_CLIENT} LIMIT ${ROWS_MAX}`,
  `SELECT 'ROW' AS type, 'rows' AS object, '' AS wanted, '' AS held, ${SESSION}
     FROM performance_schema.data_lock_waits d
     JOIN performance_schema.threads a ON a.THREAD_ID = d.REQUESTING_THREAD_ID AND a.NAME IN (${APPLIERS})
     JOIN performance_schema.threads s ON s.THREAD_ID = d.BLOCKING_THREAD_ID
     LEFT JOIN performance_schema.events_statements_current e ON e.THREAD_ID = s.THREAD_ID AND e.NESTING_EVENT_LEVEL = 0
    WHERE ${OF_A_CLIENT} LIMIT ${ROWS_MAX}`,
];

/** A client's session that keeps the applier waiting, and on what. */
export type Blocker = Readonly<{ id: number; user: string; host: string; statement: string; object: string }>;

/** Of the rows of BLOCKERS_SQL those that are in the applier's way; each session once. */
export function blockersIn(results: readonly (readonly Row[])[]): readonly Blocker[] {
  const found = new Map<number, Blocker>();
  for (const row of results.flat()) {
    const text = (name: string): string => String(row[name] ?? '');
    const type = text('type');
    if (type !== 'ROW' && !excludes(type, text('wanted'), text('held'))) continue;
    const id = Number(row['id']);
    const object = type === 'ROW' || text('object') === '' ? type.toLowerCase() : text('object');
    found.set(id, { id, user: text('user'), host: text('host'), statement: text('statement'), object });
  }
  return [...found.values()];
}

/** Who has been in the way long enough to be killed. Pure: `now` in ms of any clock that only goes on. */
export class ApplierGuard {
  readonly #killAfterMs: number;
  #since = new Map<number, number>();

  constructor(killAfterMs: number) {
    this.#killAfterMs = killAfterMs;
  }

  /** `blockers`: those there are now. Connection ids are never used twice. */
  look(blockers: readonly Blocker[], now: number): readonly Blocker[] {
    this.#since = new Map(blockers.map(({ id }) => [id, this.#since.get(id) ?? now]));
    return blockers.filter(({ id }) => now - (this.#since.get(id) ?? now) >= this.#killAfterMs);
  }
}
