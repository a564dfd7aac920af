import { setTimeout as pause } from 'node:timers/promises';
import type { Connection } from 'mysql2/promise';
import type { HostPort, TestCluster } from './cluster.ts';

type Row = `${number}:${number}`;

/**
 * Clients that insert numbered rows through proxy ports, reconnect after every error, and remember which inserts were
 * acknowledged. An insert that failed is unknown: it may be there or not, but nothing else may.
 */
export class Writers {
  readonly acked = new Set<Row>();
  readonly attempted = new Set<Row>();
  /** Milliseconds (Date.now) of every acknowledgement, in order. */
  readonly ackTimes: number[] = [];
  readonly errors: string[] = [];
  readonly #cluster: TestCluster;
  readonly #ports: readonly HostPort[];
  readonly #table: string;
  readonly #tasks: Promise<void>[] = [];
  #stopped = false;

  readonly #pauseMs: number;

  private constructor(cluster: TestCluster, ports: readonly HostPort[], table: string, pauseMs: number) {
    this.#cluster = cluster;
    this.#ports = ports;
    this.#table = table;
    this.#pauseMs = pauseMs;
  }

  static async start(
    cluster: TestCluster,
    threads: number,
    ports: readonly HostPort[],
    table = 'kills.acked',
    /** Between two inserts of one client: where not the rate is what is looked at. */
    pauseMs = 0,
  ): Promise<Writers> {
    const writers = new Writers(cluster, ports, table, pauseMs);
    await cluster.sql(
      ports[0] as HostPort,
      `CREATE DATABASE IF NOT EXISTS ${table.split('.')[0]}; CREATE TABLE IF NOT EXISTS ${table} (w INT, n INT, pad VARCHAR(100), PRIMARY KEY (w, n))`,
    );
    const first = await cluster.sql<{ n: number }>(
      ports[0] as HostPort,
      `SELECT COALESCE(MAX(n), 0) AS n FROM ${table}`,
    );
    for (let w = 0; w < threads; w += 1) writers.#tasks.push(writers.#write(w, (first[0]?.n ?? 0) + 1));
    return writers;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#tasks);
  }

  /** Milliseconds from `since` to the first insert acknowledged after it. */
  async firstAckAfter(since: number, timeoutMs: number): Promise<number> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const at = this.ackTimes.at(-1);
      if (at !== undefined && at > since) return (this.ackTimes.find((each) => each > since) as number) - since;
      if (Date.now() > end)
        throw new Error(
          `no insert acknowledged for ${timeoutMs} ms; last errors: ${this.errors.slice(-5).join(' | ')}`,
        );
      await pause(5);
    }
  }

  /** Compares with what a mysqld holds: acknowledged rows that are missing, and rows nobody wrote. */
  async check(id: number): Promise<{ lost: string[]; invented: string[] }> {
    // What is acknowledged later may be missing from what is read now.
    const acked = [...this.acked];
    const rows = await this.#cluster.adminQuery<{ w: number; n: number }>(id, `SELECT w, n FROM ${this.#table}`);
    const present = new Set(rows.map(({ w, n }): Row => `${w}:${n}`));
    return {
      lost: acked.filter((row) => !present.has(row)),
      invented: [...present].filter((row) => !this.attempted.has(row)),
    };
  }

  async #write(w: number, first: number): Promise<void> {
    let connection: Connection | null = null;
    for (let n = first; !this.#stopped; n += 1) {
      const row: Row = `${w}:${n}`;
      try {
        if (connection === null) {
          connection = await this.#cluster.connect(this.#ports[w % this.#ports.length] as HostPort);
          connection.on('error', () => {});
        }
        this.attempted.add(row);
        await withTimeout(
          connection.query(`INSERT INTO ${this.#table} VALUES (?, ?, REPEAT('x', 80))`, [w, n]),
          30_000,
        );
        this.acked.add(row);
        this.ackTimes.push(Date.now());
        if (this.#pauseMs > 0) await pause(this.#pauseMs);
      } catch (error) {
        this.errors.push(error instanceof Error ? error.message : String(error));
        connection?.destroy();
        connection = null;
        await pause(20);
      }
    }
    connection?.destroy();
  }
}

/** Rejects when `work` has not ended in time; it goes on. */
export async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const stop = new AbortController();
  try {
    return await Promise.race([
      work,
      pause(ms, undefined, { signal: stop.signal }).then(() => {
        throw new Error(`no answer in ${ms} ms`);
      }),
    ]);
  } finally {
    stop.abort();
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Between two of these times, in order. */
export function longestGap(times: readonly number[]): number {
  let longest = 0;
  for (let i = 1; i < times.length; i += 1)
    longest = Math.max(longest, (times[i] as number) - (times[i - 1] as number));
  return longest;
}
