import type { NodeId } from '../../base/brands.ts';
import { Prng } from '../../base/prng.ts';
import type { DiskProfile } from './disk.ts';
import type { Kernel } from './kernel.ts';
import type { NetworkProfile, SimNetwork } from './network.ts';
import type { SimNode } from './node.ts';
import type { RpcProfile } from './rpc.ts';
import type { Tally } from './tally.ts';

/** What may be done to a world, each with how it is done once. */
const KINDS = [
  'kill a process',
  'power cut of a node',
  'power cut of all',
  'freeze a process',
  'freeze a node',
  'suspend a machine',
  'wall clock jump',
  'partition',
  'one-way partition',
  'half-partition',
  'connection reset',
  'damaged value',
  'damaged acceptor',
  'crash at an await',
] as const;
type BuiltIn = (typeof KINDS)[number];

/** Something that may have been done to a world, and when (true time, ms). */
export type FaultEvent = Readonly<{ at: number; kind: string }>;

/** One more kind, of what only some worlds have: does it once to the node, false if that cannot be done now. */
export type ExtraFault = (node: SimNode) => boolean;

/** Swarm testing: what each seed draws for itself; most kinds are off, so that what is on gets far. */
export type FaultPlan = Readonly<{
  /** Mean ms between two faults of a kind; absent = off. */
  everyMs: ReadonlyMap<string, number>;
  network: NetworkProfile;
  disk: DiskProfile;
  rpc: RpcProfile;
  /** What a freeze, a cut or an outage lasts at most. */
  longMs: number;
}>;

const EVERY_MS = [500, 1500, 4000, 9000] as const;
const QUIET_RPC: RpcProfile = { delayMs: [0.05, 0.5], requestLost: 0, replyLost: 0 };

export function drawPlan(random: Prng, extraKinds: readonly string[]): FaultPlan {
  const everyMs = new Map<string, number>();
  for (const kind of [...KINDS, ...extraKinds]) if (random.chance(1, 3)) everyMs.set(kind, random.pick(EVERY_MS));
  const unreliable = random.chance(1, 2);
  return {
    everyMs,
    network: {
      delayMs: random.pick([
        [0.1, 0.5],
        [0.2, 3],
        [2, 30],
        [5, 6],
      ] as const),
      lossChance: unreliable ? random.pick([0, 10, 50, 150]) : 0,
      duplicateChance: unreliable ? random.pick([0, 10, 50]) : 0,
      lateChance: unreliable ? random.pick([0, 30, 200]) : 0,
      lateMsMax: random.pick([20, 200, 1500]),
    },
    disk: {
      syncMs: random.pick([
        [0.1, 0.4],
        [0.5, 5],
        [2, 30],
      ] as const),
      slowChance: random.pick([0, 0, 2_000, 20_000]),
      slowMsMax: random.pick([50, 500, 3000]),
      failChance: random.pick([0, 0, 200, 2_000]),
    },
    rpc: {
      delayMs: random.pick([
        [0.05, 0.5],
        [0.5, 20],
      ] as const),
      requestLost: random.pick([0, 0, 5, 30]),
      replyLost: random.pick([0, 0, 5, 30]),
    },
    longMs: random.pick([300, 1500, 4000]),
  };
}

/** Does to a world what its plan says, until it is healed. */
export class Faults {
  readonly #kernel: Kernel;
  /** Of when something happens. */
  readonly #schedule: Prng;
  /** Of what happens: a stream for each event, so that one that is left out does not change the others. */
  #random: Prng;
  readonly #network: SimNetwork;
  readonly #nodes: readonly SimNode[];
  readonly #tally: Tally;
  readonly #plan: FaultPlan;
  /** By their number: these are left out. */
  readonly #skip: ReadonlySet<number>;
  readonly #events: FaultEvent[] = [];
  readonly #extra = new Map<string, ExtraFault>();
  #healed = false;
  /** Every node has applied something: from now on a store that forgot is replaced by the log. */
  #founded = false;

