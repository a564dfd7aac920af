import { setTimeout as pause } from 'node:timers/promises';
import type { Connection } from 'mysql2/promise';
import { Prng } from '../../base/prng.ts';
import { ACCOUNTS, BankBook, type BankState, INITIAL, type Transfer } from './bank-book.ts';
import type { HostPort, TestCluster } from './cluster.ts';
import { eventually } from './wait.ts';
import { withTimeout } from './writers.ts';

const ANSWER_MS_MAX = 30_000;
const BETWEEN_TRANSFERS_MS = 15;
const BETWEEN_READS_MS = 150;
const AFTER_ERROR_MS = 20;
const ERRORS_KEPT = 200;

type BankPorts = Readonly<{ rw: readonly HostPort[]; ro: readonly HostPort[] }>;

/**
 * A bank under load: clients that move money through read-write ports, one transaction each, and readers at every port. They
 * reconnect after each error; what a read shows is compared with the book at once (`faults`).
 */
export class Bank {
  readonly book = new BankBook();
  /** What a reader saw that cannot be. */
  readonly faults: string[] = [];
  readonly errors: string[] = [];
  reads = 0;
  readonly #cluster: TestCluster;
  readonly #ports: BankPorts;
  readonly #random: Prng;
  readonly #tasks: Promise<void>[] = [];
  /** Per read-write port: when a transfer began there that was acknowledged, the last one. */
  readonly #lastBegun: number[];
  #stopped = false;

  private constructor(cluster: TestCluster, ports: BankPorts, seed: number) {
    this.#cluster = cluster;
    this.#ports = ports;
    this.#random = new Prng(seed);
    this.#lastBegun = ports.rw.map(() => Number.NEGATIVE_INFINITY);
  }

  /** With clients at every port of the cluster's nodes, all of which are well. */
  static async open(cluster: TestCluster, clientsPerPort: number, seed: number): Promise<Bank> {
    const { nodes } = await cluster.converged();
    const ports = { rw: nodes.map(({ rw }) => rw), ro: nodes.map(({ ro }) => ro) };
    const bank = new Bank(cluster, ports, seed);
    const rows = Array.from({ length: ACCOUNTS }, (_, id) => `(${id}, ${INITIAL})`).join(', ');
    await cluster.sql(
      ports.rw[0] as HostPort,
      `CREATE DATABASE bank; CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance INT NOT NULL);
       CREATE TABLE bank.journal (client INT, n INT, source INT, target INT, amount INT, PRIMARY KEY (client, n));
       INSERT INTO bank.accounts VALUES ${rows}`,
    );
    for (let i = 0; i < clientsPerPort * ports.rw.length; i += 1) {
      bank.#tasks.push(bank.#transferAll(i + 1, i % ports.rw.length));
    }
    for (const at of ports.rw) bank.#tasks.push(bank.#readAll(at, true));
    for (const at of ports.ro) bank.#tasks.push(bank.#readAll(at, false));
    return bank;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#tasks);
  }

  /** A transfer that began after `since` (performance.now()) was acknowledged: through any port, or through each. */
  async serves(since: number, through: 'any' | 'each', timeoutMs: number): Promise<void> {
    await eventually(`transfers through ${through} port`, timeoutMs, () => {
      const late = this.#lastBegun.map((at) => at > since);
      if (through === 'any' ? late.includes(true) : !late.includes(false)) return true;
      throw new Error(`ports ${late.map(Number).join(' ')}; last errors: ${this.errors.slice(-5).join(' | ')}`);
    });
  }

  /** Waits until a mysqld, which may be behind, holds all that is acknowledged by now, and nothing it should not. */
  async heldBy(node: number, timeoutMs: number): Promise<void> {
    const acked = this.book.acked();
    await eventually(`the bank's books on node ${node}`, timeoutMs, async () => {
      const faults = await this.check(node, acked);
      if (faults.length > 0) throw new Error(faults.join('; '));
      return true;
    });
  }

