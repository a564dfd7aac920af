import { expect } from 'vitest';
import type { NodeStatus, Status, TestCluster } from './cluster.ts';
import { eventually } from './wait.ts';
import { longestGap, type Writers } from './writers.ts';

/** A node that was hurt comes back by itself within this: watchdogs, a lock wait and a start of mysqld lie in between. */
export const BACK_MS_MAX = 90_000;

export type Fault = Readonly<{
  inflict: (master: NodeStatus) => void | Promise<void>;
  /** What else has to be seen before it is healed. */
  meanwhile?: () => Promise<unknown>;
  /** Absent: it is never healed from outside. */
  heal?: (master: NodeStatus) => void;
}>;

/**
 * The failures in which something still runs but does not work. `docs/ARCHITECTURE.md` has the table of what ends which within
 * what time; here they are done to a real cluster under load.
 */
export class GreyFaults {
  readonly #cluster: TestCluster;
  readonly #writers: () => Writers;

  constructor(cluster: TestCluster, writers: () => Writers) {
    this.#cluster = cluster;
    this.#writers = writers;
  }

  /** `id` is the master, and everybody is well. */
  async makeMaster(id: number): Promise<Status> {
    return await eventually(`node ${id} is master`, BACK_MS_MAX, async () => {
      const status = await this.#cluster.healthy();
      if (status.master === id) return status;
      await this.#cluster.cli(['switchover', String(id)], 30_000);
      return null;
    });
  }

  async victim(): Promise<Readonly<{ before: Status; master: NodeStatus }>> {
    const before = await this.#cluster.healthy();
    await this.#writers().firstAckAfter(Date.now(), 10_000);
    return { before, master: before.nodes.find((node) => node.id === before.master)! };
  }

  /**
   * After `inflict` another node is master and writes are acknowledged again within `withinMs` of the last one before; `heal`
   * comes when that and `meanwhile` is over, well or not.
   */
  async failsOver(what: string, withinMs: number, fault: Fault): Promise<Status> {
    const { before, master } = await this.victim();
    const began = Date.now();
    try {
      await fault.inflict(master);
      await fault.meanwhile?.();
      await eventually(`${what}: another master`, withinMs + 20_000, async () => {
        const { epoch, master: now, nodes } = await this.#cluster.status();
        if (epoch > before.epoch && now !== null && now !== master.id) return true;
        throw new Error(`epoch ${epoch}: ${nodes.map((n) => `${n.id} ${n.state} ${n.reason}`).join('; ')}`);
      });
      await this.#writers().firstAckAfter(Date.now(), 20_000);
      const gap = longestGap(this.#writers().ackTimes.filter((at) => at >= began - 1000));
      console.log(`${what}: no write for ${gap} ms (at most ${withinMs})`);
      expect(gap).toBeLessThanOrEqual(withinMs);
    } finally {
      fault.heal?.(master);
    }
    return await this.comesBack(master.id);
  }

  /** All are well again, `id` in the first place, and hold what was acknowledged and nothing else. */
  async comesBack(id: number): Promise<Status> {
    const after = await this.#cluster.healthy(BACK_MS_MAX);
    expect(after.nodes.find((node) => node.id === id)?.state).toMatch(/slave|master/);
    await this.nothingLost(after);
    return after;
  }

  async nothingLost(status: Status): Promise<void> {
    for (const node of status.nodes) {
      // A status that a busy machine does not answer in time says nothing of rows.
      const { lost, invented } = await eventually(`rows of node ${node.id}`, 30_000, () =>
        this.#writers().check(node.id),
      );
      expect(invented).toEqual([]);
      // A slave may be a moment behind.
      if (node.id === status.master) expect(lost).toEqual([]);
    }
  }

  /** After the load has ended. */
  async allEqual(schema: string): Promise<void> {
    await this.#writers().stop();
    await this.#cluster.converged(BACK_MS_MAX);
    for (const { id } of (await this.#cluster.status()).nodes)
      expect(await this.#writers().check(id)).toEqual({ lost: [], invented: [] });
    expect(new Set(await this.#cluster.checksums(schema)).size).toBe(1);
  }
}
