import { INTERNAL_ACCOUNTS, internalPassword } from '../base/accounts.ts';
import type { Logger } from '../base/ports.ts';
import type { Security } from '../base/topology.ts';
import type { MysqldServer } from './mysqld-server.ts';
import { sqlText } from './sql-text.ts';

/** Each statement waits for its ack. */
const STATEMENT_MS_MAX = 10_000;

const ROOT = `'root'@'%'`;
const CLONE = `'${INTERNAL_ACCOUNTS.clone}'@'%'`;

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

/** Of the accounts every node has to have, those that are not there, or not usable yet. */
export async function missingAccounts({ admin }: Pick<MysqldServer, 'admin'>): Promise<readonly string[]> {
  const [found = []] = await admin.work(
    [
      `SELECT user, account_locked AS locked FROM mysql.user
        WHERE host = '%' AND user IN ('root', '${INTERNAL_ACCOUNTS.clone}')`,
    ],
    STATEMENT_MS_MAX,
  );
  const usable = (user: string): boolean => found.some((row) => row['user'] === user && row['locked'] !== 'Y');
  return ['root', INTERNAL_ACCOUNTS.clone].filter((user) => !usable(user));
}

/**
 * On a master that opens; they replicate through the log like anything else. root@'%' on the first master; the account nodes copy
 * their data with also in clusters from before there was one.
 */
export async function makeAccounts(
  server: Pick<MysqldServer, 'admin' | 'rootPassword'>,
  missing: readonly string[],
  security: Security,
  log: Logger,
): Promise<void> {
  if (missing.includes('root')) {
    const [known = []] = await server.admin.work(
      [
        `SELECT PRIVILEGE_TYPE AS name FROM information_schema.USER_PRIVILEGES
          WHERE GRANTEE = '''${INTERNAL_ACCOUNTS.agent}''@''localhost'''`,
      ],
      STATEMENT_MS_MAX,
    );
    await makeRoot(server, new Set(known.map((row) => String(row['name']))), log);
  }
  if (missing.includes(INTERNAL_ACCOUNTS.clone)) await makeCloneAccount(server, security, log);
}

/** Made in steps that can be repeated, the password last, so that a master that dies in between leaves no usable half. */
async function makeRoot(
  server: Pick<MysqldServer, 'admin' | 'rootPassword'>,
  known: ReadonlySet<string>,
  log: Logger,
): Promise<void> {
  const password = await server.rootPassword();
  const dynamic = ROOT_DYNAMIC_PRIVILEGES.filter((name) => known.has(name));
  await oneByOne(server, [
    `CREATE USER IF NOT EXISTS ${ROOT} IDENTIFIED BY ${sqlText(password)} ACCOUNT LOCK`,
    `GRANT ${[...ROOT_PRIVILEGES, ...dynamic].join(', ')} ON *.* TO ${ROOT} WITH GRANT OPTION`,
    `REVOKE ${REVOKED_ON_MYSQL} ON mysql.* FROM ${ROOT}`,
    `ALTER USER ${ROOT} ACCOUNT UNLOCK`,
  ]);
  log.info(`created root@'%'`, { dynamicPrivileges: dynamic });
}

/** SYSTEM_USER gives nothing; it keeps administrators without it from changing or dropping the account. */
async function makeCloneAccount(server: Pick<MysqldServer, 'admin'>, security: Security, log: Logger): Promise<void> {
  const password = internalPassword(security.clusterSecret, 'clone');
  await oneByOne(server, [
    `CREATE USER IF NOT EXISTS ${CLONE} IDENTIFIED BY ${sqlText(password)} PASSWORD EXPIRE NEVER ACCOUNT LOCK`,
    `GRANT BACKUP_ADMIN, SYSTEM_USER ON *.* TO ${CLONE}`,
    `ALTER USER ${CLONE} ACCOUNT UNLOCK`,
  ]);
  log.info(`created ${CLONE}`);
}

/** One round trip each: every statement waits for its ack, and a missed deadline must not leave a queue behind it. */
async function oneByOne({ admin }: Pick<MysqldServer, 'admin'>, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await admin.work([statement], STATEMENT_MS_MAX);
}