  constructor(
    kernel: Kernel,
    network: SimNetwork,
    nodes: readonly SimNode[],
    plan: FaultPlan,
    tally: Tally,
    skip: ReadonlySet<number> = new Set(),
  ) {
    this.#kernel = kernel;
    this.#schedule = kernel.fork();
    this.#random = new Prng(0);
    this.#skip = skip;
    this.#network = network;
    this.#nodes = nodes;
    this.#plan = plan;
    this.#tally = tally;
  }

  /** Before start(): how a kind the plan may name is done. */
  define(kind: string, inject: ExtraFault): void {
    this.#extra.set(kind, inject);
  }

  /** All that came up so far, also what was left out or could not be done. */
  get events(): readonly FaultEvent[] {
    return this.#events;
  }

  get healed(): boolean {
    return this.#healed;
  }

  /** How long something lasts. */
  long(): number {
    return 20 + this.#random.below(this.#plan.longMs);
  }

  get rpc(): RpcProfile {
    return this.#healed ? QUIET_RPC : this.#plan.rpc;
  }

  start(): void {
    for (const [kind, everyMs] of this.#plan.everyMs) {
      if (kind === 'crash at an await') this.#crashAtAwaits(everyMs);
      else this.#arm(kind, everyMs);
    }
  }

  /** From now on everything works, what is down comes back, nothing breaks any more. */
  heal(): void {
    this.#kernel.trace('world', () => 'HEALED');
    this.#healed = true;
    this.#network.heal();
    for (const node of this.#nodes) {
      node.fate = null;
      node.disk.heal();
      node.power();
    }
  }

