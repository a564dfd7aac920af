import type { MonoMs, NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';
import type { Conditions } from './conditions.ts';
import { QuorumQuery } from './quorum-query.ts';

/** Barriers under way at once; beyond it one is refused. */
export const BARRIERS_MAX = 64;
/** A barrier that waits this long for the log lets this node finish what no proposer finishes. */
const PATIENCE_MS = 300;

export type BarrierPort = Readonly<{
  self: NodeId;
  clock: Clock;
  conditions: Conditions;
  voters: () => readonly NodeId[];
  /** What this node itself answers; null if it may not vote. */
  ownAnswer: () => number | null;
  ask: (node: NodeId, id: number) => void;
  appliedIndex: () => number;
  lead: (timeoutMs: number) => Promise<void>;
}>;

/** Quorum barriers: wait until everything chosen anywhere before the call is applied here, without disturbing a leader. */
export class Barriers {
  readonly #p: BarrierPort;
  readonly #queries = new Map<number, QuorumQuery>();
  #id: number;

  /** Ids begin at random, so that an answer to an earlier life's question fits none. */
  constructor(port: BarrierPort, firstId: number) {
    this.#p = port;
    this.#id = firstId;
  }

  /** @throws PhxError NO_QUORUM, TIMEOUT, BUSY */
  async pass(timeoutMs: number): Promise<void> {
    const { clock, conditions } = this.#p;
    const deadline = clock.now() + timeoutMs;
    const target = await this.#target(deadline, timeoutMs);
    const reached = (): boolean => this.#p.appliedIndex() >= target;
    if (await conditions.wait(reached, Math.min(deadline, clock.now() + PATIENCE_MS))) return;
    // Perhaps only a minority accepted it and its proposer is gone: a new proposer settles it.
    this.#p.lead(deadline - clock.now()).catch(() => {}); // if it cannot, another one may
    if (!(await conditions.wait(reached, deadline))) {
      throw new PhxError('TIMEOUT', `barrier: instance ${target} not applied within ${timeoutMs} ms`);
    }
  }

  /** Only answers of bound acceptors may be handed in. */
  answer(id: number, from: NodeId, highestAccepted: number): void {
    this.#queries.get(id)?.answer(from, highestAccepted);
  }

  peerUp(): void {
    for (const query of this.#queries.values()) this.#ask(query);
  }

  tick(now: MonoMs): void {
    for (const query of this.#queries.values()) if (query.askAgain(now)) this.#ask(query);
  }

  async #target(deadline: number, timeoutMs: number): Promise<number> {
    if (this.#queries.size >= BARRIERS_MAX) throw new PhxError('BUSY', `barrier: ${BARRIERS_MAX} others wait already`);
    this.#id += 1;
    const query = new QuorumQuery(this.#id, this.#p.voters(), this.#p.clock.now());
    this.#queries.set(query.id, query);
    try {
      const own = this.#p.ownAnswer();
      if (own !== null) query.answer(this.#p.self, own);
      this.#ask(query);
      await this.#p.conditions.wait(() => query.reached !== null, deadline);
    } finally {
      this.#queries.delete(query.id);
    }
    if (query.reached === null) throw new PhxError('NO_QUORUM', `barrier: no majority answered within ${timeoutMs} ms`);
    return query.reached;
  }

  #ask(query: QuorumQuery): void {
    for (const node of query.open) if (node !== this.#p.self) this.#p.ask(node, query.id);
  }
}
