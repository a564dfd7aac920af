import { INTERNAL_ACCOUNTS, internalPassword } from '../base/accounts.ts';
import type { NodeAddress, Security } from '../base/topology.ts';
import { sqlText } from './sql-text.ts';

/**
 * Statements that make mysqld a replica of its local binlogsvr. What it had before is thrown away each time: GTIDs say
 * where it is, and replicate_same_server_id makes kept positions a trap (protocol-findings 2). Retries for ever, each
 * second (20). The source is on this host, so TLS would guard nothing.
 */
export function attachStatements(self: NodeAddress, security: Security): readonly string[] {
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
    // A replica's commits need no redo flush: the log re-sends what an OS crash takes back (design section 10).
    'SET GLOBAL innodb_flush_log_at_trx_commit = 2',
    `CHANGE REPLICATION SOURCE TO ${options.join(', ')}`,
    'START REPLICA',
  ];
}

/** The way out of it, before promotion: nothing of a channel is left that somebody could start. */
export const DETACH_STATEMENTS: readonly string[] = [
  'STOP REPLICA',
  'RESET REPLICA ALL',
  // Before the first write of its own: the binlog must never hold what the redo log may lose (design section 10).
  'SET GLOBAL innodb_flush_log_at_trx_commit = 1',
];
