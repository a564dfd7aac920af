import { INTERNAL_ACCOUNTS, internalPassword } from '../../base/accounts.ts';
import { withDeadline } from '../../base/async.ts';
import { freeDiskBytes } from '../../base/disk-space.ts';
import { PhxError, reasonOf } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import type { NodeAddress, Security } from '../../base/topology.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import type { BinlogsvrClient } from '../../proto/binlogsvr-types.ts';
import { nodesOf } from '../../proto/member-nodes.ts';
import type { NodeLook } from '../clone-donor.ts';
import type { CloneHost, CloneSource } from '../clone-host.ts';
import type { Row } from '../mysqld-admin.ts';
import type { CloneProgress, DataFacts, ReprovisionJournal } from '../reprovision-plan.ts';
import { sqlText } from '../sql-text.ts';
import { DataFolder } from './data-folder.ts';
import { readIfThere, removeDurably, writeDurably } from './durable-file.ts';
import { MysqldLane, sqlErrno } from './mysqld-lane.ts';
import { type NodePaths, nodePaths } from './node-paths.ts';
import { parseJournal } from './reprovision-journal.ts';

const LOOK_MS = 1_000;
const SETTING_MS_MAX = 5_000;
const PROGRESS_MS_MAX = 2_000;
/** Nobody waits for this: a copy that hangs is noticed by its progress. */
const CLONE_MS_MAX = 7 * 86_400_000;
/** Complete, and mysqld ends because nobody there would start it again. */
const ER_RESTART_SERVER_FAILED = 3707;

/** In the order of the stages. */
const PROGRESS_SQL =
  'SELECT STAGE AS stage, STATE AS state, ESTIMATE AS estimate, DATA AS data FROM performance_schema.clone_progress';

export type LocalCloneOptions = Readonly<{
  self: NodeAddress;
  /** As configured; the log may know more. */
  nodes: readonly NodeAddress[];
  dataDir: string;
  mysqlVersion: string;
  security: Security;
  /** Of this node: it knows who is a member. */
  store: Pick<BinlogsvrClient, 'status'>;
  clock: Clock;
}>;

/** What re-provisioning touches of this machine, and of the other nodes. */
export class LocalCloneHost implements CloneHost {
  readonly mysqlVersion: string;
  readonly #options: LocalCloneOptions;
  readonly #paths: NodePaths;
  readonly #folder: DataFolder;
  readonly #work: MysqldLane;
  readonly #watch: MysqldLane;
  readonly #clients = new Map<string, BinlogsvrClient>();

  constructor(options: LocalCloneOptions) {
    this.#options = options;
    this.mysqlVersion = options.mysqlVersion;
    this.#paths = nodePaths(options.dataDir);
    this.#folder = new DataFolder(this.#paths.datadir);
    const login = {
      socket: this.#paths.socket,
      user: INTERNAL_ACCOUNTS.agent,
      password: internalPassword(options.security.clusterSecret, 'agent'),
    };
    this.#work = new MysqldLane(login, options.clock);
    this.#watch = new MysqldLane(login, options.clock);
  }

  async readJournal(): Promise<ReprovisionJournal | null> {
    const path = this.#paths.reprovision;
    const text = await readIfThere(path);
    return text === null ? null : parseJournal(text, path);
  }

  async writeJournal(journal: ReprovisionJournal): Promise<void> {
    await writeDurably(this.#paths.reprovision, `${JSON.stringify(journal, null, 2)}\n`);
  }

  async removeJournal(): Promise<void> {
    await removeDurably(this.#paths.reprovision);
  }

  async measure(): Promise<DataFacts> {
    const [bytes, asideBytes] = await Promise.all([this.#folder.bytes(), this.#folder.asideBytes()]);
    return { bytes, asideBytes, freeBytes: await freeDiskBytes(this.#paths.datadir) };
  }

  setAside(folder: string, reason: string): Promise<void> {
    return this.#folder.setAside(folder, reason);
  }

  async erase(): Promise<void> {
    await this.#folder.erase();
    // Of a binlog that is gone.
    await removeDurably(this.#paths.cutPlan);
  }

  async look(): Promise<readonly NodeLook[]> {
    const { store, nodes, self } = this.#options;
    const members = await store.status(LOOK_MS).then(
      (status) => (status.members ?? []).filter(({ kind }) => kind !== 'witness'),
      () => [],
    );
    // By the log; where that cannot be asked, whoever is configured.
    const known = members.length === 0 ? nodes : nodesOf(members, nodes);
    return Promise.all(known.filter(({ id }) => id !== self.id).map((each) => this.#ask(each)));
  }

  async clone({ host, port, maxMiBPerS }: CloneSource): Promise<void> {
    const { security } = this.#options;
    const from = `${sqlText(INTERNAL_ACCOUNTS.clone)}@${sqlText(host)}:${Math.floor(port)}`;
    const password = internalPassword(security.clusterSecret, 'clone');
    try {
      await this.#work.run(
        [
          `SET GLOBAL clone_valid_donor_list = ${sqlText(`${host}:${Math.floor(port)}`)}`,
          `SET GLOBAL clone_max_data_bandwidth = ${Math.floor(maxMiBPerS)}`,
        ],
        SETTING_MS_MAX,
      );
      // Across machines there is TLS between the nodes; the donor's certificate is its own, and not checked.
      const tls = security.tls === null ? 'REQUIRE NO SSL' : 'REQUIRE SSL';
      await this.#work.run([`CLONE INSTANCE FROM ${from} IDENTIFIED BY ${sqlText(password)} ${tls}`], CLONE_MS_MAX);
    } catch (error) {
      if (sqlErrno(error) === ER_RESTART_SERVER_FAILED) return;
      // Without the error itself, which holds the statement.
      throw new PhxError('MYSQL_DOWN', reasonOf(error));
    }
  }

  async progress(): Promise<CloneProgress | null> {
    const [rows = []] = await this.#watch.run([PROGRESS_SQL], PROGRESS_MS_MAX);
    return progressOf(rows);
  }

  hangUp(): void {
    this.#work.destroy();
    this.#watch.destroy();
  }

  async #ask({ id: node, host, rpc, mysql: port }: NodeAddress): Promise<NodeLook> {
    const { clock, security } = this.#options;
    const address = host.includes(':') ? `[${host}]:${rpc}` : `${host}:${rpc}`;
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = createBinlogsvrClient(address, security);
      this.#clients.set(address, client);
    }
    try {
      const { view, executedIndex } = await withDeadline(clock, LOOK_MS + 100, 'status', client.status(LOOK_MS));
      const agent = view.agentAlive ? view.agent : null;
      return { node, host, port, answer: { agent, logSet: view.gtidSet, executedIndex }, error: '' };
    } catch (error) {
      return { node, host, port, answer: null, error: reasonOf(error) };
    }
  }
}

/** Rows of clone_progress: one a stage, of the last copy. */
export function progressOf(rows: readonly Row[]): CloneProgress | null {
  if (rows.length === 0) return null;
  const stages = rows.map((row) => ({
    stage: String(row['stage']),
    state: String(row['state']),
    estimate: Number(row['estimate'] ?? 0),
    data: Number(row['data'] ?? 0),
  }));
  const now =
    stages.find(({ state }) => state === 'In Progress') ?? stages.findLast(({ state }) => state === 'Completed');
  return {
    stage: now?.stage ?? '',
    doneBytes: stages.reduce((sum, { data }) => sum + data, 0),
    estimateBytes: stages.reduce((sum, { estimate }) => sum + estimate, 0),
  };
}
