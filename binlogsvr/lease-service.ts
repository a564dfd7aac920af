import { epochOf, type InstanceId, instanceId, type NodeId, nodeId } from '../base/brands.ts';
import { type ErrorCode, PhxError } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { Outcome } from '../proto/binlogsvr-types.ts';
import { isElectable, memberAt } from './membership.ts';
import { seriesObjection } from './mysql-series.ts';
import type { Replica } from './replica.ts';
import type { Applied } from './state-types.ts';
import type { LogValue } from './values.ts';

/**
 * What an agent may ask for concerning lease and elections. Each answers with an Outcome where nothing was, or can any
 * more be, changed by the request; it throws where the outcome is unknown (TIMEOUT, UNAVAILABLE).
 */
export class LeaseService {
  readonly #replica: Replica;
  readonly #self: NodeId;
  readonly #clock: Clock;
  #renewing: Readonly<{ epoch: number; outcome: Promise<Outcome> }> | null = null;

  constructor(replica: Replica, self: NodeId, clock: Clock) {
    this.#replica = replica;
    this.#self = self;
    this.#clock = clock;
  }

  baseline(gtidSet: string, timeoutMs: number): Promise<Outcome> {
    return this.#decide(timeoutMs, async (left) => {
      const set = GtidSet.parse(gtidSet).toString();
      const replica = this.#replica;
      if (replica.state.baseline !== null) throw new PhxError('NOT_SUCCESSOR', 'the log has its baseline already');
      await replica.lead(left());
      if (replica.state.baseline !== null) throw new PhxError('NOT_SUCCESSOR', 'the log has its baseline already');
      return { kind: 'baseline', node: this.#self, gtidSet: set, members: replica.founders };
    });
  }

  stand(gtidExecuted: string, basedOnEpoch: number, timeoutMs: number): Promise<Outcome> {
    return this.#decide(timeoutMs, async (left) => {
      const executed = GtidSet.parse(gtidExecuted);
      const replica = this.#replica;
      const check = (): void => {
        const { baseline, epoch, open, master } = replica.state;
        if (baseline === null) throw new PhxError('NOT_EXECUTED', 'the log has no baseline yet');
        const seat = memberAt(replica.state, this.#self);
        if (seat !== undefined && !isElectable(seat)) {
          throw new PhxError(
            'MEMBER_REFUSED',
            `this node is ${seat.kind ?? 'a voter that is never elected, by its rule'}`,
          );
        }
        const newer = seriesObjection(replica.hello().runs, replica.state, replica.membership.connected);
        if (newer !== null) throw new PhxError('MEMBER_REFUSED', newer);
        if (epoch !== basedOnEpoch) throw new PhxError('WRONG_EPOCH', `epoch is ${epoch}, not ${basedOnEpoch}`);
        if (open) throw new PhxError('WRONG_EPOCH', `epoch ${epoch} of node ${master} is open: fence it first`);
      };
      check();
      await replica.lead(left());
      check();
      const { gtidSet, appliedIndex: executedUpTo } = replica.state;
      if (!executed.equals(gtidSet) && ruleHolds('stand-needs-all-executed')) {
        throw new PhxError('NOT_EXECUTED', `executed ${executed}, the log holds ${gtidSet}`);
      }
      const { incarnation } = replica;
      return { kind: 'elect', node: this.#self, basedOnEpoch: epochOf(basedOnEpoch), executedUpTo, incarnation };
    });
  }

  /** Renewals asked for while one is under way share its outcome. */
  renew(epoch: number, timeoutMs: number): Promise<Outcome> {
    if (this.#renewing?.epoch === epoch) return this.#renewing.outcome;
    const outcome = this.#decide(timeoutMs, async (left) => {
      const { state, leading, incarnation } = this.#replica;
      this.#assertMaster(epoch);
      // Who was made master by a transfer has not led yet, and holds no lease before this.
      if (!leading && state.renewal === 0) {
        await this.#replica.lead(left());
        this.#assertMaster(epoch);
      } else if (!leading) throw new PhxError('NOT_LEADER', 'this node is not the proposer at the moment');
      return { kind: 'renew', epoch: state.epoch, renewal: this.#replica.state.renewal + 1, incarnation };
    }).finally(() => {
      this.#renewing = null;
    });
    this.#renewing = { epoch, outcome };
    return outcome;
  }

  fence(epoch: number, release: boolean, timeoutMs: number): Promise<Outcome> {
    return this.#decide(timeoutMs, async (left) => {
      const replica = this.#replica;
      const check = (): void => {
        const { state } = replica;
        if (state.epoch !== epoch) throw new PhxError('WRONG_EPOCH', `epoch is ${state.epoch}, not ${epoch}`);
        if (!state.open) return;
        if (release) this.#assertMaster(epoch);
        else if (replica.takeoverInMs > 0) {
          const left = Math.ceil(replica.takeoverInMs);
          throw new PhxError('LEASE_RUNS', `the lease of node ${state.master} runs for up to ${left} ms`);
        }
      };
      check();
      if (!replica.state.open) return null;
      // From here on this node states no lease, even if the Fence gets lost: the caller has closed its mysqld.
      if (release) replica.releaseLease(epoch);
      await replica.lead(left());
      check();
      const { open, renewal } = replica.state;
      if (!open) return null;
      return { kind: 'fence', epoch: epochOf(epoch), basedOnRenewal: renewal, by: this.#self, release };
    });
  }

  /**
   * The holder makes `to` master, which is known to have executed everything up to `executedUpTo` (an applied index). Only
   * after every session on the local mysqld is closed and none can be opened: once it is proposed this node states no lease,
   * whatever becomes of it (protocol-findings 7). A refusal comes before that, and nothing was done; from then on all that is
   * not accepted is thrown, and the epoch can only be released.
   */
  async transfer(epoch: number, to: number, executedUpTo: number, timeoutMs: number): Promise<Outcome> {
    const replica = this.#replica;
    let proposed = false;
    const outcome = await this.#decide(timeoutMs, async (left) => {
      const check = (): void => {
        this.#assertMaster(epoch);
        const seat = memberAt(replica.state, to);
        if (seat === undefined || !isElectable(seat) || to === this.#self) {
          throw new PhxError(
            'MEMBER_REFUSED',
            `node ${to} cannot take over: it is no other member that may be elected`,
          );
        }
        const { lastTransactionIndex } = replica.state;
        if (executedUpTo < lastTransactionIndex) {
          throw new PhxError('NOT_EXECUTED', `node ${to} has executed ${executedUpTo} of ${lastTransactionIndex}`);
        }
      };
      check();
      await replica.lead(left());
      check();
      proposed = true;
      replica.releaseLease(epoch);
      return { kind: 'transfer', epoch: epochOf(epoch), to: nodeId(to), executedUpTo: instanceId(executedUpTo) };
    });
    if (outcome.accepted || !proposed) return outcome;
    throw new PhxError('UNAVAILABLE', `transfer: the lease is given up, and the log refused it: ${outcome.reason}`);
  }

  #assertMaster(epoch: number): void {
    const { state } = this.#replica;
    if (state.epoch !== epoch || state.master !== this.#self || !state.open) {
      const what = state.open ? `epoch ${state.epoch} of node ${state.master}` : `no epoch (${state.epoch} is closed)`;
      throw new PhxError('WRONG_EPOCH', `epoch ${epoch} is not this node's: open is ${what}`);
    }
  }

  /** `choose` says what to propose; null: what was wanted is so already. */
  async #decide(timeoutMs: number, choose: (left: () => number) => Promise<LogValue | null>): Promise<Outcome> {
    const until = this.#clock.now() + timeoutMs;
    const left = (): number => Math.max(0, until - this.#clock.now());
    try {
      const value = await choose(left);
      if (value === null) return this.#outcome(true, null, 'already so', this.#replica.state.appliedIndex);
      return this.appliedOutcome(await this.#replica.propose(value, 'lease', left()));
    } catch (error) {
      return this.refusal(error);
    }
  }

  appliedOutcome(applied: Applied): Outcome {
    return this.#outcome(applied.accepted, applied.code, applied.reason, applied.instance);
  }

  /** A definite refusal as an Outcome; anything else is thrown on. */
  refusal(error: unknown): Outcome {
    if (!(error instanceof PhxError) || !REFUSALS.has(error.code)) throw error;
    return this.#outcome(false, error.code, error.message, 0 as InstanceId);
  }

  #outcome(accepted: boolean, code: ErrorCode | null, reason: string, instance: InstanceId): Outcome {
    const { epoch, appendSeq } = this.#replica.state;
    return { accepted, code: accepted ? '' : (code ?? ''), reason, instance, epoch, appendSeq };
  }
}

/** After these nothing was changed, and nothing will be. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'WRONG_EPOCH',
  'NOT_SUCCESSOR',
  'NOT_EXECUTED',
  'MEMBER_REFUSED',
  'LEASE_RUNS',
  'NOT_LEADER',
  'NO_QUORUM',
  'BUSY',
  'TOO_LARGE',
  'GTID_INVALID',
]);
