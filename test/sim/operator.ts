import { delay } from '../../base/async.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import type { MemberChange, MemberStatus, NodeStatus } from '../../proto/binlogsvr-types.ts';
import type { Kernel } from './kernel.ts';
import type { OperatorPlan, SpareKind } from './members-plan.ts';
import type { SimNode } from './node.ts';
import type { SimProcess } from './process.ts';
import type { SimBinlogsvrClient } from './rpc.ts';
import type { Tally } from './tally.ts';

const LOOK_MS = 400;
const CALL_MS = 2500;
/** Nodes asked for one change. */
const TRIES = 6;
/** A cluster of fewer could not go on once one store forgot, nor without the one server that is left out. */
const VOTERS_MIN = 3;
const ELECTABLE_MIN = 2;
const RULES = ['prefer', 'neutral', 'never'] as const;

export type OperatorOptions = Readonly<{
  kernel: Kernel;
  process: SimProcess;
  nodes: readonly SimNode[];
  clientOf: (node: number) => SimBinlogsvrClient;
  /** What those nodes are good for that the cluster was not founded with; founders are voters. */
  kinds: ReadonlyMap<number, SpareKind>;
  plan: OperatorPlan;
  random: Prng;
  tally: Tally;
  /** From now on everything stays as it is. */
  resting: () => boolean;
}>;

type Seen = Readonly<{ version: number; members: readonly MemberStatus[]; master: number }>;
type Errand = () => Promise<void> | void;

/**
 * Somebody who changes who belongs to the cluster, while all else goes on: looks at the status of all, asks the master's node for a
 * change, and again whom a refusal names.
 *
 *   spare ──start──► asks to join, is taken in as a learner ──add, replace──► voter, witness ──remove, replace──► removed
 *     ▲                                                                                  (goes on running, or is powered off)
 *     └───────────────────────────── its disk is emptied ───────────────────────────────────────┘
 */
export class Operator {
  readonly #o: OperatorOptions;
  #seen: Seen = { version: -1, members: [], master: 0 };
  readonly #seated = new Set<number>();
  readonly #removed = new Set<number>();

  constructor(options: OperatorOptions) {
    this.#o = options;
  }

  /** Ends when it may rest. */
  async run(): Promise<void> {
    const { process, random, plan, resting } = this.#o;
    for (;;) {
      await delay(process.clock, random.below(2 * plan.everyMs));
      if (resting()) return;
      await this.#look();
      if (resting()) return;
      const errands = this.#errands();
      if (errands.length > 0) await random.pick(errands)();
    }
  }

