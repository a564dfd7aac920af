import type { Row } from './mysqld-admin.ts';
import { sqlText } from './sql-text.ts';

/** Looked at when a node becomes master; more than any server has. */
const EVENTS_MAX = 10_000;

export const EVENTS_SQL = `SELECT EVENT_SCHEMA AS s, EVENT_NAME AS e, DEFINER AS definer, STATUS AS status, SQL_MODE AS sql_mode,
  TIME_ZONE AS time_zone, COLLATION_CONNECTION AS collation
  FROM information_schema.EVENTS LIMIT ${EVENTS_MAX}`;

/** The session as it was. */
export const EVENTS_DONE: readonly string[] = [
  'SET SESSION sql_mode = DEFAULT, time_zone = DEFAULT',
  'SET NAMES utf8mb4',
];

/**
 * Statements that give the events of a new master the state they had on the one before, those of one event together. What came through
 * replication is REPLICA_SIDE_DISABLED (SLAVESIDE_DISABLED before 8.4): `disabled` tells which of these were disabled. Any other state was
 * given here, and is as it should be. ALTER EVENT would make the agent its definer and take mode, time zone and character set of the
 * session, so these are said. It is logged, and thereby disables the event on whoever was master before (protocol-findings 25).
 */
export function eventStatements(rows: readonly Row[], disabled: readonly string[]): readonly (readonly string[])[] {
  const known = new Set(disabled);
  return rows.flatMap((row) => {
    const text = (name: string): string => String(row[name] ?? '');
    if (!/^(?:REPLICA_?SIDE|SLAVE_?SIDE)_DISABLED$/.test(text('status'))) return [];
    const state = known.has(`${quoted(text('s'))}.${quoted(text('e').toLowerCase())}`) ? 'DISABLE' : 'ENABLE';
    const definer = text('definer');
    const at = definer.lastIndexOf('@');
    const account = `${sqlText(definer.slice(0, at))}@${sqlText(definer.slice(at + 1))}`;
    return [
      [
        `SET SESSION sql_mode = ${sqlText(text('sql_mode'))}, time_zone = ${sqlText(text('time_zone'))}`,
        `SET SESSION collation_connection = ${sqlText(text('collation'))}`,
        `ALTER DEFINER = ${account} EVENT ${quoted(text('s'))}.${quoted(text('e'))} ${state}`,
      ],
    ];
  });
}

const quoted = (name: string): string => `\`${name.replaceAll('`', '``')}\``;
