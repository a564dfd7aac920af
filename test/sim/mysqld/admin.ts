import type { Channel, MysqldAdmin, Probe, Row, Waiter } from '../../../agent/mysqld-admin.ts';
import { withDeadline } from '../../../base/async.ts';
import { PhxError, reasonOf } from '../../../base/errors.ts';
import type { SimProcess } from '../process.ts';
import { Connection } from './connection.ts';
import type { ScriptedMysqld } from './mysqld.ts';
import { SqlError } from './sql-error.ts';

const CONNECT_MS_MAX = 2_000;
const PROBE_MS_MAX = 800;
/** In `mysql.user` of the engine: whether an account from anywhere is locked ('Y', 'N'); absent: there is none. */
const ACCOUNTS = ['root', 'phxsql_clone'] as const;
const accountKey = (user: string): string => `mysql.user ${user}@%`;

/**
 * The agent's questions to the scripted mysqld, over connections like those of agent/host/sql-admin.ts: two for probes, one
 * for the channel, one for work, each for one question at a time, opened when needed and kept.
 */
export class SimAdmin implements MysqldAdmin {
  readonly #agent: SimProcess;
  readonly #find: () => ScriptedMysqld | null;
  readonly #probes: readonly [Lane, Lane];
  readonly #channel: Lane;
  readonly #work: Lane;

  constructor(agent: SimProcess, find: () => ScriptedMysqld | null) {
    this.#agent = agent;
    this.#find = find;
    this.#probes = [new Lane(agent, find), new Lane(agent, find)];
    this.#channel = new Lane(agent, find);
    this.#work = new Lane(agent, find);
  }

