import { InvariantError } from '../../../base/invariant.ts';
import { stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';

export class CheckFailed extends InvariantError {}

export function check(holds: boolean, what: () => string): asserts holds {
  if (!holds) throw new CheckFailed(what());
}

type Slot = Readonly<{ text: string; accepted: boolean; by: string }>;
export type LoggedTransaction = Readonly<{ gtid: string; crc: number; instance: number }>;

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
  readonly #elections = new Map<number, number>();
  #highest = 0;

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

  /** Place of a transaction in the log, from 0; undefined if no node has applied it. */
  orderOf(gtid: string): number | undefined {
    return this.#order.get(gtid);
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
      if (state.epoch > 0 && !this.#elections.has(state.epoch)) this.#elections.set(state.epoch, instance);
      for (const { gtid, crc } of transactions) {
        check(!this.#order.has(gtid), () => `transaction ${gtid} is in the log twice`);
        this.#order.set(gtid, this.#transactions.length);
        this.#transactions.push({ gtid, crc, instance });
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

  state(life: string, state: ReplicatedState): void {
    const json = stateToJson(state);
    const known = this.#states.get(state.appliedIndex);
    if (known === undefined) this.#states.set(state.appliedIndex, json);
    else check(known === json, () => `${life} has another state after ${state.appliedIndex}: ${json}, not ${known}`);
  }
}

/** Bulk by its checksums. */
function textOf(value: LogValue): string {
  if (value.kind !== 'append') return JSON.stringify(value);
  const items = value.items.map((item) =>
    item.kind === 'file' ? `file ${item.name}` : `${item.gtid}/${item.crc}/${item.events.length}`,
  );
  return `append ${value.epoch} ${value.follows} ${items.join(' ')}`;
}
