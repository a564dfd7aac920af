import { setTimeout as pause } from 'node:timers/promises';
import type { Connection } from 'mysql2/promise';
import type { HostPort, TestCluster } from './cluster.ts';

const RETRY_MS = 100;

/** Clients that take every connection they can get, and hold it. */
export class Crowd implements AsyncDisposable {
  readonly refused: string[] = [];
  readonly #held: Connection[] = [];
  readonly #tasks: Promise<void>[] = [];
  readonly #end = Promise.withResolvers<void>();
  #over = false;

  constructor(cluster: TestCluster, at: HostPort, clients: number) {
    for (let i = 0; i < clients; i += 1) this.#tasks.push(this.#take(cluster, at));
  }

  async #take(cluster: TestCluster, at: HostPort): Promise<void> {
    while (!this.#over) {
      try {
        const connection = await cluster.connect(at);
        this.#held.push(connection);
        const gone = new Promise<void>((resolve) => connection.on('error', () => resolve()));
        await Promise.race([gone, this.#end.promise]);
      } catch (error) {
        this.refused.push(`${(error as { errno?: number }).errno} ${(error as Error).message}`);
        await pause(RETRY_MS);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    this.#end.resolve();
    await Promise.all(this.#tasks);
    for (const connection of this.#held) connection.destroy();
  }
}