  async connect(): Promise<void> {
    await Promise.all([...this.#probes, this.#channel, this.#work].map((lane) => lane.connect()));
  }

  reset(): void {
    for (const lane of [...this.#probes, this.#channel, this.#work]) lane.destroy();
  }

  async probe(): Promise<Probe> {
    const lane = this.#probes.find((each) => !each.busy && each.open) ?? this.#probes.find((each) => !each.busy);
    if (lane === undefined) throw new PhxError('TIMEOUT', 'probe mysqld: two probes have not been answered');
    const spare = this.#probes.find((each) => each !== lane && !each.busy && !each.open);
    spare?.connect().catch(() => {});
    const askedAt = this.#agent.clock.now();
    const found = await lane.run(PROBE_MS_MAX, ({ mysqld }) => stateOf(mysqld));
    return { askedAt, answeredAt: this.#agent.clock.now(), ...found };
  }

  channel(): Promise<Channel | null> {
    return this.#channel.run(PROBE_MS_MAX, ({ mysqld: { replica } }) => {
      if (!replica.configured) return null;
      return { receiver: replica.receiver, applier: replica.applier, error: replica.error };
    });
  }

  async work(statements: readonly string[], deadlineMs: number): Promise<readonly (readonly Row[])[]> {
    try {
      return await this.#work.run(deadlineMs, async (connection) => {
        const results: (readonly Row[])[] = [];
        for (const statement of statements) {
          await connection.mysqld.process.io('statement', connection.mysqld.times.statement(), () => {});
          results.push(await execute(connection.mysqld, statement, this.#work.variables));
        }
        return results;
      });
    } catch (error) {
      if (!(error instanceof SqlError)) this.#work.destroy();
      throw error;
    }
  }

  /** Blockers, tables, events: the scripted mysqld has none. */
  async aside(statements: readonly string[]): Promise<readonly (readonly Row[])[]> {
    return statements.map(() => []);
  }

  async canLogIn(deadlineMs: number): Promise<boolean> {
    const lane = new Lane(this.#agent, this.#find);
    try {
      await lane.connect(deadlineMs);
      return true;
    } catch {
      return false;
    } finally {
      lane.destroy();
    }
  }

  async waiters(): Promise<readonly Waiter[]> {
    const lane = this.#probes.find((each) => !each.busy);
    if (lane === undefined) return [];
    return await lane.run(PROBE_MS_MAX, ({ mysqld }) =>
      mysqld.commits.semiSync.waiting > 0 ? [{ user: 'app', host: 'localhost', statement: 'COMMIT' }] : [],
    );
  }
}

/** One connection, one question at a time: agent/host/mysqld-lane.ts. */
class Lane {
  readonly #agent: SimProcess;
  readonly #find: () => ScriptedMysqld | null;
  /** Of the session. */
  variables = new Map<string, string>();
  #connection: Connection | null = null;
  #opening: Promise<Connection> | null = null;
  #busy = false;
  #generation = 0;

  constructor(agent: SimProcess, find: () => ScriptedMysqld | null) {
    this.#agent = agent;
    this.#find = find;
  }

  get busy(): boolean {
    return this.#busy;
  }

  get open(): boolean {
    return this.#connection !== null;
  }

  async connect(deadlineMs = CONNECT_MS_MAX): Promise<void> {
    await withDeadline(this.#agent.clock, deadlineMs, 'log in to mysqld', this.#open());
  }

  async run<T>(deadlineMs: number, answer: (connection: Connection) => T | Promise<T>): Promise<T> {
    if (this.#busy) throw new PhxError('BUSY', 'ask mysqld: the statement before has not ended');
    this.#busy = true;
    const generation = this.#generation;
    const ask = async (): Promise<T> => {
      try {
        const connection = await this.#open();
        return await connection.ask(() => answer(connection));
      } finally {
        if (generation === this.#generation) this.#busy = false;
      }
    };
    return await withDeadline(this.#agent.clock, deadlineMs, 'ask mysqld', ask());
  }

  destroy(): void {
    this.#generation += 1;
    this.#busy = false;
    this.#connection?.close();
    this.#connection = null;
    this.#opening = null;
  }

  #open(): Promise<Connection> {
    if (this.#connection !== null) return Promise.resolve(this.#connection);
    const generation = this.#generation;
    this.#opening ??= this.#logIn().then(
      (connection) => {
        if (generation !== this.#generation) {
          connection.close();
          throw new PhxError('CANCELLED', 'log in to mysqld: given up');
        }
        connection.onClose(() => {
          if (this.#connection === connection) this.destroy();
        });
        this.variables = new Map();
        this.#connection = connection;
        this.#opening = null;
        return connection;
      },
      (error: unknown) => {
        if (generation === this.#generation) this.#opening = null;
        throw error;
      },
    );
    return this.#opening;
  }

  async #logIn(): Promise<Connection> {
    const down = (): Error => new PhxError('MYSQL_DOWN', 'ask mysqld: the connection is lost');
    const mysqld = await this.#agent.io('connect to mysqld', 0.05, this.#find);
    if (mysqld === null) throw new PhxError('MYSQL_DOWN', 'log in to mysqld: connection refused');
    try {
      return await Connection.open(mysqld, this.#agent, { name: 'phxsql_agent', privileged: true }, down);
    } catch (error) {
      if (!(error instanceof SqlError)) throw error;
      throw new PhxError('MYSQL_DOWN', `log in to mysqld: ${reasonOf(error)}`, { cause: error });
    }
  }
}

function stateOf(mysqld: ScriptedMysqld): Omit<Probe, 'askedAt' | 'answeredAt'> {
  const { semiSync } = mysqld.commits;
  const pinned = [...mysqld.changed].map(([name, value]) => `${name} is ${value}`);
  if (semiSync.off) pinned.push('Rpl_semi_sync_source_status is OFF');
  else if (semiSync.unacked > 0) pinned.push(`${semiSync.unacked} commits went without an ack`);
  return {
    gtidExecuted: mysqld.executed.toString(),
    superReadOnly: mysqld.superReadOnly,
    offlineMode: mysqld.offlineMode,
    semiSync: { on: !semiSync.off, clients: mysqld.dumps.size, waiting: semiSync.waiting, acked: semiSync.acked },
    pinned: pinned.join(', '),
  };
}

type Run = (mysqld: ScriptedMysqld, match: RegExpExecArray, session: Map<string, string>) => unknown;

/** Every statement the agent uses; one that is not here is a fault of the model, not of the agent. */
const STATEMENTS: readonly (readonly [RegExp, Run])[] = [
  [/^SET GLOBAL offline_mode = (ON|OFF)$/, (mysqld, [, to]) => mysqld.setOfflineMode(to === 'ON')],
  [
    /^SET GLOBAL super_read_only = ON$/,
    (mysqld, _, session) => mysqld.setSuperReadOnly(lockWaitOf(session.get('lock_wait_timeout'))),
  ],
  [
    /^SET GLOBAL super_read_only = OFF$/,
    (mysqld) => {
      mysqld.superReadOnly = false;
    },
  ],
  [
    /^SET GLOBAL read_only = OFF$/,
    (mysqld) => {
      mysqld.readOnly = false;
      mysqld.superReadOnly = false;
    },
  ],
  [
    /^SET GLOBAL event_scheduler = (ON|OFF)$/,
    (mysqld, [, to]) => {
      mysqld.eventScheduler = to === 'ON';
    },
  ],
  [
    /^SET GLOBAL innodb_flush_log_at_trx_commit = ([12])$/,
    (mysqld, [, to]) => {
      mysqld.flushLog = to === '1' ? 1 : 2;
      if (to === '1') mysqld.disk.engine.flush();
    },
  ],
  [/^SET SESSION (\w+) = (\w+)$/, (_, [, name = '', to = ''], session) => session.set(name, to)],
  [/^STOP REPLICA$/, (mysqld) => mysqld.replica.stop()],
  [/^RESET REPLICA ALL$/, (mysqld) => mysqld.replica.reset()],
  [/^CHANGE REPLICATION SOURCE TO .*SOURCE_AUTO_POSITION = 1/, (mysqld) => mysqld.replica.change()],
  [/^START REPLICA$/, (mysqld) => mysqld.replica.start()],
  [/^FLUSH LOCAL ENGINE LOGS$/, (mysqld) => mysqld.disk.engine.flush()],
  [/^FLUSH LOCAL BINARY LOGS$/, (mysqld) => mysqld.commits.rotate()],
  [
    /^SELECT user, account_locked AS locked FROM mysql\.user/,
    (mysqld) =>
      ACCOUNTS.flatMap((user) => {
        const locked = mysqld.read(accountKey(user));
        return locked === undefined ? [] : [{ user, locked }];
      }),
  ],
  [/^SELECT PRIVILEGE_TYPE AS name FROM information_schema/, () => []],
  [
    /^CREATE USER IF NOT EXISTS '(\w+)'@'%'/,
    (mysqld, [, user = '']) => mysqld.write({ [accountKey(user)]: 'Y' }, { acl: true }),
  ],
  [/^(GRANT|REVOKE) /, (mysqld) => mysqld.write({}, { acl: true })],
  [
    /^ALTER USER '(\w+)'@'%' ACCOUNT UNLOCK$/,
    (mysqld, [, user = '']) => mysqld.write({ [accountKey(user)]: 'N' }, { acl: true }),
  ],
  [
    /^SELECT PROCESSLIST_ID AS id, PROCESSLIST_USER AS user FROM performance_schema\.threads/,
    (mysqld, { input }) =>
      [...mysqld.attached.values()]
        .filter(({ user }) => !input.includes(`'${user}'`))
        .map(({ id, user }) => ({ id, user })),
  ],
  [/^KILL (\d+)$/, (mysqld, [, id]) => mysqld.killSession(Number(id))],
];

async function execute(mysqld: ScriptedMysqld, sql: string, session: Map<string, string>): Promise<readonly Row[]> {
  for (const [pattern, run] of STATEMENTS) {
    const match = pattern.exec(sql);
    if (match === null) continue;
    mysqld.kernel.trace(mysqld.process.name, () => sql.slice(0, 80));
    const result = await run(mysqld, match, session);
    return Array.isArray(result) ? (result as Row[]) : [];
  }
  mysqld.kernel.fail(new Error(`the scripted mysqld does not know: ${sql}`));
  throw new SqlError(1064, `You have an error in your SQL syntax near '${sql.slice(0, 40)}'`);
}

const lockWaitOf = (seconds: string | undefined): number | null =>
  seconds === undefined || seconds === 'DEFAULT' ? null : Number(seconds) * 1000;