  /** What a mysqld holds, compared with the book; [] if all is well. Transfers may go on. */
  async check(node: number, acked = this.book.acked()): Promise<string[]> {
    const connection = await this.#cluster.admin(node);
    try {
      await connection.query('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ');
      await connection.query('START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY');
      const [balances] = await connection.query('SELECT id, balance FROM bank.accounts');
      const [journal] = await connection.query(
        'SELECT client, n, source AS `from`, target AS `to`, amount FROM bank.journal',
      );
      return this.book.judge({ balances, journal } as unknown as BankState, acked);
    } finally {
      connection.destroy();
    }
  }

  async #transferAll(client: number, port: number): Promise<void> {
    const link = new Link(this.#cluster, this.#ports.rw[port] as HostPort);
    for (let n = 1; !this.#stopped; n += 1) {
      const from = this.#random.below(ACCOUNTS);
      const to = (from + 1 + this.#random.below(ACCOUNTS - 1)) % ACCOUNTS;
      const transfer: Transfer = { client, n, from, to, amount: 1 + this.#random.below(20) };
      const begun = performance.now();
      try {
        await link.query(statementsOf(transfer));
        this.book.send(transfer);
        await link.query('COMMIT');
        this.book.acknowledge(transfer);
        this.#lastBegun[port] = begun;
        await pause(BETWEEN_TRANSFERS_MS);
      } catch (error) {
        await this.#failed(link, error);
      }
    }
    link.drop();
  }

  async #readAll(at: HostPort, fresh: boolean): Promise<void> {
    const link = new Link(this.#cluster, at);
    while (!this.#stopped) {
      try {
        await link.open(); // before the look at the book: a connection may wait for a master
        const expected = fresh ? this.book.newestAcked() : null;
        const rows = (await link.query(
          `SELECT client, MAX(n) AS n, (SELECT CAST(SUM(balance) AS SIGNED) FROM bank.accounts) AS total
             FROM bank.journal GROUP BY client`,
        )) as { client: number; n: number; total: number }[];
        const [first] = rows;
        if (first !== undefined) {
          const newest = new Map(rows.map(({ client, n }) => [client, n]));
          const faults = this.book.judgeGlance({ total: Number(first.total), newest }, expected);
          this.faults.push(...faults.map((fault) => `${fresh ? 'rw' : 'ro'} port ${at.port}: ${fault}`));
        }
        this.reads += 1;
        await pause(BETWEEN_READS_MS);
      } catch (error) {
        await this.#failed(link, error);
      }
    }
    link.drop();
  }

  async #failed(link: Link, error: unknown): Promise<void> {
    this.errors.push(error instanceof Error ? error.message : String(error));
    if (this.errors.length > ERRORS_KEPT) this.errors.splice(0, ERRORS_KEPT / 2);
    link.drop();
    await pause(AFTER_ERROR_MS);
  }
}

/** All but its COMMIT. Accounts are locked in the order of their numbers, so that no two clients wait for each other. */
function statementsOf({ client, n, from, to, amount }: Transfer): string {
  const moves = [
    { id: from, by: -amount },
    { id: to, by: amount },
  ].sort((a, b) => a.id - b.id);
  const updates = moves.map(({ id, by }) => `UPDATE bank.accounts SET balance = balance + (${by}) WHERE id = ${id};`);
  const row = `INSERT INTO bank.journal VALUES (${client}, ${n}, ${from}, ${to}, ${amount})`;
  return `START TRANSACTION; ${updates.join(' ')} ${row}`;
}

/** A connection that is made when it is needed. */
class Link {
  readonly #cluster: TestCluster;
  readonly #at: HostPort;
  #connection: Connection | null = null;

  constructor(cluster: TestCluster, at: HostPort) {
    this.#cluster = cluster;
    this.#at = at;
  }

  async open(): Promise<Connection> {
    if (this.#connection === null) {
      this.#connection = await this.#cluster.connect(this.#at);
      this.#connection.on('error', () => {});
    }
    return this.#connection;
  }

  async query(sql: string): Promise<unknown> {
    const connection = await this.open();
    const [rows] = await withTimeout(connection.query(sql), ANSWER_MS_MAX);
    return rows;
  }

  drop(): void {
    this.#connection?.destroy();
    this.#connection = null;
  }
}
