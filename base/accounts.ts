import { createHmac } from 'node:crypto';

/** MySQL accounts that belong to the cluster itself. Their passwords follow from the cluster secret, equal on all nodes. */
export const INTERNAL_ACCOUNTS = {
  /** All privileges, local socket only. */
  agent: 'phxsql_agent',
  /** Reads the master's binlog as its one semi-sync replica, local socket only. */
  sync: 'phxsql_sync',
  /** What replicas and CDC clients use towards the dump server of binlogsvr; exists in no mysqld. */
  replica: 'phxsql_repl',
  /** What a node copies its data with from another node's mysqld (CLONE): BACKUP_ADMIN, from anywhere. */
  clone: 'phxsql_clone',
} as const;

export type InternalAccount = keyof typeof INTERNAL_ACCOUNTS;

/** 32 hex digits: MySQL takes no longer password for a replication channel. */
export function internalPassword(clusterSecret: string, account: InternalAccount): string {
  return createHmac('sha256', clusterSecret).update(`mysql account ${account}`).digest('hex').slice(0, 32);
}

/** What peers and components present as bearer of an RPC. */
export function rpcToken(clusterSecret: string): string {
  return createHmac('sha256', clusterSecret).update('rpc').digest('hex');
}
