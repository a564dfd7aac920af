import { delay } from '../../base/async.ts';
import { PhxError } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import { xidOfRow } from '../../mysql/xa.ts';
import { PINNED_PROBE_SQL, pinnedDeviations, SEMI_SYNC } from '../mysql-settings.ts';
import type { Channel, MysqldAdmin, Probe, Row, SemiSync, Waiter } from '../mysqld-admin.ts';
import { isAtConnectionLimit, MysqldLane, type MysqlLogin, sqlErrno } from './mysqld-lane.ts';

/** A probe answers within a few ms; one that takes this long counts as no answer. */
const PROBE_MS_MAX = 800;
/** For a connection that is open and busy, where no other can be had. */
const BORROW_POLL_MS = 5;
/** Clients that log in hold the connection kept for administrators for a moment each, before they are refused: one has to be quick. */
const FIRST_IN_POLL_MS = 10;
/** A second connection is of no such need, and would take the one sync may want. */
const SPARE_AGAIN_MS = 5_000;
const ER_UNKNOWN_SYSTEM_VARIABLE = 1193;

const VARIABLES_SQL =
  'SELECT @@GLOBAL.gtid_executed AS gtid_executed, @@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.offline_mode AS offline_mode, @@GLOBAL.log_replica_updates AS log_replica_updates';
/** Hex, as names need not be text. */
const XA_SQL = 'XA RECOVER CONVERT XID';

const STATUS = {
  status: 'Rpl_semi_sync_source_status',
  clients: 'Rpl_semi_sync_source_clients',
  waiting: 'Rpl_semi_sync_source_wait_sessions',
  acked: 'Rpl_semi_sync_source_yes_tx',
  unacked: 'Rpl_semi_sync_source_no_tx',
  off: 'Rpl_semi_sync_source_no_times',
} as const;

const STATUS_SQL = `SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_status WHERE VARIABLE_NAME IN (${Object.values(
  STATUS,
)
  .map((name) => `'${name}'`)
  .join(', ')})`;

const CHANNEL_SQL = [
  `SELECT CHANNEL_NAME AS channel, SERVICE_STATE AS state, LAST_ERROR_NUMBER AS number, LAST_ERROR_MESSAGE AS message
     FROM performance_schema.replication_connection_status`,
  `SELECT CHANNEL_NAME AS channel, SERVICE_STATE AS state FROM performance_schema.replication_applier_status`,
  `SELECT LAST_ERROR_NUMBER AS number, LAST_ERROR_MESSAGE AS message
     FROM performance_schema.replication_applier_status_by_worker WHERE LAST_ERROR_NUMBER <> 0
   UNION ALL SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE
     FROM performance_schema.replication_applier_status_by_coordinator WHERE LAST_ERROR_NUMBER <> 0 LIMIT 64`,
  // Metadata, global read, commit and backup locks; a row's lock is no state of its own.
  `SELECT PROCESSLIST_STATE AS state FROM performance_schema.threads
    WHERE NAME RLIKE '^thread/sql/(replica|slave)_(worker|sql)$' AND PROCESSLIST_STATE LIKE 'Waiting for % lock' LIMIT 1`,
] as const;

/**
 * Errors of an applier that no second try can cure: the rows, tables or accounts a transaction of the log names are not as the
 * transactions before it left them. Locks, space and memory are not among them.
 */
const CONFLICTS: ReadonlySet<number> = new Set([
  ...[1007, 1008, 1049], // database exists, does not exist
  ...[1050, 1051, 1146, 1304, 1305, 1359, 1360, 1537, 1539], // table, routine, trigger, event: likewise
  ...[1054, 1060, 1061, 1091, 1176], // columns and keys
  ...[1032, 1062, 1451, 1452], // rows
  ...[1396, 3162, 1141, 1269], // accounts
  ...[1397, 1440], // XA (protocol-findings 1)
]);

const applierError = (row: Row): string => `applier error ${String(row['number'])}: ${String(row['message'])}`;

/**
 * Who waits for an ack: for the journal, when such a mysqld has to be killed. The server's own thread that reads acks
 * shows the same state.
 */
const WAITERS_SQL = `SELECT PROCESSLIST_USER AS user, PROCESSLIST_HOST AS host, LEFT(PROCESSLIST_INFO, 200) AS info
  FROM performance_schema.threads
 WHERE TYPE = 'FOREGROUND' AND PROCESSLIST_STATE LIKE 'Waiting for semi-sync ACK%' LIMIT 5`;

