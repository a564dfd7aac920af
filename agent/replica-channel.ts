import { INTERNAL_ACCOUNTS, internalPassword } from '../base/accounts.ts';
import { ruleHolds } from '../base/rules.ts';
import type { NodeAddress, Security } from '../base/topology.ts';
import { sqlText } from './sql-text.ts';

/**
 * Statements that make mysqld a replica of its local binlogsvr. What it had before is thrown away each time: GTIDs say
 * where it is, and replicate_same_server_id makes kept positions a trap (protocol-findings 2). Retries for ever, each
 * second (20). The source is on this host, so TLS would guard nothing.
 */
export function attachStatements(self: NodeAddress, security: Security, logsReplicated = false): readonly string[] {
  const options = [
    `SOURCE_HOST = '127.0.0.1'`,
    `SOURCE_PORT = ${self.dump}`,
    `SOURCE_USER = ${sqlText(INTERNAL_ACCOUNTS.replica)}`,
    `SOURCE_PASSWORD = ${sqlText(internalPassword(security.clusterSecret, 'replica'))}`,
    'SOURCE_AUTO_POSITION = 1',
    'SOURCE_CONNECT_RETRY = 1',
    'SOURCE_RETRY_COUNT = 0',
    'SOURCE_HEARTBEAT_PERIOD = 0.5',
    'SOURCE_SSL = 0',
    'GET_SOURCE_PUBLIC_KEY = 1',
  ];
  return [
    'STOP REPLICA',
    'RESET REPLICA ALL',
    // A replica's commits need no redo flush: the log re-sends what an OS crash takes back (design section 10). Not so what its
    // own binlog holds: that counts as executed.
    `SET GLOBAL innodb_flush_log_at_trx_commit = ${logsReplicated && ruleHolds('logged-is-flushed') ? 1 : 2}`,
    `CHANGE REPLICATION SOURCE TO ${options.join(', ')}`,
    'START REPLICA',
  ];
}

/** The way out of it, before promotion. */
export const DETACH_STATEMENTS: readonly string[] = [
  'STOP REPLICA',
  // Before the first write of its own: the binlog must never hold what the redo log may lose (design section 10).
  'SET GLOBAL innodb_flush_log_at_trx_commit = 1',
];

/** After it: nothing of a channel is left that somebody could start. */
export const FORGET_CHANNEL = 'RESET REPLICA ALL';

/**
 * One binlog file holds the transactions of one tenure: what other masters wrote in between would otherwise lie between two of
 * its own, and recovery compares file by file. A mysqld begins a file when it starts; one that was master, when it follows again.
 * Recovery looks into the last file only: what is in an older one must be on disk in the engine before that is closed, and a
 * replica's redo is not flushed at each commit (found by the simulator). LOCAL: not logged.
 */
export const FRESH_FILE: readonly string[] = ['FLUSH LOCAL ENGINE LOGS', 'FLUSH LOCAL BINARY LOGS'];
