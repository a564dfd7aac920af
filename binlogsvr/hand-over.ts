import { type NodeId, nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { AgentReport, SwitchoverOutcome } from '../proto/binlogsvr-types.ts';
import { isElectable, memberAt } from './membership.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Succession } from './succession.ts';
import { chooseSuccessor, SUCCESSOR_LAG_MS_MAX } from './successor.ts';

/** Slaves that were asked have this long to answer before one of those that did is chosen. */
const CHOICE_MS = 500;
/** Of the time there is, at most this part goes by until the successor is close behind. */
const READY_SHARE = 0.5;
/** At the end an order is withdrawn; an agent that has begun by then comes to its own end within this. */
const END_MS = 10_000;

/** The order to the agent of this node, as its view shows it. */
export interface HandOverOrders {
  handOver(to: NodeId, epoch: number, id: number): void;
  withdraw(id: number): void;
}

export type HandOverPort = Readonly<{
  self: NodeId;
  clock: Clock;
  log: Logger;
  state: () => ReplicatedState;
  chosenUpTo: () => number;
  /** The store the log names for that node is connected; how far it said it is. */
  peer: (node: NodeId, storeId: string) => Readonly<{ connected: boolean; chosenUpTo: number }>;
  agent: () => AgentReport | null;
  succession: Succession;
  orders: HandOverOrders;
}>;

/**
 * A planned hand-over, on the master's node: nothing is closed before the successor is close behind and has agreed; the agent
 * then closes mysqld and asks for the transfer.
 *
 *   choose ─► agreed, close behind ─► order ──► agent: closes, Transfer ──► another epoch
 *                 └─ refused, late: nothing was done    └─ undone: the master goes on
 */
export class HandOver {
  readonly #p: HandOverPort;
  #busy = '';
  #lastId = 0;

  constructor(port: HandOverPort) {
    this.#p = port;
  }

  /** `to` 0: the freshest slave. @throws PhxError TIMEOUT: unknown, look at the status */
  async switchover(to: number, timeoutMs: number): Promise<SwitchoverOutcome> {
    const { clock, state, self } = this.#p;
    const deadline = clock.now() + timeoutMs;
    try {
      const { open, master, epoch } = state();
      if (!open || master !== self) {
        const who = open ? `node ${master} is the master` : 'there is no master';
        throw new PhxError('NOT_LEADER', `${who} of epoch ${epoch}, ask its node`);
      }
      await this.#alone(to === 0 ? 'a switchover' : `a switchover to node ${to}`, async () => {
        const readyBy = clock.now() + timeoutMs * READY_SHARE;
        const successor = to === 0 ? await this.#choose(epoch, readyBy) : this.#named(to);
        await this.#carryOut(successor, epoch, readyBy, deadline);
      });
      return this.#outcome(true, '', '');
    } catch (error) {
      if (!(error instanceof PhxError) || error.code === 'TIMEOUT' || error.code === 'UNAVAILABLE') throw error;
      return this.#outcome(false, error.code, error.message);
    }
  }

  /** For who leaves the cluster. @throws PhxError MEMBER_REFUSED, BUSY: the master goes on; TIMEOUT: unknown */
  async leave(to: NodeId, timeoutMs: number): Promise<void> {
    const now = this.#p.clock.now();
    const { epoch } = this.#p.state();
    await this.#alone(`handing over to node ${to}`, () =>
      this.#carryOut(to, epoch, now + timeoutMs * READY_SHARE, now + timeoutMs),
    );
  }

  async #alone(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#busy !== '') throw new PhxError('BUSY', `${what}: ${this.#busy} is under way, one at a time`);
    this.#busy = what;
    try {
      await work();
    } finally {
      this.#busy = '';
    }
  }

  #named(to: number): NodeId {
    const { state, self } = this.#p;
    if (to === self) throw refused(`node ${to} is the master already`);
    const seat = memberAt(state(), to);
    if (seat === undefined) throw refused(`node ${to} is not a member of the cluster`);
    if (!isElectable(seat)) throw refused(`node ${to} is ${seat.kind ?? 'never elected, by its rule'}`);
    return nodeId(to);
  }

  async #choose(epoch: number, readyBy: number): Promise<NodeId> {
    const { clock, state, self, succession, chosenUpTo, peer } = this.#p;
    const electable = state().members.filter((each) => each.node !== self && isElectable(each));
    const nodes = electable.map(({ node }) => node);
    const choose = () =>
      chooseSuccessor(state(), self, chosenUpTo(), ({ node, storeId }) => ({
        ...peer(node, storeId),
        word: succession.wordOf(node, epoch),
      }));
    const all = (): boolean => nodes.every((node) => succession.wordOf(node, epoch)?.refusal === '');
    await succession.until(nodes, epoch, all, Math.min(readyBy, clock.now() + CHOICE_MS));
    await succession.until(nodes, epoch, () => choose().node !== null, readyBy);
    const chosen = choose();
    if (chosen.node === null) throw refused(`nobody can take over: ${chosen.reason}`);
    return chosen.node;
  }

  async #carryOut(to: NodeId, epoch: number, readyBy: number, deadline: number): Promise<void> {
    const { state, self, succession, orders, agent, clock, log } = this.#p;
    if (agent() === null) throw refused('the agent of this master does not answer, so nobody can close its mysqld');
    const over = (): boolean => !(state().open && state().master === self && state().epoch === epoch);
    const close = (): boolean => {
      const word = succession.wordOf(to, epoch);
      return word !== null && word.refusal === '' && word.lagMs <= SUCCESSOR_LAG_MS_MAX;
    };
    await succession.until([to], epoch, () => over() || close(), readyBy);
    if (!over() && !close()) {
      const lagMs = Math.round(succession.wordOf(to, epoch)?.lagMs ?? 0);
      const late =
        lagMs > SUCCESSOR_LAG_MS_MAX ? ` (${lagMs} ms behind, at most ${SUCCESSOR_LAG_MS_MAX} are allowed)` : '';
      throw refused(`nothing was done: ${succession.objection(to, epoch)}${late}`);
    }
    const id = this.#freshId();
    const undone = (): AgentReport | null => (agent()?.undoneId === id ? agent() : null);
    const ended = (): boolean => over() || undone() !== null;
    log.info('hands over', { to, epoch, id });
    orders.handOver(to, epoch, id);
    try {
      await succession.until([to], epoch, ended, deadline);
    } finally {
      orders.withdraw(id);
    }
    await succession.until([to], epoch, ended, clock.now() + END_MS);
    const reason = undone()?.undoneReason;
    if (reason !== undefined) throw refused(`undone, node ${self} goes on as master: ${reason}`);
    if (!over()) throw new PhxError('TIMEOUT', `hand over to node ${to}: not done in time, look at the status`);
    // Given back instead of handed over, if the transfer failed: whoever is elected is master then.
    await succession.until([], epoch, () => state().epoch > epoch, Math.max(deadline, clock.now() + CHOICE_MS));
    const { master, open } = state();
    if (state().epoch === epoch)
      throw new PhxError('TIMEOUT', `hand over to node ${to}: epoch ${epoch} was given back, nobody is elected yet`);
    if (master !== to)
      throw refused(
        `the transfer failed and epoch ${epoch} was given back: node ${master} ${open ? 'is' : 'was'} elected`,
      );
  }

  #freshId(): number {
    this.#lastId = Math.max(this.#lastId + 1, Math.floor(this.#p.clock.wall()));
    return this.#lastId;
  }

  #outcome(accepted: boolean, code: string, reason: string): SwitchoverOutcome {
    const { open, master, epoch } = this.#p.state();
    const ask = code === 'NOT_LEADER' && open && master !== this.#p.self ? master : 0;
    return { accepted, code, reason, ask, master, epoch };
  }
}

const refused = (reason: string): PhxError => new PhxError('MEMBER_REFUSED', reason);
