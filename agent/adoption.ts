import { INTERNAL_ACCOUNTS } from '../base/accounts.ts';
import { ROOT_DYNAMIC_PRIVILEGES, ROOT_PRIVILEGES } from './accounts.ts';

/**
 * May an existing server become node 1 of a cluster? Pure: judged by what was read from its files and, started by us on a
 * socket nobody else knows, from itself. Each fault says what to do, so that all of them can be mended at once.
 */
export type Fault = Readonly<{ what: string; todo: string }>;

export type ServerFacts = Readonly<{
  /** @@gtid_executed as it started. */
  gtidExecuted: string;
  /** What its last binlog says has been executed; part of the above unless it lost something. */
  inBinlog: 'all' | 'missing';
  foreignTables: readonly Readonly<{ name: string; engine: string }>[];
  preparedXa: number;
  /** Replication channels it is configured with. */
  channels: readonly string[];
}>;

/** Longer lists are cut. */
const NAMED_MAX = 10;

export const GTID_TODO =
  'turn GTIDs on while it runs: enforce_gtid_consistency=ON; gtid_mode=OFF_PERMISSIVE, ON_PERMISSIVE, ON, one after the other; ' +
  'FLUSH BINARY LOGS; then one write, and stop it again';

export function serverFaults(facts: ServerFacts): readonly Fault[] {
  const faults: Fault[] = [];
  if (facts.gtidExecuted === '') faults.push({ what: 'gtid_mode was OFF: no transaction has a GTID', todo: GTID_TODO });
  if (facts.inBinlog === 'missing') {
    faults.push({
      what: 'its binlog holds transactions gtid_executed lacks',
      todo: 'start it with its own configuration, stop it in order, try again',
    });
  }
  if (facts.foreignTables.length > 0) {
    const named = facts.foreignTables.slice(0, NAMED_MAX).map(({ name, engine }) => `${name} (${engine})`);
    const more = facts.foreignTables.length > NAMED_MAX ? ` and ${facts.foreignTables.length - NAMED_MAX} more` : '';
    faults.push({
      what: `tables that are not InnoDB: ${named.join(', ')}${more}`,
      todo: 'ALTER TABLE … ENGINE=InnoDB each of them, or drop them',
    });
  }
  if (facts.preparedXa > 0) {
    faults.push({
      what: `${facts.preparedXa} prepared XA transactions`,
      todo: 'XA COMMIT or XA ROLLBACK each (XA RECOVER)',
    });
  }
  if (facts.channels.length > 0) {
    const names = facts.channels.map((name) => (name === '' ? 'the default one' : name));
    faults.push({ what: `it replicates from another server (channel ${names.join(', ')})`, todo: 'RESET REPLICA ALL' });
  }
  return faults;
}

/** `running`: our server. Another series would upgrade the data for good, a newer one cannot be gone back from. */
export function versionFault(data: string, running: string): Fault | null {
  const [theirs = [], ours = []] = [data, running].map((text) =>
    text.split('.').map((part) => Number.parseInt(part, 10)),
  );
  const sameSeries = theirs[0] === ours[0] && theirs[1] === ours[1];
  if (sameSeries && (theirs[2] ?? 0) <= (ours[2] ?? 0)) return null;
  return {
    what: `its data is of MySQL ${data}, the server found here is ${running}`,
    todo: 'name a server of its own series by PHXSQL_MYSQLD, or upgrade it by its own means first',
  };
}

/** A privilege some account holds on *.*, as information_schema.USER_PRIVILEGES names both. */
export type Grant = Readonly<{ grantee: string; privilege: string }>;

/** Held, it needs to be no more than what the clients' root of a cluster may do: the rest would go around the log. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...ROOT_PRIVILEGES,
  ...ROOT_DYNAMIC_PRIVILEGES,
  'USAGE',
  'GRANT OPTION',
]);
/** Writes on schema mysql would go around GRANT. */
const WRITES = ['INSERT', 'UPDATE', 'DELETE', 'CREATE', 'DROP', 'ALTER', 'INDEX', 'TRIGGER', 'EVENT'];
/** Those of the server itself and ours. */
const SPARED = ['mysql.sys', 'mysql.session', 'mysql.infoschema', ...Object.values(INTERNAL_ACCOUNTS)];

export type Curb = Readonly<{ grantee: string; taken: readonly string[]; statements: readonly string[] }>;

/** What is taken from the accounts of an adopted server, so that none can bypass the log. */
export function curbs(grants: readonly Grant[]): readonly Curb[] {
  const held = new Map<string, string[]>();
  for (const { grantee, privilege } of grants) {
    if (SPARED.some((user) => grantee.startsWith(`'${user}'@`))) continue;
    held.set(grantee, [...(held.get(grantee) ?? []), privilege.toUpperCase()]);
  }
  return [...held].flatMap(([grantee, privileges]) => {
    const taken = privileges.filter((each) => !HARMLESS.has(each));
    const writes = privileges.filter((each) => WRITES.includes(each));
    const statements = [
      ...(taken.length === 0 ? [] : [`REVOKE ${taken.join(', ')} ON *.* FROM ${grantee}`]),
      ...(writes.length === 0 ? [] : [`REVOKE ${writes.join(', ')} ON mysql.* FROM ${grantee}`]),
    ];
    return statements.length === 0 ? [] : [{ grantee, taken, statements }];
  });
}
