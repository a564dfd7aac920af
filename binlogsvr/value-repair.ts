import type { InstanceId, NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { AppliedLog } from './applied-log.ts';
import type { Conditions } from './conditions.ts';
import { CHOSEN_BALLOT, type Entry, type Holding, type ValueBytes } from './paxos/types.ts';
import type { PeerMessage, Recall, Recalled } from './peer-transport.ts';
import { firstRetained, type LogStore, type Remains } from './store-port.ts';
import { type Heard, type Proof, proveValue } from './value-proof.ts';
import type { Voting } from './voting.ts';

/** A reader waits this long for a bad value; then it hears why it has to come again. */
const REPAIR_MS = 1000;
/** Peers are asked again this often: what they know grows, and a question may be lost. */
const ASK_AGAIN_MS = 500;
/** Bad values wanted at once; a reader of one more is told to come again. */
export const REPAIRS_MAX = 16;
/** Peers' questions being answered at once; one more is dropped, it will be asked again. */
const ANSWERS_MAX = 16;

export type ValueRepairPort = Readonly<{
  clock: Clock;
  log: Logger;
  conditions: Conditions;
  store: LogStore;
  applied: () => AppliedLog;
  appliedIndex: () => InstanceId;
  peersUp: () => readonly NodeId[];
  voting: Pick<Voting, 'self' | 'votersAt'>;
  /** What the acceptor has above what is applied. */
  holding: (instance: InstanceId) => Holding;
  send: (to: NodeId, message: PeerMessage) => void;
  failed: (error: unknown) => void;
}>;

class Wanted {
  readonly instance: InstanceId;
  own: Remains | null = null;
  readonly heard = new Map<NodeId, Heard>();
  askedAt = Number.NEGATIVE_INFINITY;
  rounds = 0;
  waitsFor = 'its peers';
  state: 'wanted' | 'storing' | 'done' = 'wanted';

  constructor(instance: InstanceId) {
    this.instance = instance;
  }
}

/**
 * Gets back the values that have gone bad in this node's store, and tells peers what this node has of theirs. A bad value is
 * wanted until it is proven (value-proof.ts), whoever wanted it first: the node waits for the peers it takes.
 *
 *   read: STORE_CORRUPT ──► wanted ──every 500 ms, and when a peer comes──► recall ──► peers
 *                             │ ▲                                                       │
 *                             │ └──────────── not proven yet ◄──── recalled ◄───────────┘
 *                             └──proven──► storing ──on disk──► done: readers go on
 */
export class ValueRepair {
  readonly #p: ValueRepairPort;
  readonly #wanted = new Map<InstanceId, Wanted>();
  #answering = 0;

  constructor(port: ValueRepairPort) {
    this.#p = port;
  }

  /** Which values are bad and what each waits for, in words; '' if none is. */
  get status(): string {
    return [...this.#wanted.values()].map(({ instance, waitsFor }) => describe(instance, waitsFor)).join('; ');
  }

  /** Resolves when the value is right again. @throws PhxError STORE_CORRUPT if it is not proven now; it stays wanted */
  async repair(instance: InstanceId): Promise<void> {
    const { clock, conditions } = this.#p;
    const wanted = this.#wanted.get(instance) ?? this.#want(instance);
    if (await conditions.wait(() => wanted.state === 'done', clock.now() + REPAIR_MS)) return;
    throw corrupt(describe(instance, wanted.waitsFor));
  }

  /** A peer asks, or answers. `storeId`: the store it speaks of. */
  message(from: NodeId, storeId: string, message: Recall | Recalled): void {
    if (message.kind === 'recall') void this.#answer(from, message.instance);
    else this.#heard(message.instance, { node: from, storeId, holding: message.holding });
  }

  /** Chosen values came from a peer, perhaps from one that does not know the question above. */
  learned(from: NodeId, storeId: string, entries: readonly Entry[]): void {
    if (this.#wanted.size === 0) return;
    for (const { instance, value } of entries) {
      this.#heard(instance, { node: from, storeId, holding: { kind: 'chosen', value } });
    }
  }

  peerUp(): void {
    for (const wanted of this.#wanted.values()) this.#ask(wanted);
  }

  tick(now: number): void {
    const first = firstRetained(this.#p.store.base);
    for (const wanted of this.#wanted.values()) {
      if (wanted.instance < first) this.#wanted.delete(wanted.instance);
      else if (now - wanted.askedAt >= ASK_AGAIN_MS) this.#ask(wanted);
    }
  }

  #want(instance: InstanceId): Wanted {
    if (this.#wanted.size >= REPAIRS_MAX)
      throw corrupt(`instance ${instance} is bad; ${REPAIRS_MAX} others are wanted already`);
    this.#p.log.warn('a stored value is bad, asking the peers for it', { instance });
    const wanted = new Wanted(instance);
    this.#wanted.set(instance, wanted);
    this.#ask(wanted);
    this.#p.store.remains(instance).then(
      (own) => {
        wanted.own = own;
        this.#judge(wanted);
      },
      (error: unknown) =>
        this.#p.log.error('read what is left of a bad value failed', { instance, reason: reasonOf(error) }),
    );
    return wanted;
  }

  #ask(wanted: Wanted): void {
    if (wanted.state !== 'wanted') return;
    const { instance, heard } = wanted;
    wanted.askedAt = this.#p.clock.now();
    wanted.rounds += 1;
    for (const peer of this.#p.peersUp()) {
      this.#p.send(peer, { kind: 'recall', instance });
      // A peer of an older version does not know that question, but it may know the value to be chosen.
      if (wanted.rounds > 1 && !heard.has(peer)) this.#p.send(peer, { kind: 'learn', from: instance });
    }
  }

  #heard(instance: InstanceId, heard: Heard): void {
    const wanted = this.#wanted.get(instance);
    if (wanted === undefined) return;
    // What was said once stays true, of that store.
    const before = wanted.heard.get(heard.node);
    if (heard.holding.kind === 'unknown' && before?.storeId === heard.storeId) return;
    wanted.heard.set(heard.node, heard);
    this.#judge(wanted);
  }

  #judge(wanted: Wanted): void {
    if (wanted.state !== 'wanted') return;
    const { instance, own, heard } = wanted;
    const { self } = this.#p.voting;
    const proof = proveValue({ self, voters: this.#p.voting.votersAt(instance), own, heard: [...heard.values()] });
    if ('waitsFor' in proof) wanted.waitsFor = proof.waitsFor;
    else void this.#store(wanted, proof);
  }

  async #store(wanted: Wanted, { value, by, because }: Extract<Proof, { value: ValueBytes }>): Promise<void> {
    const { store, log, conditions, clock, failed } = this.#p;
    const { instance } = wanted;
    wanted.state = 'storing';
    try {
      await store.repair({ instance, ballot: CHOSEN_BALLOT, value });
    } catch (error) {
      failed(error);
      return;
    }
    wanted.state = 'done';
    this.#wanted.delete(instance);
    log.warn('a stored value was bad and is right again', { instance, repairedBy: by, because });
    conditions.poke(clock.now());
  }

  async #answer(to: NodeId, instance: InstanceId): Promise<void> {
    if (this.#answering >= ANSWERS_MAX) return;
    this.#answering += 1;
    try {
      this.#p.send(to, { kind: 'recalled', instance, holding: await this.#holding(instance) });
    } catch (error) {
      this.#p.log.error('read log for a peer failed', { peer: to, instance, reason: reasonOf(error) });
    } finally {
      this.#answering -= 1;
    }
  }

  async #holding(instance: InstanceId): Promise<Holding> {
    const { applied, appliedIndex, holding } = this.#p;
    if (instance > appliedIndex()) return holding(instance);
    const value = await applied().intact(instance);
    return value === null ? { kind: 'unknown' } : { kind: 'chosen', value };
  }
}

const describe = (instance: InstanceId, waitsFor: string): string =>
  `the stored value of instance ${instance} is bad and waits for ${waitsFor}`;

function corrupt(reason: string): PhxError {
  return new PhxError('STORE_CORRUPT', `read log: ${reason}`, {
    hint: 'nothing is served in its place; it comes back by itself once enough nodes are up: check those, and this disk',
  });
}