  async #look(): Promise<void> {
    const { nodes, clientOf } = this.#o;
    const ask = async ({ id }: SimNode): Promise<NodeStatus | null> => {
      try {
        return await clientOf(id).status(LOOK_MS);
      } catch (error) {
        if (error instanceof PhxError) return null;
        throw error;
      }
    };
    const answers = await Promise.all(nodes.filter(({ inUse }) => inUse).map(ask));
    let newest: NodeStatus | null = null;
    let epoch = -1;
    let master = 0;
    for (const answer of answers) {
      if (answer === null || !answer.view.baseline) continue;
      if ((answer.configVersion ?? 0) > (newest?.configVersion ?? -1)) newest = answer;
      if (answer.view.epoch <= epoch) continue;
      epoch = answer.view.epoch;
      master = answer.view.open ? answer.view.master : 0;
    }
    const version = newest?.configVersion ?? -1;
    if (newest === null || version < this.#seen.version) return;
    const members = newest.members ?? [];
    this.#seen = { version, members, master };
    for (const { node } of members) this.#seated.add(node);
    for (const node of this.#seated) if (!members.some((each) => each.node === node)) this.#removed.add(node);
  }

  /** What could be done now. */
  #errands(): Errand[] {
    const { nodes, kinds } = this.#o;
    const { members, version, master } = this.#seen;
    if (version < 0) return [];
    const voters = members.filter(({ kind }) => kind !== 'learner').length;
    const electable = members.filter((each) => each.kind === 'voter' && each.election !== 'never');
    const errands: Errand[] = master === 0 ? [] : [() => this.#switchOver()];
    for (const node of nodes) {
      const { id } = node;
      const goodFor = kinds.get(id) ?? 'voter';
      const seat = members.find((each) => each.node === id);
      if (!node.inUse || this.#removed.has(id)) {
        errands.push(() => this.#startEmpty(node));
        continue;
      }
      if (seat === undefined || seat.kind === 'learner') {
        errands.push(() =>
          this.#change({ change: 'add', node: id, kind: goodFor, election: this.#o.random.pick(RULES) }),
        );
        const old = members.filter(({ kind }) => kind === goodFor);
        if (old.length > 0) {
          const { node: leaves } = this.#o.random.pick(old);
          errands.push(() => this.#change({ change: 'replace', node: leaves, by: id }));
        }
      }
      if (seat === undefined) continue;
      const needed = electable.length <= ELECTABLE_MIN && electable.includes(seat);
      if (seat.kind === 'learner' || (voters > VOTERS_MIN && !needed)) {
        errands.push(() => this.#change({ change: 'remove', node: id }));
      }
      if (seat.kind === 'voter') {
        const rules = RULES.filter((rule) => rule !== seat.election && !(needed && rule === 'never'));
        errands.push(() => this.#change({ change: 'setElection', node: id, election: this.#o.random.pick(rules) }));
      }
    }
    return errands;
  }

  /** A spare, or one that was removed and may come back only with an empty disk. */
  #startEmpty(node: SimNode): void {
    this.#o.tally.add('node started to join');
    this.#o.kernel.trace('operator', () => `starts node ${node.id} to join, with an empty disk`);
    node.startEmpty();
    this.#seated.delete(node.id);
    this.#removed.delete(node.id);
  }

  async #change(change: MemberChange): Promise<void> {
    const { kernel, random, tally, plan, nodes } = this.#o;
    if (!(await this.#ask(change))) return;
    tally.add(`member change: ${change.change}`);
    kernel.trace('operator', () => `done: ${JSON.stringify(change)}`);
    if (change.change !== 'remove' && change.change !== 'replace') return;
    if (change.change === 'remove' && change.node === this.#seen.master) tally.add('master removed');
    this.#removed.add(change.node);
    if (random.below(10) >= plan.offIn10) return;
    const node = nodes.find(({ id }) => id === change.node);
    kernel.trace('operator', () => `takes node ${change.node} out of use`);
    node?.takeOut();
  }

  /** To whom the master likes, or to somebody it may not like. */
  async #switchOver(): Promise<void> {
    const { kernel, random, clientOf, tally } = this.#o;
    const { master, members } = this.#seen;
    const to = random.chance(1, 2) ? 0 : random.pick(members).node;
    try {
      kernel.trace('operator', () => `asks node ${master} to switch over to ${to === 0 ? 'anybody' : `node ${to}`}`);
      const { accepted, code, reason } = await clientOf(master).switchover(to, CALL_MS);
      kernel.trace('operator', () => (accepted ? 'switched over' : `switchover refused ${code}: ${reason}`));
      tally.add(accepted ? 'switchover' : 'switchover refused');
    } catch (error) {
      if (!(error instanceof PhxError)) throw error;
      kernel.trace('operator', () => `knows not: ${error.message}`);
    }
  }

  /** True: it is done. False: refused, or nobody knows; the next look shows it. */
  async #ask(change: MemberChange): Promise<boolean> {
    const { kernel, process, random, clientOf, resting, tally } = this.#o;
    const { master, members } = this.#seen;
    const anybody = (): number => random.pick(members).node;
    let target = master === 0 ? anybody() : master;
    for (let i = 0; i < TRIES && !resting(); i += 1) {
      try {
        kernel.trace('operator', () => `asks node ${target}: ${JSON.stringify(change)}`);
        const { accepted, code, reason, ask, configVersion } = await clientOf(target).changeMember(change, CALL_MS);
        if (accepted) {
          // What a node that has not heard of it yet says is old.
          this.#seen = { ...this.#seen, version: Math.max(this.#seen.version, configVersion) };
          return true;
        }
        kernel.trace('operator', () => `refused ${code}: ${reason}`);
        if (code === 'MEMBER_REFUSED' || code === 'NOT_SUCCESSOR') {
          tally.add('member change refused');
          return false;
        }
        target = ask === 0 ? anybody() : ask;
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
        kernel.trace('operator', () => `knows not: ${error.message}`);
        target = anybody();
      }
      await delay(process.clock, 30 + random.below(300));
    }
    return false;
  }
}
