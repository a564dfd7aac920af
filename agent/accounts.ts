import { INTERNAL_ACCOUNTS } from '../base/accounts.ts';
import type { Logger } from '../base/ports.ts';
import type { MysqldServer } from './mysqld-server.ts';
import { sqlText } from './sql-text.ts';

/** Each statement waits for its ack. */
const STATEMENT_MS_MAX = 10_000;

const ROOT = `'root'@'%'`;

/**
 * What the clients' root may do: everything an administrator of data needs, and nothing that goes around the log (design
 * 9.15, 9.16, protocol-findings 4). Named one by one, so that a privilege a later MySQL invents is not given unseen.
 * Not among them, on purpose: SUPER, SHUTDOWN, RELOAD, FILE, REPLICATION SLAVE, SYSTEM_USER (with it root could change
 * the agent's account), SYSTEM_VARIABLES_ADMIN, SESSION_VARIABLES_ADMIN, PERSIST_RO_VARIABLES_ADMIN, BINLOG_ADMIN,
 * REPLICATION_APPLIER, REPLICATION_SLAVE_ADMIN, CONNECTION_ADMIN, SERVICE_CONNECTION_ADMIN, CLONE_ADMIN, BACKUP_ADMIN,
 * OPTIMIZE_LOCAL_TABLE, TRANSACTION_GTID_TAG, GROUP_REPLICATION_*, *_ENCRYPTION_*, INNODB_REDO_LOG_*.
 */
export const ROOT_PRIVILEGES: readonly string[] = [
  'SELECT',
  'INSERT',
  'UPDATE',
  'DELETE',
  'CREATE',
  'DROP',
  'PROCESS',
  'REFERENCES',
  'INDEX',
  'ALTER',
  'SHOW DATABASES',
  'CREATE TEMPORARY TABLES',
  'LOCK TABLES',
  'EXECUTE',
  'REPLICATION CLIENT',
  'CREATE VIEW',
  'SHOW VIEW',
  'CREATE ROUTINE',
  'ALTER ROUTINE',
  'CREATE USER',
  'EVENT',
  'TRIGGER',
  'CREATE TABLESPACE',
  'CREATE ROLE',
  'DROP ROLE',
];

/** Given where this server knows them. */
export const ROOT_DYNAMIC_PRIVILEGES: readonly string[] = [
  'ALLOW_NONEXISTENT_DEFINER',
  'APPLICATION_PASSWORD_ADMIN',
  'CREATE_SPATIAL_REFERENCE_SYSTEM',
  'FLUSH_OPTIMIZER_COSTS',
  'FLUSH_PRIVILEGES',
  'FLUSH_STATUS',
  'FLUSH_TABLES',
  'FLUSH_USER_RESOURCES',
  'RESOURCE_GROUP_ADMIN',
  'RESOURCE_GROUP_USER',
  'ROLE_ADMIN',
  'SENSITIVE_VARIABLES_OBSERVER',
  'SET_ANY_DEFINER',
  'SET_USER_ID',
  'SHOW_ROUTINE',
  'XA_RECOVER_ADMIN',
];

/** Writes on schema `mysql` would go around GRANT: taken back by a partial revoke (partial_revokes=ON). */
const REVOKED_ON_MYSQL =
  'INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EVENT, CREATE VIEW';

/**
 * On the first master of a cluster: root@'%', who replicates through the log like anything else. Made in steps that can be
 * repeated, the password last, so that a master that dies in between leaves no usable half.
 * True if there was none.
 */
export async function ensureRootAccount(
  server: Pick<MysqldServer, 'admin' | 'rootPassword'>,
  log: Logger,
): Promise<boolean> {
  const { admin } = server;
  const [found = [], known = []] = await admin.work(
    [
      `SELECT account_locked AS locked FROM mysql.user WHERE user = 'root' AND host = '%'`,
      `SELECT PRIVILEGE_TYPE AS name FROM information_schema.USER_PRIVILEGES
        WHERE GRANTEE = '''${INTERNAL_ACCOUNTS.agent}''@''localhost'''`,
    ],
    STATEMENT_MS_MAX,
  );
  const account = found[0];
  if (account !== undefined && account['locked'] !== 'Y') return false;
  const password = await server.rootPassword();
  const here = new Set(known.map((row) => String(row['name'])));
  const dynamic = ROOT_DYNAMIC_PRIVILEGES.filter((name) => here.has(name));
  // One round trip each: every statement waits for its ack, and a missed deadline must not leave a queue behind it.
  for (const statement of [
    `CREATE USER IF NOT EXISTS ${ROOT} IDENTIFIED BY ${sqlText(password)} ACCOUNT LOCK`,
    `GRANT ${[...ROOT_PRIVILEGES, ...dynamic].join(', ')} ON *.* TO ${ROOT} WITH GRANT OPTION`,
    `REVOKE ${REVOKED_ON_MYSQL} ON mysql.* FROM ${ROOT}`,
    `ALTER USER ${ROOT} ACCOUNT UNLOCK`,
  ]) {
    await admin.work([statement], STATEMENT_MS_MAX);
  }
  log.info(`created root@'%'`, { dynamicPrivileges: dynamic });
  return true;
}
