import { nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type {
  AgentReport,
  LeaseReply,
  MemberChange,
  MemberOutcome,
  NodeStatus,
  Outcome,
  SwitchoverOutcome,
  SyncStatus,
  View,
} from '../proto/binlogsvr-types.ts';
import { Candidates, candidacy } from './candidates.ts';
import { CatchUp } from './catch-up.ts';
import { CloneHold } from './clone-hold.ts';
import { ExecutedTracker } from './executed-tracker.ts';
import { flowStatus } from './flow-status.ts';
import { HandOver } from './hand-over.ts';
import { LeaseService } from './lease-service.ts';
import { memberStatus } from './membership.ts';
import { Standing } from './membership-view.ts';
import { seriesObjection } from './mysql-series.ts';
import { needsClone } from './needs-clone.ts';
import { Replica } from './replica.ts';
import type { ReplicaOptions } from './replica-options.ts';
import { RowTotals } from './row-totals.ts';
import type { ReplicatedState } from './state-types.ts';
import { Succession } from './succession.ts';
import { decodeValue } from './value-codec.ts';
import { wrapAppend } from './value-peek.ts';
import { buildView } from './view.ts';
import { ViewFeed } from './view-feed.ts';

/** An append not applied within this is answered TIMEOUT: its outcome is unknown. */
const APPEND_MS = 5000;

/** What the process around it knows for status. */
export type ProcessFacts = Readonly<{ pid: number; version: string }>;

/**
 * Everything one binlogsvr answers, without the wire: the replica, the lease, how far the local MySQL is, the view made of
 * all that. The gRPC shell (binlogsvr.ts) and the simulator put their own transport, store and calls around it.
 */
export class NodeServices {
  readonly replica: Replica;
  readonly lease: LeaseService;
  readonly feed: ViewFeed;
  /** The dump server counts into it what it sends to mysqld. */
  readonly rowTotals = new RowTotals();
  readonly #node: ReplicaOptions['self'];
  readonly #runs: ReplicaOptions['runs'];
  readonly #takeoverMs: number;
  readonly #clock: Clock;
  readonly #process: ProcessFacts;
  readonly #startedAt: number;
  readonly #tracker: ExecutedTracker;
  readonly #standing: Standing;
  readonly #succession: Succession;
  readonly #handOver: HandOver;
  readonly #cloneHold: CloneHold;
  readonly #candidates: Candidates;
  readonly #catchUp = new CatchUp();
  #catchUpMs: number | null = null;
  readonly #reportListeners = new Set<(report: AgentReport) => void>();
  #report: Readonly<{ report: AgentReport; atMs: number }> | null = null;
  #executed = GtidSet.EMPTY;
  #sync: SyncStatus | null = null;
  #turns: NonNullable<AgentReport['turns']> = [];
  #pidsJson = '';

  private constructor(replica: Replica, options: ReplicaOptions, process: ProcessFacts, startedAt: number) {
    const { clock, self, transport, log } = options;
    this.replica = replica;
    this.#node = self;
    this.#runs = options.runs;
    this.#takeoverMs = options.lease.takeoverMs;
    this.#clock = clock;
    this.#process = process;
    this.#startedAt = startedAt;
    this.lease = new LeaseService(replica, self, clock);
    this.#tracker = new ExecutedTracker(replica.state, clock.now());
    this.#standing = new Standing(clock);
    const state = (): ReplicatedState => replica.state;
    const agent = (): AgentReport | null => (this.view().agentAlive ? this.agentReport : null);
    this.#succession = new Succession({
      self,
      clock,
      state,
      send: (to, message) => transport.send(to, message),
      agent,
      executed: () => this.#tracker.executedIndex,
      lagMs: () => this.#lagMs(),
      changed: () => this.feed.touch(),
    });
    this.#handOver = new HandOver({
      self,
      clock,
      log,
      state,
      agent,
      chosenUpTo: () => replica.chosenIndex,
      peer: (node, storeId) => {
        const peer = replica.peers().find((each) => each.node === node && each.storeId === storeId);
        return { connected: peer?.connected ?? false, chosenUpTo: peer?.chosenIndex ?? 0 };
      },
      succession: this.#succession,
      orders: {
        handOver: (to, epoch, id) => {
          this.#standing.handOver(to, epoch, id);
          this.feed.touch();
        },
        withdraw: (id) => {
          this.#standing.withdraw(id);
          this.feed.touch();
        },
      },
    });
    replica.membership.handOver = (to, timeoutMs) => this.#handOver.leave(to, timeoutMs);
    replica.events.onSuccession((from, message) => this.#succession.heard(from, message));
    this.#cloneHold = new CloneHold(replica.keeping.purger, log);
    this.#candidates = new Candidates({
      self,
      clock,
      state,
      send: (to, message) => transport.send(to, message),
      own: () => ({
        executed: this.#tracker.executedIndex,
        catchUpMs: this.#catchUpMs,
        refusal: candidacy(this.view()),
      }),
    });
    replica.events.onProgress((from, message) => this.#candidates.heard(from, message));
    this.feed = new ViewFeed(clock, () => this.view());
    replica.onApplied((applied, state) => {
      this.#tracker.applied(applied, state, clock.now());
      this.#candidates.applied(applied);
    });
    replica.events.onInstalled((state) => this.#tracker.installed(state, clock.now()));
    replica.events.onChange(() => {
      this.feed.touch();
      this.#succession.poke();
    });
  }

  static async open(options: ReplicaOptions, process: ProcessFacts): Promise<NodeServices> {
    const startedAt = options.clock.now();
    return new NodeServices(await Replica.open(options), options, process, startedAt);
  }

  view(): View {
    const { replica } = this;
    return buildView({
      node: this.#node,
      state: replica.state,
      chosenIndex: replica.chosenIndex,
      leading: replica.leading,
      quorum: replica.quorum,
      mayVote: replica.mayVote,
      votingReason: replica.votingReason,
      takeoverInMs: replica.takeoverInMs,
      leaseRemainingMs: replica.leaseRemainingMs,
      report: this.#report,
      sync: this.#sync,
      lagMs: this.#lagMs(),
      needsClone: needsClone(this.#report?.report ?? null, this.#executed, replica.purged),
      purged: replica.purged,
      membership: this.#standing.view({
        self: this.#node,
        state: replica.state,
        takeoverInMs: replica.takeoverInMs,
        removed: replica.removal.self,
        takesOver: this.#succession.takesOver,
        seriesObjection: seriesObjection(this.#runs, replica.state, replica.membership.connected),
        isUp: (node, storeId) =>
          replica.peers().some((peer) => peer.node === node && peer.connected && peer.storeId === storeId),
      }),
      nowMs: this.#clock.now(),
    });
  }

  /** @throws PhxError TIMEOUT, UNAVAILABLE: unknown what became of it */
  finalizeUpgrade(timeoutMs: number): Promise<MemberOutcome> {
    return this.replica.membership.finalizeUpgrade(this.#runs, timeoutMs);
  }

  /** @throws PhxError TIMEOUT: unknown what became of it, the status tells */
  switchover(to: number, timeoutMs: number): Promise<SwitchoverOutcome> {
    return this.#handOver.switchover(to, timeoutMs);
  }

  /** As LeaseService.transfer, once `to` has executed all there is. */
  async transfer(epoch: number, to: number, timeoutMs: number): Promise<Outcome> {
    const until = this.#clock.now() + timeoutMs;
    let executedUpTo: number;
    try {
      executedUpTo = await this.#succession.executedAll(nodeId(to), epoch, timeoutMs / 2);
    } catch (error) {
      return this.lease.refusal(error);
    }
    return this.lease.transfer(epoch, to, executedUpTo, until - this.#clock.now());
  }

  /** @throws PhxError MEMBER_REFUSED on a change there is none of; TIMEOUT, UNAVAILABLE: unknown what became of it */
  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberOutcome> {
    const { membership } = this.replica;
    const node = nodeId(change.node);
    switch (change.change) {
      case 'add':
        return membership.add(node, change.kind, change.election, timeoutMs);
      case 'remove':
        return membership.remove(node, timeoutMs);
      case 'replace':
        return membership.replace(node, nodeId(change.by), timeoutMs);
      case 'setElection':
        return membership.setElection(node, change.election, timeoutMs);
      default:
        change satisfies never;
        throw new PhxError(
          'MEMBER_REFUSED',
          'change members: unknown change, ask for add, remove, replace or setElection',
        );
    }
  }

  status(): NodeStatus {
    return {
      view: this.view(),
      executedIndex: this.#copying ? 0 : this.#tracker.executedIndex,
      lagMs: this.#lagMs(),
      members: this.replica.state.members.map(memberStatus),
      configVersion: this.replica.state.configVersion,
      turns: this.#turns,
      peers: this.replica.peers(),
      pid: this.#process.pid,
      pidsJson: this.#pidsJson,
      version: this.#process.version,
      uptimeMs: this.#clock.now() - this.#startedAt,
      purge: this.replica.keeping.purger.status(),
      badValues: this.replica.keeping.repairs.status,
      flow: this.#isMaster ? flowStatus(this.#candidates.least(), this.#sync?.delayMs ?? 0, this.#takeoverMs) : null,
    };
  }

  /** How far behind the least-lagged node is that could take over from this master; null: there is none. */
  get candidateLagMs(): number | null {
    return this.#candidates.least()?.lagMs ?? null;
  }

  leaseReply(): LeaseReply {
    return { node: this.#node, epoch: this.replica.state.epoch, remainingMs: this.replica.leaseRemainingMs };
  }

  async barrier(timeoutMs: number): Promise<View> {
    await this.replica.barrier(timeoutMs);
    return this.view();
  }

  /** `value`: an encoded phxsql.log.Append. Throws where the outcome is unknown. */
  async append(value: Uint8Array): Promise<Outcome> {
    try {
      const bytes = wrapAppend(value);
      // A value that cannot be decoded must never get into the log.
      const decoded = decodeValue(bytes);
      if (decoded.kind !== 'append') throw new PhxError('TOO_LARGE', 'append: not an append');
      return this.lease.appliedOutcome(await this.replica.proposeBytes(bytes, 'data', APPEND_MS));
    } catch (error) {
      return this.lease.refusal(error);
    }
  }

  /** The agent says how its node is. @throws PhxError GTID_INVALID */
  report({ turns, ...report }: AgentReport): View {
    // A report that cannot be read must not look like an idle slave.
    const executed = GtidSet.parse(report.gtidExecuted);
    const cloneBase = report.cloneBase ?? '';
    const now = this.#clock.now();
    this.#report = { report, atMs: now };
    this.#turns = turns ?? [];
    // Of a copy that is under way this much is sure to arrive: what the log has to be kept for lies behind it.
    this.#tracker.executed(cloneBase === '' ? executed : GtidSet.parse(cloneBase), now);
    this.#executed = executed;
    const index = this.#tracker.executedIndex;
    this.replica.keeping.purger.executed(this.#tracker.lastingIndex);
    this.#cloneHold.report(cloneBase, index);
    for (const listener of this.#reportListeners) listener(report);
    this.#succession.reported();
    const applying = report.applying ?? null;
    const total = applying === null ? null : this.rowTotals.of(applying.gtid);
    this.#catchUpMs = this.#catchUp.look(applying, total, this.#lagMs(), this.#candidates.hasLargeBeyond(index));
    this.#candidates.reported();
    this.feed.touch();
    return this.view();
  }

  get agentReport(): AgentReport | null {
    return this.#report?.report ?? null;
  }

  onReport(listener: (report: AgentReport) => void): () => void {
    this.#reportListeners.add(listener);
    return () => this.#reportListeners.delete(listener);
  }

  setSyncStatus(status: SyncStatus): void {
    this.#sync = status;
    this.feed.touch();
  }

  /** A NodePids (base/ipc.ts) as JSON. */
  setPids(json: string): void {
    this.#pidsJson = json;
  }

  /** Stops and saves the applied state. Transport and store remain the caller's to close. */
  async close(): Promise<void> {
    this.feed.close();
    this.#succession.close();
    await this.replica.close();
  }

  get #isMaster(): boolean {
    const { open, master } = this.replica.state;
    return open && master === this.#node;
  }

  get #copying(): boolean {
    return (this.#report?.report.cloneBase ?? '') !== '';
  }

  /** A master executes before the log's answer is even back. */
  #lagMs(): number {
    return this.#report?.report.role === 'master' ? 0 : this.#tracker.lagMs(this.#clock.now());
  }
}
