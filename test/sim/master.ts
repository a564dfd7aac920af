import { crc32 } from 'node:zlib';
import { delay } from '../../base/async.ts';
import { epochOf, type InstanceId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import type { Replica } from '../../binlogsvr/replica.ts';
import { apply, initialState } from '../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../binlogsvr/state-types.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import type { AgentReport, View } from '../../proto/binlogsvr-types.ts';
import { replicaReport } from '../support/agent-report.ts';
import type { History } from './checkers/history.ts';
import { check, type Writes } from './checkers/log.ts';
import type { Kernel } from './kernel.ts';
import type { SimProcess } from './process.ts';
import type { Server, SimBinlogsvrClient } from './rpc.ts';
import type { Tally } from './tally.ts';

const KEYS = 3;
const READ_BYTES = 64 * 1024;
const CALL_MS = 1500;
const REPORT_MS = 300;
const DRAIN_MS = 400;

const REPORT = replicaReport();

/** The "events" of a scripted transaction: `key=value`. */
export function decodeScripted(events: Uint8Array): Writes {
  const [key, value] = Buffer.from(events).toString().split('=') as [string, string];
  return { [key]: value };
}

/** What survives the script's process: the data of its "mysqld". */
export class ScriptedData {
  readonly values = new Map<string, string>();
  readonly executed = new Set<string>();
  set: GtidSet = GtidSet.EMPTY;
  /** How far the log was read. */
  walk: ReplicatedState = initialState();

  empty(): void {
    this.values.clear();
    this.executed.clear();
    this.set = GtidSet.EMPTY;
    this.walk = initialState();
  }

  /** Becomes a copy of another's: a clone. */
  copy({ values, executed, set, walk }: ScriptedData): void {
    this.empty();
    for (const [key, value] of values) this.values.set(key, value);
    for (const gtid of executed) this.executed.add(gtid);
    this.set = set;
    this.walk = walk;
  }

  execute(gtid: string, key: string, value: string): void {
    if (this.executed.has(gtid)) return;
    this.executed.add(gtid);
    this.set = this.set.add(gtid);
    this.values.set(key, value);
  }
}

export type MasterOptions = Readonly<{
  kernel: Kernel;
  node: number;
  process: SimProcess;
  client: SimBinlogsvrClient;
  server: () => Server | null;
  data: ScriptedData;
  history: History;
  lease: LeaseTimes;
  random: Prng;
  tally: Tally;
  /** Unique in the world, for GTIDs and values. */
  unique: () => number;
  /** Ms between writes, reads of clients, and between looks at the log. */
  pace: Readonly<{ writeMs: number; readMs: number; executeMs: number }>;
  /** Tells its binlogsvr how far it is, as an agent does. */
  reports: boolean;
  /** What the other nodes' "mysqlds" hold. */
  others: () => readonly ScriptedData[];
  /** What it lacks may have been purged everywhere. */
  mayLack: () => boolean;
}>;

/**
 * Stands for agent, sync and mysqld in the world that tests the log alone: executes what the log holds, stands when nobody is
 * master, renews and appends while it is; and for the clients and the proxy of its node.
 */
export class ScriptedMaster {
  readonly #o: MasterOptions;
  #view: View | null = null;
  /** Epoch it is master of, 0 = none. */
  #epoch = 0;
  /** Nobody is let in any more, for a hand-over; a write is under way. */
  #closed = false;
  #writing = false;
  /** The epoch this very process agreed to take over from; what it wins by that is the next. */
  #agreed = 0;
  /** The last order to hand over, and why it was undone. */
  #handedOver = { id: 0, undone: '' };
  #tenureUuid = '';
  #gno = 0;

  constructor(options: MasterOptions) {
    this.#o = options;
  }

  /** Never ends but with its process. */
  run(): void {
    void this.#watch();
    void this.#decide();
    void this.#execute();
    void this.#read();
    if (this.#o.reports) void this.#report();
  }

  async #watch(): Promise<void> {
    const { client, process } = this.#o;
    for (;;) {
      try {
        for await (const view of client.subscribe(new AbortController().signal)) {
          this.#view = view;
          const asked = view.membership?.takesOver ?? 0;
          if (asked === 0 || asked === this.#agreed || this.#epoch !== 0 || !this.#isElectable(view)) continue;
          this.#agreed = asked;
          void this.#tell();
        }
      } catch {
        this.#view = null;
      }
      await delay(process.clock, 20);
    }
  }

  async #decide(): Promise<void> {
    const { process, client, node, data, random, tally } = this.#o;
    for (;;) {
      await delay(process.clock, 20 + random.below(20));
      const view = this.#view;
      if (view === null || !view.voting) continue;
      try {
        if (this.#epoch !== 0) {
          const { handOverTo: to = 0, handOverId: id = 0 } = view.membership ?? {};
          if (view.epoch > this.#epoch || (view.epoch === this.#epoch && !view.open)) this.#stepDown('the view');
          else if (to !== 0 && id !== this.#handedOver.id) await this.#handOver(id, to);
        } else if (!view.baseline) {
          await delay(process.clock, node * 40);
          if (this.#view?.baseline === false) await client.baseline('', CALL_MS);
        } else if (view.open && view.master === node && this.#takesOver(view)) {
          tally.add('mastership taken over');
          this.#becomeMaster(view.epoch);
        } else if (view.open && view.master === node) {
          await client.fence(view.epoch, true, CALL_MS);
        } else if (view.open && view.takeoverDue) {
          await client.fence(view.epoch, false, CALL_MS);
        } else if (!view.open && this.#mayStand(view)) {
          await delay(process.clock, random.below(60));
          const outcome = await client.stand(data.set.toString(), view.epoch, CALL_MS);
          if (outcome.accepted && outcome.epoch === view.epoch + 1) this.#becomeMaster(outcome.epoch);
        }
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
        await delay(process.clock, 30);
      }
    }
  }

  /** The order of the agent's: closed, nothing under way any more, transfer; undone, or given back if nobody can tell. */
  async #handOver(id: number, to: number): Promise<void> {
    const { client, tally, process } = this.#o;
    const epoch = this.#epoch;
    this.#handedOver = { id, undone: '' };
    this.#closed = true;
    const until = process.clock.now() + DRAIN_MS;
    while (this.#writing && process.clock.now() < until) await delay(process.clock, 5);
    try {
      const refusal = this.#writing ? 'a write is under way' : await this.#transfer(epoch, to);
      if (refusal === '') {
        tally.add('mastership handed over');
        this.#stepDown(`handed over to node ${to}`);
        return;
      }
      this.#handedOver = { id, undone: refusal };
      this.#closed = false;
      await this.#tell();
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
      this.#stepDown(`gives back what it may have handed over: ${error.message}`);
      await client.fence(epoch, true, CALL_MS);
    }
  }

  /** '' if it was accepted. */
  async #transfer(epoch: number, to: number): Promise<string> {
    const { accepted, reason } = await this.#o.client.transfer(epoch, to, CALL_MS);
    return accepted ? '' : reason;
  }

  /** The log gave it the epoch it had agreed to take over, and it has executed everything. */
  #takesOver(view: View): boolean {
    return this.#agreed !== 0 && this.#agreed === view.epoch - 1 && this.#o.data.set.toString() === view.gtidSet;
  }

  #isElectable({ membership }: View): boolean {
    const { standRefusal = '', standInMs = 0 } = membership ?? {};
    return standRefusal === '' && standInMs <= 0;
  }

  /** A careless one also stands without having executed all: the log has to refuse it. */
  #mayStand(view: View): boolean {
    if (!this.#isElectable(view)) return false;
    return this.#o.random.chance(1, 20) || this.#o.data.set.toString() === view.gtidSet;
  }

  #becomeMaster(epoch: number): void {
    const { kernel, node, data, history, unique, tally, process } = this.#o;
    kernel.trace(process.name, () => `is master of epoch ${epoch}`);
    tally.add('mastership');
    history.opens(`node ${node}`, epoch, data.executed);
    this.#epoch = epoch;
    this.#closed = false;
    this.#tenureUuid = `00000000-0000-0000-0000-${unique().toString(16).padStart(12, '0')}`;
    this.#gno = 0;
    void this.#renew(epoch);
    void this.#write(epoch);
  }

  #stepDown(why: string): void {
    const { kernel, process } = this.#o;
    kernel.trace(process.name, () => `is master of epoch ${this.#epoch} no more: ${why}`);
    this.#epoch = 0;
  }

  async #renew(epoch: number): Promise<void> {
    const { client, process, lease } = this.#o;
    while (this.#epoch === epoch) {
      await delay(process.clock, lease.renewMs);
      if (this.#epoch !== epoch) return;
      try {
        const outcome = await client.renew(epoch, lease.leaseMs);
        if (outcome.code === 'WRONG_EPOCH' && this.#epoch === epoch) this.#stepDown('renewal refused');
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
      }
    }
  }

  /** One client after another, as many as the pace allows; an append of unknown outcome is settled before the next. */
  async #write(epoch: number): Promise<void> {
    const { kernel, node, client, process, history, random, unique, data, pace } = this.#o;
    let follows = -1;
    if (random.chance(1, 4)) void this.#zombie(epoch);
    while (this.#epoch === epoch) {
      await delay(process.clock, random.below(2 * pace.writeMs));
      if (this.#epoch !== epoch) return;
      if (this.#closed) continue;
      this.#writing = true;
      this.#gno += 1;
      const gtid = `${this.#tenureUuid}:${this.#gno}`;
      const key = `k${random.below(KEYS)}`;
      const value = `v${unique()}`;
      const events = Buffer.from(`${key}=${value}`);
      const crc = crc32(events);
      history.invoke({ key, value, by: `node ${node}` }, kernel.now);
      while (this.#epoch === epoch) {
        try {
          if (follows < 0) {
            const state = await this.#settled(epoch);
            if (state === null) {
              await delay(process.clock, 50);
              continue;
            }
            follows = state.appendSeq;
            if (state.gtidSet.contains(gtid)) {
              this.#committed(gtid, key, value);
              break;
            }
          }
          const items = [{ kind: 'part', gtid, first: true, last: true, crc, events } as const];
          const outcome = await client.propose({ kind: 'append', epoch: epochOf(epoch), follows, items }, CALL_MS);
          if (outcome.accepted) {
            follows += 1;
            this.#committed(gtid, key, value);
            break;
          }
          if (outcome.code === 'WRONG_EPOCH' && this.#epoch === epoch) this.#stepDown('append refused');
        } catch (error) {
          if (!(error instanceof PhxError)) throw error;
        }
        follows = -1;
        await delay(process.clock, 10);
      }
      this.#writing = false;
      if (data.executed.size > 1_000_000) return;
    }
  }

  /** What is left of an earlier tenure still appends, where the log is: only its epoch is old, and the log has to refuse it. */
  async #zombie(epoch: number): Promise<void> {
    const { client, server, unique } = this.#o;
    const state = server()?.services.replica.state;
    if (state === undefined || epoch < 2) return;
    const events = Buffer.from(`kz=nobody's ${unique()}`);
    const gtid = `00000000-0000-0000-0000-${unique().toString(16).padStart(12, '0')}:1`;
    const items = [{ kind: 'part', gtid, first: true, last: true, crc: crc32(events), events } as const];
    try {
      await client.propose({ kind: 'append', epoch: epochOf(epoch - 1), follows: state.appendSeq, items }, CALL_MS);
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
    }
  }

  /** The state after everything this node proposed before was applied, or null. */
  async #settled(epoch: number): Promise<ReplicatedState | null> {
    const { client, server } = this.#o;
    await client.barrier(CALL_MS);
    const state = server()?.services.replica.state;
    return state?.epoch === epoch && state.open ? state : null;
  }

  /** The engine commits, then the client hears of it. */
  #committed(gtid: string, key: string, value: string): void {
    const { kernel, data, history, tally } = this.#o;
    data.execute(gtid, key, value);
    history.ack(value, kernel.now);
    tally.add('write acknowledged');
  }

  /** The replica's applier: reads the log of its own binlogsvr, at its own pace. */
  async #execute(): Promise<void> {
    const { process, server, data, pace, random, kernel } = this.#o;
    for (;;) {
      await delay(process.clock, random.below(2 * pace.executeMs));
      const replica = server()?.services.replica;
      if (replica === undefined) continue;
      const from = (data.walk.appliedIndex + 1) as InstanceId;
      let entries: Awaited<ReturnType<typeof replica.readLog>>;
      try {
        entries = await this.#within(() => replica.readLog(from, READ_BYTES));
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
        if (error.code === 'PURGED') await this.#reposition(replica);
        continue;
      }
      for (const { instance, value } of entries) {
        const { state, applied } = apply(data.walk, instance, value);
        data.walk = state;
        if (!applied.accepted || value.kind !== 'append') continue;
        for (const item of value.items) {
          if (item.kind !== 'part') continue;
          for (const [key, written] of Object.entries(decodeScripted(item.events)))
            data.execute(item.gtid, key, written);
        }
      }
      if (entries.length > 0 && this.#agreed !== 0) void this.#tell();
      if (entries.length > 0) kernel.trace(process.name, () => `executed up to ${data.walk.appliedIndex}`);
    }
  }

  /** An answer of its binlogsvr, given up after a while: then it asks the next one. */
  #within<T>(answer: () => Promise<T>): Promise<T> {
    const { process } = this.#o;
    return new Promise<T>((resolve, reject) => {
      process.clock.after(500, () => reject(new PhxError('TIMEOUT', 'read the log')));
      // It is handed to this very process: one that died meanwhile must not write into what the next one has.
      answer().then(
        (found) => process.deliver(() => resolve(found)),
        (error: unknown) => process.deliver(() => reject(error)),
      );
    });
  }

  /** The log begins behind where it read last: goes on from what it has executed, or is cloned from another. */
  async #reposition(replica: Replica): Promise<void> {
    const { data, process, random, others, mayLack, node, tally } = this.#o;
    try {
      const { state } = await this.#within(() => replica.sampleFor(data.set));
      data.walk = state;
      return;
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
      if (error.code !== 'PURGED') return;
      check(mayLack(), () => `node ${node} still needs what was purged: ${error.message}`);
    }
    await process.io('clone', 20 + random.below(200), () => {
      const [donor] = [...others()].sort((a, b) => b.walk.appliedIndex - a.walk.appliedIndex);
      if (donor === undefined || donor.walk.appliedIndex <= data.walk.appliedIndex) return;
      tally.add('cloned');
      data.copy(donor);
    });
  }

  async #report(): Promise<void> {
    for (;;) {
      await delay(this.#o.process.clock, REPORT_MS);
      await this.#tell();
    }
  }

  /** What an agent would say now. */
  async #tell(): Promise<void> {
    const { client, data } = this.#o;
    const epoch = this.#epoch;
    const { id, undone } = this.#handedOver;
    const report: AgentReport = {
      ...REPORT,
      role: epoch === 0 ? 'replica' : 'master',
      epoch,
      gtidExecuted: data.set.toString(),
      takesOver: this.#agreed,
      undoneId: undone === '' ? 0 : id,
      undoneReason: undone,
    };
    try {
      await client.report(report, CALL_MS);
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
    }
  }

  /** A client of the RW port of this node: the lease is asked for after the answer has arrived (I5). */
  async #read(): Promise<void> {
    const { kernel, client, process, history, random, data, node, pace, tally } = this.#o;
    for (;;) {
      await delay(process.clock, random.below(2 * pace.readMs));
      const epoch = this.#epoch;
      if (epoch === 0 || this.#closed) continue;
      const key = `k${random.below(KEYS)}`;
      const invokedAt = kernel.now;
      await process.io('read a row', random.below(3), () => {});
      const value = data.values.get(key) ?? null;
      await process.io('send it', random.below(3), () => {});
      try {
        const lease = await client.lease(CALL_MS);
        if (lease.epoch !== epoch || lease.remainingMs <= 0 || this.#epoch !== epoch || this.#closed) continue;
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
        continue;
      }
      history.read({ key, value, invokedAt, returnedAt: kernel.now, by: `node ${node}` });
      tally.add('read answered');
    }
  }
}