/**
 * Talks to the local mysqld as the account that may do everything, over its socket only. Three connections stay open:
 * two for probes, so that one stuck question leaves the other, one for the channel and one for work; one more is opened for what is
 * done aside. Where clients have used up max_connections mysqld has one left for its administrators, so a single one of ours has to
 * do for everything then.
 */
export class SqlMysqldAdmin implements MysqldAdmin {
  readonly #login: MysqlLogin;
  readonly #clock: Clock;
  readonly #probes: readonly [MysqldLane, MysqldLane];
  readonly #channel: MysqldLane;
  readonly #work: MysqldLane;
  readonly #aside: MysqldLane;
  #spareNotBefore = 0;

  constructor(login: MysqlLogin, clock: Clock) {
    this.#login = login;
    this.#clock = clock;
    this.#probes = [new MysqldLane(login, clock), new MysqldLane(login, clock)];
    this.#channel = new MysqldLane(login, clock);
    this.#work = new MysqldLane(login, clock);
    this.#aside = new MysqldLane(login, clock);
  }

  async connect(): Promise<void> {
    await Promise.all([...this.#probes, this.#channel, this.#work].map((lane) => lane.connect()));
  }

  reset(): void {
    for (const lane of [...this.#probes, this.#channel, this.#work, this.#aside]) lane.destroy();
  }

  async probe(): Promise<Probe> {
    const lane = this.#probes.find((each) => !each.busy && each.open) ?? this.#probes.find((each) => !each.busy);
    if (lane === undefined) throw new PhxError('TIMEOUT', 'probe mysqld: two probes have not been answered');
    // The one that is not in use is opened now, while logins work.
    const spare = this.#probes.find((each) => each !== lane && !each.busy && !each.open);
    if (this.#clock.now() >= this.#spareNotBefore) {
      spare?.connect().catch((error: unknown) => {
        if (isAtConnectionLimit(error)) this.#spareNotBefore = this.#clock.now() + SPARE_AGAIN_MS;
      });
    }
    const askedAt = this.#clock.now();
    let rows: readonly (readonly Row[])[];
    let pinned: string;
    const flag = (name: string): boolean => Number(rows[0]?.[0]?.[name]) === 1;
    /** A replica that logs what it replicates waits for nobody's ack (MysqldServer.configure). */
    const waitsForNobody = (): boolean => flag('log_replica_updates') && flag('super_read_only');
    try {
      rows = await this.#firstIn(lane, [VARIABLES_SQL, STATUS_SQL, PINNED_PROBE_SQL, XA_SQL], PROBE_MS_MAX);
      pinned = pinnedDeviations(rows[2]?.[0] ?? {}, waitsForNobody() ? SEMI_SYNC : '').join(', ');
    } catch (error) {
      if (sqlErrno(error) !== ER_UNKNOWN_SYSTEM_VARIABLE) throw error;
      // A plugin was uninstalled: mysqld lives, but not as it must.
      rows = await lane.run([VARIABLES_SQL, STATUS_SQL], PROBE_MS_MAX);
      pinned = (error as Error).message;
    }
    const status = new Map((rows[1] ?? []).map((row) => [String(row['name']), String(row['value'])]));
    const number = (name: string): number => Number(status.get(name) ?? 0);
    const semiSync: SemiSync = {
      on: status.get(STATUS.status) === 'ON',
      clients: number(STATUS.clients),
      waiting: number(STATUS.waiting),
      acked: number(STATUS.acked),
    };
    return {
      askedAt,
      answeredAt: this.#clock.now(),
      gtidExecuted: plainSet(rows[0]?.[0]?.['gtid_executed']),
      superReadOnly: flag('super_read_only'),
      offlineMode: flag('offline_mode'),
      semiSync,
      pinned: [pinned, waitsForNobody() ? '' : asynchronous(semiSync, number(STATUS.unacked), number(STATUS.off))]
        .filter((text) => text !== '')
        .join(', '),
      prepared: (rows[3] ?? []).map(xidOfRow),
      logsReplicated: flag('log_replica_updates'),
    };
  }

  async channel(): Promise<Channel | null> {
    const [connections = [], appliers = [], errors = [], blocked = []] = await this.#run(
      this.#channel,
      CHANNEL_SQL,
      PROBE_MS_MAX,
    );
    const foreign = connections.find((row) => row['channel'] !== '');
    const connection = connections.find((row) => row['channel'] === '');
    if (connection === undefined && foreign === undefined) return null;
    const applier = appliers.find((row) => row['channel'] === '');
    const troubles = [
      foreign === undefined ? '' : `a replication channel '${String(foreign['channel'])}' that is not ours`,
      ...errors.slice(0, 1).map(applierError),
      Number(connection?.['number'] ?? 0) === 0
        ? ''
        : `receiver error ${String(connection?.['number'])}: ${String(connection?.['message'])}`,
    ];
    const state = connection?.['state'];
    return {
      receiver: state === 'ON' || state === 'CONNECTING' ? state : 'OFF',
      applier: applier?.['state'] === 'ON',
      error: troubles.filter((text) => text !== '').join('; '),
      conflict: errors.filter((row) => CONFLICTS.has(Number(row['number']))).map(applierError)[0] ?? '',
      foreign: foreign === undefined ? '' : String(foreign['channel']),
      blocked: words(blocked[0]?.['state']),
    };
  }

  async work(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]> {
    try {
      return await this.#run(this.#work, statements, deadlineMs);
    } catch (error) {
      if (sqlErrno(error) === null) this.#work.destroy();
      throw error;
    }
  }

  async aside(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]> {
    try {
      return await this.#run(this.#aside, statements, deadlineMs);
    } catch (error) {
      if (sqlErrno(error) === null) this.#aside.destroy();
      throw error;
    }
  }

  /** On `lane`, for which the one connection mysqld keeps for administrators may have to be had. */
  async #firstIn(
    lane: MysqldLane,
    statements: readonly string[],
    deadlineMs: number,
  ): Promise<readonly (readonly Row[])[]> {
    const end = this.#clock.now() + deadlineMs;
    for (;;) {
      try {
        return await lane.run(statements, Math.max(1, end - this.#clock.now()));
      } catch (error) {
        if (!isAtConnectionLimit(error) || this.#clock.now() >= end) throw error;
        await delay(this.#clock, FIRST_IN_POLL_MS);
      }
    }
  }

  /** On `lane`, or on any that is open if mysqld has no connection left for it. */
  async #run(
    lane: MysqldLane,
    statements: readonly string[],
    deadlineMs: number,
  ): Promise<readonly (readonly Row[])[]> {
    const end = this.#clock.now() + deadlineMs;
    try {
      return await lane.run(statements, deadlineMs);
    } catch (error) {
      if (!isAtConnectionLimit(error)) throw error;
      for (;;) {
        const open = [...this.#probes, this.#channel, this.#work].filter((each) => each.open);
        const idle = open.find((each) => !each.busy);
        if (idle !== undefined) return await idle.run(statements, Math.max(1, end - this.#clock.now()));
        if (open.length === 0 || this.#clock.now() >= end) throw error;
        await delay(this.#clock, BORROW_POLL_MS);
      }
    }
  }

  async canLogIn(deadlineMs: number): Promise<boolean> {
    const lane = new MysqldLane(this.#login, this.#clock);
    try {
      await lane.connect(deadlineMs);
      return true;
    } catch (error) {
      // It answers: what keeps us out is no lock.
      return isAtConnectionLimit(error);
    } finally {
      lane.destroy();
    }
  }

  async waiters(): Promise<readonly Waiter[]> {
    const lane = this.#probes.find((each) => !each.busy);
    if (lane === undefined) return [];
    const [rows = []] = await lane.run([WAITERS_SQL], PROBE_MS_MAX);
    return rows.map((row) => ({ user: words(row['user']), host: words(row['host']), statement: words(row['info']) }));
  }
}

/** Commits were let through without an ack: never again trusted, whatever the variables say now (design 9.7). */
function asynchronous({ on }: SemiSync, unacked: number, off: number): string {
  if (!on) return 'Rpl_semi_sync_source_status is OFF';
  if (unacked > 0 || off > 0) return `semi-sync was off ${off} times, ${unacked} commits went without an ack`;
  return '';
}

/** mysqld breaks long sets over lines. */
function plainSet(value: unknown): string {
  return String(value ?? '').replace(/\s+/g, '');
}

const words = (value: unknown): string => (value === null || value === undefined ? '' : String(value));
