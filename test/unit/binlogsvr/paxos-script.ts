import { type Ballot, instanceId, makeBallot, NO_BALLOT, type NodeId, nodeId } from '../../../base/brands.ts';
import { Prng } from '../../../base/prng.ts';
import { PaxosNode, type PaxosOptions } from '../../../binlogsvr/paxos/node.ts';
import type { AcceptorRecord, Effects, Entry, Envelope, Input, Message } from '../../../binlogsvr/paxos/types.ts';

export type Flying = Readonly<{ from: NodeId; to: NodeId; message: Message }>;

export const bytes = (value: string): Uint8Array => Buffer.from(value);
export const textOf = (value: Uint8Array): string => Buffer.from(value).toString();
export const at = (n: number) => instanceId(n);
export const ballot = (round: number, node: number): Ballot => makeBallot(round, nodeId(node));
export const entry = (instance: number, b: Ballot, value: string): Entry => ({
  instance: at(instance),
  ballot: b,
  value: bytes(value),
});

/** A core on its own with a fresh memory; `overrides` for what a test is about. */
export function core(node: number, voters: readonly number[], overrides: Partial<PaxosOptions> = {}): PaxosNode {
  return new PaxosNode({
    node: nodeId(node),
    voters: voters.map(nodeId),
    mayVote: true,
    promised: NO_BALLOT,
    chosenUpTo: at(0),
    tail: [],
    noop: bytes('noop'),
    random: new Prng(1),
    ...overrides,
  });
}

export function from(
  node: number,
  message: Message,
  overrides: Partial<Extract<Input, { kind: 'message' }>> = {},
): Input {
  return { kind: 'message', from: nodeId(node), message, voter: true, leaseRuns: false, ...overrides };
}

/** Messages of that kind among the envelopes. */
export function said<K extends Message['kind']>(
  envelopes: readonly Envelope[],
  kind: K,
): (Extract<Message, { kind: K }> & { to: NodeId })[] {
  return envelopes
    .filter(({ message }) => message.kind === kind)
    .map(({ to, message }) => ({ ...(message as Extract<Message, { kind: K }>), to }));
}

/**
 * A few cores, a mail and disks moved by hand: what a test does not deliver stays in the mail, what it does not write is
 * lost in a crash.
 */
export class Script {
  readonly cores = new Map<number, PaxosNode>();
  readonly emitted = new Map<number, string[]>();
  readonly leadership: string[] = [];
  readonly disks = new Map<number, AcceptorRecord[]>();
  mail: Flying[] = [];
  readonly #writes = new Map<number, { records: AcceptorRecord[]; after: Envelope[] }>();
  readonly #written = new Map<number, number>();

  constructor(nodes: readonly number[], overrides: Partial<PaxosOptions> = {}) {
    for (const node of nodes) {
      this.cores.set(node, core(node, nodes, overrides));
      this.emitted.set(node, []);
      this.disks.set(node, []);
    }
  }

  core(node: number): PaxosNode {
    return this.cores.get(node) as PaxosNode;
  }

  step(node: number, input: Input): Effects {
    const effects = this.core(node).step(input);
    for (const { instance, value } of effects.chosen)
      (this.emitted.get(node) as string[])[instance - 1] = textOf(value);
    if (effects.leadership !== null) this.leadership.push(`${node} ${effects.leadership}`);
    this.#post(node, effects.sendNow);
    const waiting = this.#writes.get(node) ?? { records: [], after: [] };
    waiting.records.push(...effects.persist);
    waiting.after.push(...effects.sendAfterPersist);
    this.#writes.set(node, waiting);
    for (const { to, from: first } of effects.serveLearn) this.#serve(node, to, first);
    return effects;
  }

  /** Completes the write of everything handed out on that node. */
  fsync(node: number): void {
    const { records, after } = this.#writes.get(node) ?? { records: [], after: [] };
    this.#writes.delete(node);
    this.disks.get(node)?.push(...records);
    this.#post(node, after);
    const upTo = (this.#written.get(node) ?? 0) + records.length;
    this.#written.set(node, upTo);
    if (records.length > 0) this.step(node, { kind: 'persisted', upTo });
  }

  /** Delivers the mail for which `wanted` holds, once. */
  deliver(wanted: (flying: Flying) => boolean = () => true): void {
    const now = this.mail.filter(wanted);
    this.mail = this.mail.filter((flying) => !now.includes(flying));
    for (const flying of now) if (this.cores.has(flying.to)) this.step(flying.to, from(flying.from, flying.message));
  }

  drop(wanted: (flying: Flying) => boolean = () => true): void {
    this.mail = this.mail.filter((flying) => !wanted(flying));
  }

  /** Delivers and writes among `nodes` until nothing moves; mail to and from others is lost. */
  settle(nodes: readonly number[] = [...this.cores.keys()]): void {
    const inside = ({ from: a, to }: Flying): boolean => nodes.includes(a) && nodes.includes(to);
    for (let i = 0; i < 1000; i += 1) {
      this.drop((flying) => !inside(flying));
      const quiet = this.mail.length === 0 && nodes.every((node) => !this.#writes.get(node)?.records.length);
      this.deliver(inside);
      for (const node of nodes) this.fsync(node);
      if (quiet && this.mail.length === 0) return;
    }
    throw new Error('the script does not come to rest');
  }

  tick(node: number, now: number): Effects {
    return this.step(node, { kind: 'tick', now });
  }

  /** Campaigns and takes the answers of `nodes` until quiet. */
  elect(node: number, nodes: readonly number[] = [...this.cores.keys()]): void {
    this.step(node, { kind: 'campaign' });
    this.settle(nodes);
  }

  propose(node: number, value: string, lane: 'data' | 'lease' = 'data'): number | null {
    return this.step(node, { kind: 'propose', value: bytes(value), lane }).proposed;
  }

  /** Kill -9 and start: the core remembers what was written. */
  restart(node: number, overrides: Partial<PaxosOptions> = {}): void {
    this.#writes.delete(node);
    this.#written.set(node, 0);
    const tail = new Map<number, Entry>();
    let promised = NO_BALLOT;
    for (const record of this.disks.get(node) ?? []) {
      if (record.kind === 'accepted') tail.set(record.entry.instance, record.entry);
      else if (record.ballot > promised) promised = record.ballot;
    }
    this.cores.set(node, core(node, [...this.cores.keys()], { tail: [...tail.values()], promised, ...overrides }));
    this.emitted.set(node, []);
  }

  #serve(node: number, to: NodeId, first: number): void {
    const entries = (this.emitted.get(node) ?? [])
      .map((value, i) => entry(i + 1, NO_BALLOT, value))
      .slice(first - 1, first + 1);
    const chosenUpTo = this.core(node).chosenUpTo;
    this.mail.push({ from: nodeId(node), to, message: { kind: 'learned', entries, chosenUpTo } });
  }

  #post(node: number, envelopes: readonly Envelope[]): void {
    for (const { to, message } of envelopes) this.mail.push({ from: nodeId(node), to, message });
  }
}
