import { INTERNAL_ACCOUNTS, internalPassword } from '../../../base/accounts.ts';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import type { Applied } from '../../../binlogsvr/state-types.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import type {
  AgentReport,
  BinlogsvrClient,
  LeaseReply,
  NodeStatus,
  Outcome,
  TailTransaction,
  View,
} from '../../../proto/binlogsvr-types.ts';
import { mysqldSource } from '../../../sync/mysqld-source.ts';
import { Sync } from '../../../sync/sync.ts';
import { MemoryLog } from '../../support/memory-log.ts';

/**
 * A binlogsvr without peers around the agent under test: the production state machine and sync, an in-memory log, and
 * switches for what the rest of a cluster would do.
 */
export class FakeBinlogsvr implements BinlogsvrClient {
  readonly address = 'fake';
  readonly log = new MemoryLog();
  readonly reports: AgentReport[] = [];
  readonly calls: string[] = [];
  /** false: whatever needs a majority is refused. */
  quorum = true;
  /** Pretends that this store has not heard of the newest transactions until a barrier. */
  behind = false;
  takeoverDue = false;
  /** The agent's last one. */
  lastReport: AgentReport | null = null;
  readonly #sync: Sync;
  readonly #node: number;
  readonly #crcs = new Map<string, number>();
  readonly #listeners = new Set<() => void>();

