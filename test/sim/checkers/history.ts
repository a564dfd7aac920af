import { check, type LogChecker } from './log.ts';

type Write = {
  readonly key: string;
  readonly value: string;
  readonly by: string;
  readonly invokedAt: number;
  ackedAt: number;
};
type Read = Readonly<{ key: string; value: string | null; invokedAt: number; returnedAt: number; by: string }>;

/** Keys clients write begin so; what else is in the log is the servers' own. */
export const CLIENT_KEY = 'k';

/**
 * What clients did and were told, by true time. Each key is a register of values that are written once, so that a value names its
 * write, and the log's order of writes and real time decide. A write that was not acknowledged may or may not have happened.
 */
export class History {
  readonly #writes = new Map<string, Write>();
  readonly #reads: Read[] = [];
  readonly #log: LogChecker;
  #acked = 0;

  constructor(log: LogChecker) {
    this.#log = log;
  }

  get acked(): number {
    return this.#acked;
  }

  get reads(): number {
    return this.#reads.length;
  }

  invoke(write: Readonly<{ key: string; value: string; by: string }>, at: number): void {
    this.#writes.set(write.value, { ...write, invokedAt: at, ackedAt: Number.POSITIVE_INFINITY });
  }

  /** The client was told that it is committed: some node must have applied it by now. */
  ack(value: string, at: number): void {
    const write = this.#writes.get(value);
    check(write !== undefined, () => `${value} acknowledged, but no client wrote it`);
    check(this.#log.placeOf(value) !== undefined, () => `${value} acknowledged, but no node has it in its log`);
    write.ackedAt = Math.min(write.ackedAt, at);
    this.#acked += 1;
  }

  read(read: Read): void {
    this.#reads.push(read);
  }

  /** A server is opened for clients in `epoch`: everything the log holds before its election must be in it. */
  opens(server: string, epoch: number, executed: Readonly<{ has(gtid: string): boolean }>): void {
    const elected = this.#log.electionOf(epoch);
    check(elected !== undefined, () => `${server} opens for epoch ${epoch}, which no node has in its log`);
    for (const { gtid, instance } of this.#log.transactions) {
      if (instance > elected) break;
      check(executed.has(gtid), () => `${server} opens for epoch ${epoch} without ${gtid}, logged before its election`);
    }
  }

  /** The whole history against the order of the log. */
  verify(): void {
    const orders = new Map<string, Write[]>();
    for (const { gtid, writes } of this.#log.transactions) {
      for (const [key, value] of Object.entries(writes)) {
        if (!key.startsWith(CLIENT_KEY)) continue;
        const write = this.#writes.get(value);
        check(write?.key === key, () => `${gtid} in the log writes ${key} = ${value}, which no client wrote`);
        const order = orders.get(key) ?? [];
        order.push(write as Write);
        orders.set(key, order);
      }
    }
    for (const { value, ackedAt, by } of this.#writes.values()) {
      if (ackedAt < Number.POSITIVE_INFINITY) {
        check(this.#log.placeOf(value) !== undefined, () => `acknowledged write ${value} of ${by} is lost`);
      }
    }
    for (const [key, order] of orders) this.#verifyKey(key, order);
    for (const { key, value, by } of this.#reads) {
      if (value === null) continue;
      check(this.#log.placeOf(value) !== undefined, () => `${by} read ${key} = ${value}, which is not in the log`);
    }
  }

  #verifyKey(key: string, order: readonly Write[]): void {
    // Nothing acknowledged before another was begun comes after it.
    let latestInvoked = Number.NEGATIVE_INFINITY;
    for (const write of order) {
      check(write.ackedAt >= latestInvoked, () => `write ${write.value} of ${key} is in the log behind a later one`);
      latestInvoked = Math.max(latestInvoked, write.invokedAt);
    }
    const placeOf = new Map(order.map((write, place) => [write.value, place]));
    const reads = this.#reads.filter((read) => read.key === key).sort((a, b) => a.invokedAt - b.invokedAt);
    const place = (read: Read): number => (read.value === null ? -1 : (placeOf.get(read.value) ?? Number.NaN));
    const returned = [...reads].sort((a, b) => a.returnedAt - b.returnedAt);
    const acked = order.map((write, at) => ({ write, at })).sort((a, b) => a.write.ackedAt - b.write.ackedAt);
    let seen = -1;
    let seenBy = 'nobody';
    let r = 0;
    let w = 0;
    for (const read of reads) {
      for (; (returned[r]?.returnedAt ?? Number.POSITIVE_INFINITY) < read.invokedAt; r += 1) {
        const earlier = returned[r] as Read;
        if (place(earlier) > seen)
          [seen, seenBy] = [place(earlier), `a read by ${earlier.by} at ${earlier.returnedAt}`];
      }
      for (; (acked[w]?.write.ackedAt ?? Number.POSITIVE_INFINITY) < read.invokedAt; w += 1) {
        const { write, at } = acked[w] as { write: Write; at: number };
        if (at > seen) [seen, seenBy] = [at, `write ${write.value}, acknowledged at ${write.ackedAt}`];
      }
      check(
        !(place(read) < seen),
        () =>
          `stale read: ${read.by} read ${key} = ${read.value} from ${read.invokedAt} to ${read.returnedAt}, after ${seenBy}`,
      );
      const written = read.value === null ? undefined : this.#writes.get(read.value);
      check(
        written === undefined || written.invokedAt <= read.returnedAt,
        () => `${read.by} read ${key} = ${read.value} before it was written`,
      );
    }
  }
}
