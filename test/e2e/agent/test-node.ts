import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, createConnection } from 'mysql2/promise';
import { type Agent, startAgent } from '../../../agent/agent.ts';
import { LocalMysqld } from '../../../agent/host/local-mysqld.ts';
import { type NodePaths, nodePaths } from '../../../agent/host/node-paths.ts';
import { INTERNAL_ACCOUNTS, internalPassword } from '../../../base/accounts.ts';
import { nodeId } from '../../../base/brands.ts';
import { type Logger, silentLogger } from '../../../base/ports.ts';
import { Prng } from '../../../base/prng.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { DEFAULT_LEASE, type NodeAddress } from '../../../base/topology.ts';
import { type DumpServer, startDumpServer } from '../../../binlogsvr/dump-server.ts';
import { freePort, testMysqlInstall } from '../../support/mysqld.ts';
import { eventually } from '../../support/wait.ts';
import { FakeBinlogsvr } from './fake-binlogsvr.ts';
import { LocalHost } from './local-host.ts';
import type { MortalLife } from './mortal-life.ts';

const SECRET = 'a secret of tests';
export const ROOT_PASSWORD = "it's a \\ password";

export type LogLine = Readonly<{ level: string; message: string; fields: Readonly<Record<string, unknown>> }>;

/** One node with a real mysqld, the agent under test, and a fake rest of the cluster. */
export class TestNode implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'phx-agent-'));
  readonly store: FakeBinlogsvr;
  readonly host = new LocalHost();
  readonly lines: LogLine[] = [];
  readonly paths: NodePaths = nodePaths(this.dir);
  readonly address: NodeAddress;
  readonly #dump: DumpServer;
  #agent: Agent | null = null;
  #hangUp: () => void = () => {};
  readonly #connections: Connection[] = [];

  private constructor(address: NodeAddress, server: DumpServer, store: FakeBinlogsvr) {
    this.store = store;
    this.address = address;
    this.#dump = server;
    writeFileSync(join(this.dir, 'root.password'), `${ROOT_PASSWORD}\n`);
  }

  static async start(): Promise<TestNode> {
    const [dump, mysql] = [await freePort(), await freePort()];
    const address = { id: nodeId(1), host: '127.0.0.1', rw: 1, ro: 2, dump, rpc: 3, mysql, http: 4 };
    const store = new FakeBinlogsvr(1, SECRET);
    const server = await startDumpServer({
      host: '127.0.0.1',
      port: dump,
      serverId: 999_001,
      serverUuid: '00000000-0000-0000-0000-0000000000bb',
      serverVersion: testMysqlInstall().version,
      account: { user: INTERNAL_ACCOUNTS.replica, password: internalPassword(SECRET, 'replica') },
      source: store.log,
      clock: systemClock,
      log: silentLogger,
    });
    const node = new TestNode(address, server, store);
    await node.startAgent();
    return node;
  }

  /** `life`: how long it has. */
  async startAgent(life?: MortalLife): Promise<void> {
    const record =
      (level: string) =>
      (message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
        this.lines.push({ level, message, fields });
        if (process.env['PHXSQL_TEST_VERBOSE'])
          console.log(Math.round(performance.now()), level, message, JSON.stringify(fields));
      };
    const log: Logger = { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
    const security = { clusterSecret: SECRET, tls: null };
    const server = new LocalMysqld({
      self: this.address,
      dataDir: this.dir,
      templateDir: null,
      mysqlInstall: testMysqlInstall(),
      host: this.host,
      security,
      rootPasswordFile: join(this.dir, 'root.password'),
      userMysqldSettings: { innodb_buffer_pool_size: '32M', innodb_redo_log_capacity: '16M' },
      clock: systemClock,
      log,
    });
    const { cutPlan: plan, autoCnf, cutDir, cutRemoved: removed } = this.paths;
    this.#agent = await startAgent({
      self: this.address,
      nodes: [this.address, { ...this.address, id: nodeId(2) }],
      client: life?.client(this.store) ?? this.store,
      server: life?.server(server, { plan, autoCnf, cutDir, removed }) ?? server,
      security,
      lease: DEFAULT_LEASE,
      clock: life?.clock(systemClock) ?? systemClock,
      random: new Prng(1),
      log,
    });
    this.#hangUp = () => server.admin.reset();
  }

  /** Of an agent whose life is over: as with its process, its connections end. */
  buryAgent(): void {
    this.#agent = null;
    this.#hangUp();
  }

  get agent(): Agent {
    if (this.#agent === null) throw new Error('no agent runs');
    return this.#agent;
  }

  async stopAgent(how: 'shutdown' | 'abandon'): Promise<void> {
    const agent = this.agent;
    this.#agent = null;
    await agent[how]();
  }

  said(message: string): readonly LogLine[] {
    return this.lines.filter((line) => line.message === message);
  }

  async isMaster(timeoutMs = 120_000): Promise<void> {
    await eventually('node is the open master', timeoutMs, () => {
      const report = this.store.lastReport;
      if (report?.servingWrites && report.epoch === this.store.log.state.epoch) return true;
      throw new Error(`${report?.role}: ${report?.reason}`);
    });
  }

  async isReplica(timeoutMs = 120_000): Promise<void> {
    await eventually('node is a serving replica', timeoutMs, () => {
      const report = this.store.lastReport;
      if (report?.role === 'replica' && report.servingReads) return true;
      throw new Error(`${report?.role}: ${report?.reason}`);
    });
  }

  /** A client over TCP, as root. */
  async root(): Promise<Connection> {
    return this.#keep(
      await createConnection({ host: '127.0.0.1', port: this.address.mysql, user: 'root', password: ROOT_PASSWORD }),
    );
  }

  /** The agent's own account: everything is allowed. */
  async admin(): Promise<Connection> {
    const password = internalPassword(SECRET, 'agent');
    return this.#keep(
      await createConnection({
        socketPath: this.paths.socket,
        user: INTERNAL_ACCOUNTS.agent,
        password,
        multipleStatements: true,
      }),
    );
  }

  async one(sql: string): Promise<string> {
    const connection = await this.admin();
    try {
      const [rows] = await connection.query({ sql, rowsAsArray: true });
      return String((rows as unknown as unknown[][])[0]?.[0] ?? '').replaceAll('\n', '');
    } finally {
      connection.destroy();
    }
  }

  /** Starts a statement whose end nobody may live to see. */
  hang(connection: Connection, sql: string): { done: boolean; failed: boolean } {
    const state = { done: false, failed: false };
    connection.query(sql).then(
      () => {
        state.done = true;
      },
      () => {
        state.failed = true;
      },
    );
    return state;
  }

  async waiters(count: number): Promise<void> {
    await eventually(`${count} commits wait`, 20_000, async () => {
      const acks = await this.one(
        `SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions'`,
      );
      // One waits for the ack, those behind it for the one. (The thread that reads acks has such a state, too.)
      const commits = await this.one(
        `SELECT COUNT(*) FROM performance_schema.threads WHERE TYPE = 'FOREGROUND' AND PROCESSLIST_USER = 'root'
           AND (PROCESSLIST_STATE LIKE 'Waiting for semi-sync ACK%' OR PROCESSLIST_STATE LIKE 'waiting for handler commit%')`,
      );
      return Number(acks) > 0 && Number(commits) >= count;
    });
  }

  kill9(): void {
    const pid = this.host.current()?.pid;
    if (pid === undefined) throw new Error('no mysqld runs');
    process.kill(pid, 'SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
    await this.#agent?.abandon();
    await this.store[Symbol.asyncDispose]();
    await this.#dump.close();
    const { host } = this;
    if (host.current() !== null) {
      host.signal(0, 'SIGKILL');
      await eventually('mysqld is reaped', 10_000, () => host.current() === null);
    }
    if (!process.env['PHXSQL_TEST_KEEP']) rmSync(this.dir, { recursive: true, force: true });
  }

  #keep(connection: Connection): Connection {
    connection.on('error', () => {});
    this.#connections.push(connection);
    return connection;
  }
}