  constructor(node: number, clusterSecret: string) {
    this.#node = node;
    this.#sync = new Sync({
      serverId: 900_001,
      replicaUuid: '00000000-0000-0000-0000-0000000000aa',
      connect: mysqldSource({ user: INTERNAL_ACCOUNTS.sync, password: internalPassword(clusterSecret, 'sync') }),
      pid: process.pid,
      store: {
        settle: (epoch) => this.log.settle(epoch),
        append: async (epoch, follows, items) => {
          const result = await this.log.append(epoch, follows, items);
          this.#changed();
          return result;
        },
      },
      clock: systemClock,
      log: silentLogger,
      onStatus: () => this.#changed(),
    });
    const apply = this.log.apply.bind(this.log);
    this.log.apply = (value: LogValue): Applied => {
      const applied = apply(value);
      for (const { gtid, crc } of applied.transactions) this.#crcs.set(gtid, crc);
      return applied;
    };
  }

  get gtidSet(): string {
    return this.log.state.gtidSet.toString();
  }

  /** What another node says, applied. */
  say(value: LogValue): Applied {
    const applied = this.log.apply(value);
    this.#changed();
    return applied;
  }

  /** Another node closes the epoch and wins the next one. */
  electOther(node: number): void {
    const { epoch, renewal } = this.log.state;
    this.say({ kind: 'fence', epoch, basedOnRenewal: renewal, by: nodeId(node), release: false });
    const { appliedIndex } = this.log.state;
    this.say({ kind: 'elect', node: nodeId(node), basedOnEpoch: epoch, executedUpTo: appliedIndex });
  }

  fenceByOther(): void {
    const { epoch, renewal } = this.log.state;
    this.say({ kind: 'fence', epoch, basedOnRenewal: renewal, by: nodeId(2), release: false });
  }

  view(): View {
    const { state } = this.log;
    return {
      node: this.#node,
      epoch: state.epoch,
      master: state.master,
      open: state.open,
      renewal: state.renewal,
      appliedIndex: state.appliedIndex,
      chosenIndex: state.appliedIndex,
      appendSeq: state.appendSeq,
      gtidSet: state.gtidSet.toString(),
      baseline: state.baseline !== null,
      voting: true,
      votingReason: '',
      takeoverDue: this.takeoverDue && state.open && state.master !== this.#node,
      takeoverInMs: 0,
      leaseRemainingMs: state.open && state.master === this.#node ? 1000 : 0,
      leader: true,
      agent: this.lastReport,
      agentAlive: true,
      sync: this.#sync.status,
      quorum: this.quorum,
      lagMs: 0,
      needsClone: '',
    };
  }

  async baseline(gtidSet: string): Promise<Outcome> {
    return this.#propose('baseline', {
      kind: 'baseline',
      node: nodeId(this.#node),
      gtidSet,
      members: [
        { node: nodeId(this.#node), storeId: 'store' },
        { node: nodeId(2), storeId: 'other' },
      ],
    });
  }

  async stand(gtidExecuted: string, basedOnEpoch: number): Promise<Outcome> {
    const { state } = this.log;
    if (!GtidSet.parse(gtidExecuted).equals(state.gtidSet)) return this.#refused('NOT_EXECUTED');
    const value = { kind: 'elect', node: nodeId(this.#node), basedOnEpoch: epochOf(basedOnEpoch) } as const;
    return this.#propose('stand', { ...value, executedUpTo: state.appliedIndex });
  }

  async renew(epoch: number): Promise<Outcome> {
    return this.#propose('renew', { kind: 'renew', epoch: epochOf(epoch), renewal: this.log.state.renewal + 1 });
  }

  async fence(epoch: number, release: boolean): Promise<Outcome> {
    const by = nodeId(this.#node);
    const { renewal } = this.log.state;
    const what = release ? 'release' : 'fence';
    return this.#propose(what, { kind: 'fence', epoch: epochOf(epoch), basedOnRenewal: renewal, by, release });
  }

  async transfer(epoch: number, to: number): Promise<Outcome> {
    const executedUpTo = this.log.state.lastTransactionIndex;
    return this.#propose('transfer', { kind: 'transfer', epoch: epochOf(epoch), to: nodeId(to), executedUpTo });
  }

  async barrier(): Promise<View> {
    this.calls.push('barrier');
    this.#needQuorum();
    this.behind = false;
    return this.view();
  }

  async compareTail(transactions: Iterable<TailTransaction>): Promise<{ matching: number; reason: string }> {
    this.calls.push('compareTail');
    let matching = 0;
    for (const { gtid, crc, replicated } of transactions) {
      if (this.behind) return { matching, reason: 'pretends to be behind' };
      if (replicated ? !this.#crcs.has(gtid) : this.#crcs.get(gtid) !== crc)
        return { matching, reason: this.#crcs.has(gtid) ? 'other checksum' : '' };
      matching += 1;
    }
    return { matching, reason: '' };
  }

  async report(report: AgentReport): Promise<View> {
    this.lastReport = report;
    this.reports.push(report);
    this.#sync.aim({ epoch: report.attachEpoch, socketPath: report.mysqlSocket });
    return this.view();
  }

  async *subscribe(signal: AbortSignal): AsyncIterable<View> {
    while (!signal.aborted) {
      yield this.view();
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#listeners.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, 500);
        this.#listeners.add(done);
        signal.addEventListener('abort', done);
      });
    }
  }

  async lease(): Promise<LeaseReply> {
    return { node: this.#node, epoch: this.log.state.epoch, remainingMs: 1000 };
  }

  status(): Promise<NodeStatus> {
    return Promise.reject(new PhxError('UNAVAILABLE', 'no status here'));
  }

  appendStream(): never {
    throw new PhxError('UNAVAILABLE', 'no append stream here');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sync.close();
  }

  #needQuorum(): void {
    if (!this.quorum) throw new PhxError('NO_QUORUM', 'ask a majority: nobody else is there');
  }

  #propose(call: string, value: LogValue): Outcome {
    this.calls.push(call);
    this.#needQuorum();
    const applied = this.say(value);
    if (!applied.accepted) return this.#refused(applied.code ?? 'WRONG_EPOCH', applied.reason);
    return { ...this.#refused(''), accepted: true, instance: applied.instance };
  }

  #refused(code: string, reason = code): Outcome {
    const { epoch, appendSeq } = this.log.state;
    return { accepted: false, code, reason, instance: instanceId(0), epoch, appendSeq };
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