  #arm(kind: string, everyMs: number): void {
    this.#kernel.at(1 + this.#schedule.below(2 * everyMs), () => {
      if (this.#healed) return;
      this.#arm(kind, everyMs);
      if (this.#begins(kind) && this.#inject(kind)) {
        this.#tally.add(kind);
        this.#kernel.trace('world', () => `fault: ${kind}`);
      }
    });
  }

  /** The next event: false if it is left out. */
  #begins(kind: string): boolean {
    this.#random = new Prng(this.#schedule.next32());
    this.#events.push({ at: this.#kernel.now, kind });
    return !this.#skip.has(this.#events.length - 1);
  }

  /** About one operation of a port in `everyMs` kills its process, before or after its effect. */
  #crashAtAwaits(everyMs: number): void {
    let armed = false;
    const arm = (): void => {
      this.#kernel.at(1 + this.#schedule.below(2 * everyMs), () => {
        if (this.#healed) return;
        armed ||= this.#begins('crash at an await');
        arm();
      });
    };
    arm();
    const target = new Prng(this.#schedule.next32());
    for (const node of this.#nodes) {
      node.fate = () => {
        if (!armed || !target.chance(1, this.#nodes.length)) return { crash: 'never', extraMs: 0 };
        armed = false;
        this.#tally.add('crash at an await');
        return { crash: target.chance(1, 2) ? 'before' : 'after', extraMs: 0 };
      };
    }
  }

  #inject(kind: string): boolean {
    const node = this.#random.pick(this.#nodes);
    const extra = this.#extra.get(kind);
    return extra === undefined ? this.#injectBuiltIn(kind as BuiltIn, node) : extra(node);
  }

  #injectBuiltIn(kind: BuiltIn, node: SimNode): boolean {
    const random = this.#random;
    switch (kind) {
      case 'crash at an await':
        return false; // not by the clock: see #crashAtAwaits
      case 'kill a process': {
        const process = this.#processOf(node);
        process?.kill();
        return process !== null;
      }
      case 'power cut of a node':
        return this.#cutPower(node);
      case 'power cut of all': {
        const all = this.#nodes.map((each) => this.#cutPower(each));
        return all.includes(true);
      }
      case 'freeze a process': {
        const process = this.#processOf(node);
        process?.freeze(this.long());
        return process !== null;
      }
      case 'freeze a node':
        node.freeze(this.long());
        return node.powered;
      case 'suspend a machine':
        node.suspend(this.long());
        return node.powered;
      case 'wall clock jump':
        node.machine.jumpWall(random.below(20_001) - 10_000);
        return true;
      case 'partition':
        return this.#isolate(node, true, true);
      case 'one-way partition':
        return random.chance(1, 2) ? this.#isolate(node, true, false) : this.#isolate(node, false, true);
      case 'half-partition': {
        const other = random.pick(this.#nodes.filter((each) => each !== node));
        return this.#block([[node.id, other.id], ...(random.chance(1, 2) ? [[other.id, node.id] as const] : [])]);
      }
      case 'connection reset': {
        const other = random.pick(this.#nodes.filter((each) => each !== node));
        node.peers?.reset(other.id);
        return node.peers !== null;
      }
      case 'damaged value':
        return this.#damageValue(node);
      case 'damaged acceptor':
        return this.#forget(node);
    }
  }

  #processOf(node: SimNode) {
    const processes = [...node.processes.values()];
    return processes.length === 0 ? null : this.#random.pick(processes);
  }

  #cutPower(node: SimNode, unsyncedLost = this.#random.chance(1, 2)): boolean {
    if (!node.powered) return false;
    node.cutPower(unsyncedLost);
    this.#kernel.at(50 + this.#random.below(this.#plan.longMs), () => node.power());
    return true;
  }

  /** Neither `out` of nor `into` the node goes anything. */
  #isolate(node: SimNode, out: boolean, into: boolean): boolean {
    const ways: (readonly [NodeId, NodeId])[] = [];
    for (const { id } of this.#nodes) {
      if (id === node.id) continue;
      if (out) ways.push([node.id, id]);
      if (into) ways.push([id, node.id]);
    }
    return this.#block(ways);
  }

  #block(ways: readonly (readonly [NodeId, NodeId])[]): boolean {
    const fresh = ways.filter(([from, to]) => !this.#network.isBlocked(from, to));
    for (const [from, to] of fresh) this.#network.block(from, to);
    this.#kernel.trace('network', () => `blocked ${fresh.map(([from, to]) => `${from}>${to}`).join(' ')}`);
    this.#kernel.at(this.long(), () => {
      this.#kernel.trace('network', () => `open again ${fresh.map(([from, to]) => `${from}>${to}`).join(' ')}`);
      for (const [from, to] of fresh) this.#network.unblock(from, to);
    });
    return fresh.length > 0;
  }

  /**
   * What the cluster promises to survive: any damage to the disk of one node, until all of it is repaired and, if the store
   * forgot, the new one is bound. No other node's disk may be hurt meanwhile: a majority of those that decided a value has to
   * have what it wrote.
   */
  #mayHurt(node: SimNode): boolean {
    this.#founded ||= this.#nodes.every(({ joins, disk }) => joins || (disk.memory.saved?.appliedIndex ?? 0) > 0);
    for (const { disk, server } of this.#nodes) {
      if (disk.forgot && server?.services.replica.mayVote === true) disk.boundAgain();
    }
    return this.#founded && this.#nodes.every((each) => each === node || !(each.disk.damaged || each.disk.forgot));
  }

  /** Now and then the others lose power over it, and with it what they know to be chosen. */
  #damageValue(node: SimNode): boolean {
    if (!this.#mayHurt(node) || !node.disk.damageValue()) return false;
    if (this.#random.chance(1, 3)) for (const other of this.#nodes) if (other !== node) this.#cutPower(other, true);
    return true;
  }

  /** The process has to die for it: a store looks at its records when it is opened. */
  #forget(node: SimNode): boolean {
    if (!this.#mayHurt(node) || !node.disk.damageAcceptor()) return false;
    node.processes.get('binlogsvr')?.kill('its disk is damaged');
    return true;
  }

  /** A kind of its own makes the node's store forget: false if that would be more than is promised to be survived. */
  forgets(node: SimNode): boolean {
    if (!this.#mayHurt(node) || node.disk.forgot) return false;
    node.disk.loses();
    return true;
  }
}
