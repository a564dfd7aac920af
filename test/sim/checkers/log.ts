import { InvariantError } from '../../../base/invariant.ts';
import { stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';

export class CheckFailed extends InvariantError {}

export function check(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new CheckFailed(what());
}

type Slot = Readonly<{ text: string; accepted: boolean; by: string }>;
/** What a transaction does, by key. */
export type Writes = Readonly<Record<string, string>>;
export type LoggedTransaction = Readonly<{ gtid: string; crc: number; instance: number; writes: Writes }>;

/** States are compared at every n-th instance: turning one into text costs more than applying it. */
const STATE_EVERY = 8;

/**
 * One value per instance, in every life of every node, and the same verdict on it; no node applies out of order; equal states
 * after equal logs. Keeps the log it has seen as its own record.
 */
export class LogChecker {
  readonly #slots = new Map<number, Slot>();
  readonly #states = new Map<number, string>();
  readonly #appliedBy = new Map<string, number>();
  readonly #transactions: LoggedTransaction[] = [];
  readonly #order = new Map<string, number>();
  /** Place of the transaction that writes a value. */
  readonly #values = new Map<string, number>();
  readonly #decode: (events: Uint8Array) => Writes;
  readonly #elections = new Map<number, number>();
  #highest = 0;
  #gtidSet = GtidSet.EMPTY;

  /** `decode`: what the events of a transaction do. */
  constructor(decode: (events: Uint8Array) => Writes = () => ({})) {
    this.#decode = decode;
  }

  /** Accepted transactions in the order of the log. */
  get transactions(): readonly LoggedTransaction[] {
    return this.#transactions;
  }

  get highest(): number {
    return this.#highest;
  }

  /** The instance that began `epoch`. */
  electionOf(epoch: number): number | undefined {
    return this.#elections.get(epoch);
  }

  /** Place in the log of the transaction that writes a value; undefined if no node has applied it. */
  placeOf(value: string): number | undefined {
    return this.#values.get(value);
  }

  /** Checksum of a transaction in the log; undefined if no node has applied it. */
  crcOf(gtid: string): number | undefined {
    const place = this.#order.get(gtid);
    return place === undefined ? undefined : this.#transactions[place]?.crc;
  }

  /** Of everything any node has applied. */
  get gtidSet(): GtidSet {
    return this.#gtidSet;
  }

  /** `life`: names node and incarnation. `from`: what its store held at its start. */
  starts(life: string, from: number): void {
    this.#appliedBy.set(life, from);
  }

  applied(life: string, { instance, value, accepted, transactions }: Applied, state: ReplicatedState): void {
    const before = this.#appliedBy.get(life) ?? 0;
    check(instance === before + 1, () => `${life} applied instance ${instance} after ${before}`);
    this.#appliedBy.set(life, instance);
    const text = textOf(value);
    const slot = this.#slots.get(instance);
    if (slot === undefined) {
      this.#slots.set(instance, { text, accepted, by: life });
      check(
        instance === this.#highest + 1,
        () => `${life} is first to apply ${instance}, the log is at ${this.#highest}`,
      );
      this.#highest = instance;
      this.#gtidSet = state.gtidSet;
      if (state.epoch > 0 && !this.#elections.has(state.epoch)) this.#elections.set(state.epoch, instance);
      for (const { gtid, crc } of transactions) {
        check(!this.#order.has(gtid), () => `transaction ${gtid} is in the log twice`);
        const place = this.#transactions.length;
        this.#order.set(gtid, place);
        const writes = this.#decode(eventsOf(value, gtid));
        for (const written of Object.values(writes)) this.#values.set(written, place);
        this.#transactions.push({ gtid, crc, instance, writes });
      }
    } else {
      check(
        slot.text === text,
        () => `two values in instance ${instance}: ${slot.by} applied ${slot.text}, ${life} ${text}`,
      );
      check(
        slot.accepted === accepted,
        () => `instance ${instance} ${text}: accepted ${slot.accepted} by ${slot.by}, ${accepted} by ${life}`,
      );
    }
    if (instance % STATE_EVERY === 0) this.state(life, state);
  }

  /** A snapshot took a node further: it must be of what the log holds up to there, and beyond what the node had. */
  installed(life: string, state: ReplicatedState): void {
    const { appliedIndex } = state;
    const before = this.#appliedBy.get(life) ?? 0;
    check(appliedIndex > before, () => `${life} went back from ${before} to a snapshot of ${appliedIndex}`);
    check(
      appliedIndex <= this.#highest,
      () => `${life} has a snapshot of ${appliedIndex}, the log is at ${this.#highest}`,
    );
    const held = this.#transactions.filter(({ instance }) => instance <= appliedIndex).map(({ gtid }) => gtid);
    const missing = held.find((gtid) => !state.gtidSet.contains(gtid));
    check(missing === undefined, () => `${life} has a snapshot of ${appliedIndex} without ${missing}`);
    check(
      state.gtidSet.count() === held.length,
      () => `${life} has a snapshot of ${appliedIndex} with more than the log`,
    );
    this.#appliedBy.set(life, appliedIndex);
    this.state(life, state);
  }

  state(life: string, state: ReplicatedState): void {
    const json = stateToJson(state);
    const known = this.#states.get(state.appliedIndex);
    if (known === undefined) this.#states.set(state.appliedIndex, json);
    else check(known === json, () => `${life} has another state after ${state.appliedIndex}: ${json}, not ${known}`);
  }
}

/** Of a transaction that is whole in one value, as the simulated ones are. */
function eventsOf(value: LogValue, gtid: string): Uint8Array {
  if (value.kind !== 'append') return Buffer.alloc(0);
  return Buffer.concat(
    value.items.flatMap((item) => (item.kind === 'part' && item.gtid === gtid ? [item.events] : [])),
  );
}

/** Bulk by its checksums. */
function textOf(value: LogValue): string {
  if (value.kind !== 'append') return JSON.stringify(value);
  const items = value.items.map((item) =>
    item.kind === 'file' ? `file ${item.name}` : `${item.gtid}/${item.crc}/${item.events.length}`,
  );
  return `append ${value.epoch} ${value.follows} ${items.join(' ')}`;
}
