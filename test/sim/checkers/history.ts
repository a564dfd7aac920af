import { check, type LogChecker } from './log.ts';

type Write = {
  readonly gtid: string;
  readonly key: string;
  readonly value: string;
  readonly crc: number;
  readonly invokedAt: number;
  ackedAt: number;
};
type Read = Readonly<{ key: string; value: string | null; invokedAt: number; returnedAt: number; by: string }>;

/**
 * What clients did and were told, by true time. A write is named by its transaction; one that was not acknowledged may or may
 * not have happened. Each key is a register of unique values, so that the log's order of writes and real time decide.
 */
export class History {
  readonly #writes = new Map<string, Write>();
  readonly #byValue = new Map<string, Write>();
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

  invoke(write: Readonly<{ gtid: string; key: string; value: string; crc: number }>, at: number): void {
    const record = { ...write, invokedAt: at, ackedAt: Number.POSITIVE_INFINITY };
    this.#writes.set(write.gtid, record);
    this.#byValue.set(write.value, record);
  }

  /** The client was told that it is committed: some node must have applied it by now. */
  ack(gtid: string, at: number): void {
    const write = this.#writes.get(gtid);
    check(write !== undefined, () => `${gtid} acknowledged, but no client wrote it`);
    check(this.#log.orderOf(gtid) !== undefined, () => `${gtid} acknowledged, but no node has it in its log`);
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
    const log = this.#log.transactions;
    const orders = new Map<string, Write[]>();
    for (const { gtid, crc } of log) {
      const write = this.#writes.get(gtid);
      check(write !== undefined, () => `${gtid} is in the log, but no client wrote it`);
      check(write.crc === crc, () => `${gtid} is in the log with checksum ${crc}, its client wrote ${write.crc}`);
      const order = orders.get(write.key) ?? [];
      order.push(write);
      orders.set(write.key, order);
    }
    for (const { gtid, ackedAt } of this.#writes.values()) {
      if (ackedAt < Number.POSITIVE_INFINITY) {
        check(this.#log.orderOf(gtid) !== undefined, () => `acknowledged ${gtid} is lost`);
      }
    }
    for (const [key, order] of orders) this.#verifyKey(key, order);
    for (const read of this.#reads) {
      if (read.value === null) continue;
      const write = this.#byValue.get(read.value);
      check(
        write !== undefined && this.#log.orderOf(write.gtid) !== undefined,
        () => `${read.by} read ${read.key} = ${read.value}, which is not in the log`,
      );
    }
  }

  #verifyKey(key: string, order: readonly Write[]): void {
    // Nothing acknowledged before another was begun comes after it.
    let latestInvoked = Number.NEGATIVE_INFINITY;
    for (const write of order) {
      check(write.ackedAt >= latestInvoked, () => `${write.gtid} of ${key} is in the log behind a later write`);
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
      const written = read.value === null ? undefined : this.#byValue.get(read.value);
      check(
        written === undefined || written.invokedAt <= read.returnedAt,
        () => `${read.by} read ${key} = ${read.value} before it was written`,
      );
    }
  }
}
