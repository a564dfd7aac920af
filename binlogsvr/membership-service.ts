import type { NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { MemberOutcome } from '../proto/binlogsvr-types.ts';
import { kindOf, memberAt, memberOf, votersOf, votes, wasRemoved } from './membership.ts';
import { VoterChange, type VoterChangePort } from './membership-change.ts';
import { seriesToFinalize } from './mysql-series.ts';
import type { PeerHello, Software } from './peer-transport.ts';
import type { Applied, ReplicatedState } from './state-types.ts';
import { StoreReplacer } from './store-replacer.ts';
import { chooseSuccessor } from './successor.ts';
import type { ElectionRule, LogValue, Member } from './values.ts';

/** A newcomer has caught up once it gets what was chosen when it was asked within this. */
const ROUND_MS = 250;
/** It is asked how far it is this often. */
const ASK_MS = 50;
/** Those who want to join are looked at this often. */
const ADMIT_EVERY_MS = 500;
const ADMIT_MS = 2000;

export type MembershipPort = VoterChangePort &
  Readonly<{
    /** Of every connected peer. */
    hellos: () => readonly PeerHello[];
    /** @throws PhxError LEASE_RUNS, NO_QUORUM, TIMEOUT */
    lead: (timeoutMs: number) => Promise<void>;
  }>;

/** Begins to end this node's mastership in favour of `to`. It is over when the open epoch is not its own any more. */
export type HandOver = (to: NodeId, timeoutMs: number) => Promise<void>;

/**
 * Changes of who belongs to the cluster, made by whoever is the proposer, one at a time. What must never be is the apply
 * rule's to refuse (membership.ts); here is asked what only the living can answer: whether a newcomer has caught up,
 * whether those who stay are a working majority, and to whom a master that leaves hands over.
 *
 *   joining node ──connects──► learner ──add: rounds of catching up──► pipeline drained ──► voter
 */
export class Membership {
  readonly #p: MembershipPort;
  readonly #change: VoterChange;
  readonly #replacer: StoreReplacer;
  /** What is under way, in words. */
  #busy = '';
  #admitAt = 0;
  #handOver: HandOver | null = null;

  constructor(port: MembershipPort) {
    this.#p = port;
    this.#change = new VoterChange(port);
    this.#replacer = new StoreReplacer({ ...port, propose: port.proposeNow });
  }

  /** How a master that is asked to remove itself hands over; without one it refuses. */
  set handOver(handOver: HandOver) {
    this.#handOver = handOver;
  }

  /** Every connected peer's last hello. */
  get connected(): readonly PeerHello[] {
    return this.#p.hellos();
  }

  tick(now: number): void {
    if (this.#busy !== '') return;
    this.#replacer.tick(now);
    if (!this.#replacer.busy) this.#admit(now);
  }

  /** A learner, or a node that wants to join, becomes a voter once it has caught up. */
  add(node: NodeId, kind: 'voter' | 'witness', election: ElectionRule, timeoutMs: number): Promise<MemberOutcome> {
    return this.#one(`adding node ${node}`, timeoutMs, async (deadline) => {
      const seat = await this.#seated(node, deadline);
      if (votes(seat)) throw refused(`node ${node} is a ${kindOf(seat)} already`);
      const member = memberOf(seat, kind, election, seat.address);
      const value = (state: ReplicatedState): LogValue => ({
        kind: 'addMember',
        member,
        configVersion: state.configVersion,
      });
      await this.#caughtUp(seat, deadline);
      return this.#change.make(value, deadline);
    });
  }

  /** `node` leaves and `by` takes its seat, once that has caught up. A master hands over first, as in remove(). */
  replace(node: NodeId, by: NodeId, timeoutMs: number): Promise<MemberOutcome> {
    return this.#one(`replacing node ${node}`, timeoutMs, async (deadline) => {
      const old = memberAt(this.#p.state(), node);
      if (old === undefined) throw refused(`node ${node} is not a member`);
      const seat = await this.#seated(by, deadline);
      const member = memberOf(seat, kindOf(old), old.election ?? 'neutral', seat.address);
      await this.#caughtUp(seat, deadline);
      if (this.#isMaster(node)) await this.#leave(deadline);
      return this.#change.make(
        ({ configVersion }) => ({ kind: 'replaceMember', node, member, configVersion }),
        deadline,
      );
    });
  }

  /** The master hands over first; who asked then asks the new master to remove it. */
  remove(node: NodeId, timeoutMs: number): Promise<MemberOutcome> {
    return this.#one(`removing node ${node}`, timeoutMs, async (deadline) => {
      const value = ({ configVersion }: ReplicatedState): LogValue => ({ kind: 'removeMember', node, configVersion });
      if (this.#isMaster(node)) await this.#leave(deadline);
      return this.#change.make(value, deadline);
    });
  }

  setElection(node: NodeId, election: ElectionRule, timeoutMs: number): Promise<MemberOutcome> {
    return this.#one(`the election rule of node ${node}`, timeoutMs, (deadline) =>
      this.#p.submit({ kind: 'setElection', node, election, configVersion: this.#p.state().configVersion }, deadline),
    );
  }

  /** @throws as the others */
  finalizeUpgrade(own: Software | undefined, timeoutMs: number): Promise<MemberOutcome> {
    return this.#one('finalizing the upgrade', timeoutMs, async (deadline) => {
      const { self, state, submit } = this.#p;
      const found = seriesToFinalize(self, own, state(), this.connected);
      if (found.series === null) throw refused(found.reason);
      const applied = await submit({ kind: 'finalizeUpgrade', mysqlSeries: found.series }, deadline);
      return { ...applied, reason: applied.accepted ? `MySQL ${found.series}` : applied.reason };
    });
  }

  async #one(what: string, timeoutMs: number, work: (deadline: number) => Promise<Applied>): Promise<MemberOutcome> {
    const { clock, state, lead } = this.#p;
    const deadline = clock.now() + timeoutMs;
    try {
      if (this.#busy !== '' || this.#replacer.busy) {
        throw new PhxError('BUSY', `${what}: ${this.#busy || 'binding a fresh store'} is under way, one at a time`);
      }
      this.#busy = what;
      try {
        if (state().baseline === null) throw new PhxError('MEMBER_REFUSED', `${what}: the cluster is not founded yet`);
        await lead(timeoutMs);
        const { accepted, code, reason, instance } = await work(deadline);
        return this.#outcome(accepted, code ?? '', reason, instance);
      } finally {
        this.#busy = '';
      }
    } catch (error) {
      if (!(error instanceof PhxError) || !NOTHING_DONE.has(error.code)) throw error;
      return this.#outcome(false, error.code === 'LEASE_RUNS' ? 'NOT_LEADER' : error.code, error.message, 0);
    }
  }

  /** The seat of a node, as a learner if it had none. */
  async #seated(node: NodeId, deadline: number): Promise<Member> {
    const known = memberAt(this.#p.state(), node);
    if (known !== undefined) return known;
    const hello = this.#p.hellos().find((each) => each.node === node);
    if (hello === undefined) throw refused(`node ${node} is not connected: start it with this cluster to join`);
    const { accepted, code, reason } = await this.#p.submit(this.#learner(hello), deadline);
    const seat = memberAt(this.#p.state(), node);
    if (!accepted || seat === undefined) throw new PhxError(code ?? 'MEMBER_REFUSED', reason);
    return seat;
  }

  #learner({ node, storeId, joins }: PeerHello): LogValue {
    const member = memberOf({ node, storeId }, 'learner', 'neutral', joins ?? null);
    return { kind: 'addLearner', member, configVersion: this.#p.state().configVersion };
  }

  /** However fast the log grows, a newcomer has caught up when it is never more than a moment behind. */
  async #caughtUp({ node, storeId }: Member, deadline: number): Promise<void> {
    const { clock, conditions, chosenUpTo, peerChosen, ask, storeOf, leading } = this.#p;
    // It may come back.
    const away = new PhxError('BUSY', `node ${node} is not connected with store ${storeId}`);
    for (;;) {
      const target = chosenUpTo();
      const begun = clock.now();
      while (peerChosen(node) < target) {
        if (storeOf(node) !== storeId) throw away;
        if (!leading()) throw new PhxError('NOT_LEADER', `node ${node} was catching up: this node leads no more`);
        if (clock.now() >= deadline) {
          const left = target - peerChosen(node);
          throw new PhxError('BUSY', `node ${node} is still ${left} values behind: ask again when it has caught up`);
        }
        ask(node);
        await conditions.wait(() => peerChosen(node) >= target, Math.min(deadline, clock.now() + ASK_MS));
      }
      if (storeOf(node) !== storeId) throw away;
      if (clock.now() - begun <= ROUND_MS) return;
    }
  }

  /** `node` is this one, and master of an open epoch. */
  #isMaster(node: NodeId): boolean {
    const { self, state } = this.#p;
    return node === self && state().open && state().master === self;
  }

  async #leave(deadline: number): Promise<void> {
    const { self, clock, conditions, state, storeOf, peerChosen, chosenUpTo } = this.#p;
    const successor = chooseSuccessor(state(), self, chosenUpTo(), ({ node, storeId }) => ({
      connected: storeOf(node) === storeId,
      chosenUpTo: peerChosen(node),
    }));
    if (successor.node === null) throw refused(`nobody can take over from this node: ${successor.reason}`);
    if (this.#handOver === null) throw refused('this node is the master and cannot hand over: stop it first');
    this.#p.log.info('handing over before this node is removed', { to: successor.node });
    await this.#handOver(successor.node, deadline - clock.now());
    const left = (): boolean => !(state().open && state().master === self);
    if (await conditions.wait(left, deadline)) return;
    throw new PhxError('BUSY', `this node is handing over to node ${successor.node} and still the master: ask again`);
  }

  /** On the proposer: takes in who wants to join, as a learner. */
  #admit(now: number): void {
    const { leading, hellos, state, submit, clock, log } = this.#p;
    if (!leading() || now < this.#admitAt || state().baseline === null) return;
    this.#admitAt = now + ADMIT_EVERY_MS;
    const newcomer = hellos().find(
      ({ node, storeId, joins }) =>
        joins !== undefined && memberAt(state(), node) === undefined && !wasRemoved(state(), node, storeId),
    );
    if (newcomer === undefined) return;
    const { node, storeId } = newcomer;
    this.#busy = `taking in node ${node}`;
    submit(this.#learner(newcomer), clock.now() + ADMIT_MS)
      .then(
        ({ accepted, reason }) => {
          if (accepted) log.info('took in a node that joins, as a learner', { node, storeId });
          else log.warn('could not take in a node that joins', { node, reason });
        },
        (error: unknown) => log.warn('could not take in a node that joins', { node, reason: reasonOf(error) }),
      )
      .finally(() => {
        this.#busy = '';
      });
  }

  #outcome(accepted: boolean, code: string, reason: string, instance: number): MemberOutcome {
    const { epoch, appendSeq, configVersion, open, master, members } = this.#p.state();
    const ask = code === 'NOT_LEADER' && open && master !== this.#p.self ? master : 0;
    const voters = votersOf(members).length;
    return { accepted, code, reason, instance, epoch, appendSeq, configVersion, voters, ask };
  }
}

const refused = (reason: string): PhxError => new PhxError('MEMBER_REFUSED', reason);

/** After these nothing was changed, and nothing will be. */
const NOTHING_DONE: ReadonlySet<string> = new Set([
  'MEMBER_REFUSED',
  'NOT_SUCCESSOR',
  'NOT_LEADER',
  'LEASE_RUNS',
  'NO_QUORUM',
  'BUSY',
]);
