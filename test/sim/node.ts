import type { NodeId } from '../../base/brands.ts';
import type { Logger } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import { NodeServices } from '../../binlogsvr/node-services.ts';
import type { ReplicaOptions } from '../../binlogsvr/replica-options.ts';
import { peerAddressOf } from './addresses.ts';
import type { LogChecker } from './checkers/log.ts';
import { type DiskProfile, SimDisk } from './disk.ts';
import type { Kernel } from './kernel.ts';
import type { SimNetwork } from './network.ts';
import { SimPeers } from './peers.ts';
import { type IoFate, Machine, SimProcess } from './process.ts';
import type { Server } from './rpc.ts';
import type { Tally } from './tally.ts';

/** Parts per million of clock drift, either way: what the lease's margin allows for is far more (takeover = lease * 1.1). */
const DRIFT_PPM_MAX = 500;
/** A supervisor starts what died after this. */
const RESTART_MS: readonly [number, number] = [20, 400];

/** What the nodes of a world share. */
export type NodeContext = Readonly<{
  kernel: Kernel;
  network: SimNetwork;
  tally: Tally;
  log: LogChecker;
  /** Those the cluster is founded with. */
  nodes: readonly NodeId[];
  lease: LeaseTimes;
  diskProfile: DiskProfile;
  /** Default: production's. */
  upkeep?: Pick<ReplicaOptions, 'purge' | 'pace'>;
}>;

/** A process its supervisor starts again whenever it dies, as long as the node has power. */
export type Supervised = Readonly<{
  name: string;
  /** Runs in the new process; what it throws is the world's failure. */
  run: (process: SimProcess) => void | Promise<void>;
  onExit?: () => void;
}>;

/** One node: a machine with power or without, its disk, and the processes on it; binlogsvr is one of them. */
export class SimNode {
  readonly id: NodeId;
  readonly machine: Machine;
  readonly disk: SimDisk;
  readonly #context: NodeContext;
  readonly #random: Prng;
  readonly #supervised: Supervised[] = [];
  readonly #processes = new Map<string, SimProcess>();
  readonly #stopped = new Set<string>();
  #powered = false;
  /** Started to join a cluster there is, as its configuration says from now on. */
  joins: boolean;
  /** It is there to be powered: a spare nobody has started yet, and a node taken out of use, are not. */
  inUse: boolean;
  #life = 0;
  #server: Server | null = null;
  #peers: SimPeers | null = null;
  /** Asked before every operation of a port of a process of this node. */
  fate: ((process: string, what: string) => IoFate) | null = null;
  /** Called when the power is cut, after the processes died. */
  onPowerCut: (() => void) | null = null;
  /** Called when its disks are emptied, with the power off. */
  onEmptied: (() => void) | null = null;
  /** Called in the new binlogsvr's process, when it answers. */
  onServer: ((server: Server) => void) | null = null;

  /** One the cluster was not founded with is a spare: started when somebody puts it in use. */
  constructor(context: NodeContext, id: NodeId) {
    this.#context = context;
    this.id = id;
    this.joins = !context.nodes.includes(id);
    this.inUse = !this.joins;
    const { kernel } = context;
    this.#random = kernel.fork();
    const drift = (this.#random.below(2 * DRIFT_PPM_MAX + 1) - DRIFT_PPM_MAX) / 1e6;
    this.machine = new Machine(kernel, `node ${id}`, drift);
    this.disk = new SimDisk(kernel, id, context.diskProfile, context.tally, context.upkeep?.pace?.purgeMargin);
    this.supervise({ name: 'binlogsvr', run: (process) => this.#runServer(process), onExit: () => this.#serverGone() });
  }

  /** The binlogsvr that answers now, or null. */
  get server(): Server | null {
    return this.#server?.process.alive ? this.#server : null;
  }

  get peers(): SimPeers | null {
    return this.#peers;
  }

  get powered(): boolean {
    return this.#powered;
  }

  /** The live processes by name. */
  get processes(): ReadonlyMap<string, SimProcess> {
    return this.#processes;
  }

  /** Before power(): one more process of this node. */
  supervise(supervised: Supervised): void {
    this.#supervised.push(supervised);
  }

  power(): void {
    if (this.#powered || !this.inUse) return;
    this.#powered = true;
    for (const supervised of this.#supervised) this.#start(supervised);
  }

  /** A process of this node that nobody supervises; it dies with the power. */
  spawn(name: string): SimProcess {
    const { kernel } = this.#context;
    const process = new SimProcess(kernel, `${name} ${this.id}`, this.machine);
    process.fate = (what) => this.fate?.(name, what) ?? { crash: 'never', extraMs: 0 };
    this.#processes.set(name, process);
    process.onDeath(() => {
      if (this.#processes.get(name) === process) this.#processes.delete(name);
    });
    return process;
  }

  /** All processes die at once, what was not synced is lost unless it happens to be on disk, nobody is told. */
  cutPower(unsyncedLost: boolean): void {
    if (!this.#powered) return;
    this.#powered = false;
    this.#peers?.died(true);
    for (const process of [...this.#processes.values()]) process.kill('power cut');
    if (unsyncedLost) this.disk.powerCut();
    this.onPowerCut?.();
  }

  /** With an empty disk, to join the cluster there is; what its MySQL holds is emptied by whoever listens. */
  startEmpty(): void {
    this.cutPower(false);
    this.disk.wipe();
    this.onEmptied?.();
    this.joins = true;
    this.inUse = true;
    this.power();
  }

  /** Powered off, for nobody but startEmpty() to power again. */
  takeOut(): void {
    this.inUse = false;
    this.cutPower(false);
  }

  /** Ends a supervised process for good. */
  stop(name: string): void {
    this.#stopped.add(name);
    this.#processes.get(name)?.kill('stopped');
  }

  freeze(ms: number): void {
    for (const process of this.#processes.values()) process.freeze(ms);
  }

  suspend(ms: number): void {
    this.freeze(ms);
    this.machine.suspend(ms);
  }

  #start(supervised: Supervised): void {
    if (!this.#powered || this.#processes.has(supervised.name) || this.#stopped.has(supervised.name)) return;
    const { kernel } = this.#context;
    const process = this.spawn(supervised.name);
    kernel.trace(process.name, () => 'starts');
    process.onDeath(() => {
      supervised.onExit?.();
      const [from, to] = RESTART_MS;
      kernel.at(from + this.#random.below(to - from), () => this.#start(supervised));
    });
    Promise.try(() => supervised.run(process)).catch((error: unknown) => {
      if (process.alive) kernel.fail(error);
    });
  }

  async #runServer(process: SimProcess): Promise<void> {
    const { kernel, network, lease, log, tally } = this.#context;
    const founders = this.#context.nodes;
    const nodes = founders.includes(this.id) ? founders : [...founders, this.id];
    this.#life += 1;
    const life = `node ${this.id} (life ${this.#life})`;
    const { store, report } = await this.disk.open(process);
    const peers = new SimPeers(network, process, this.id, nodes);
    this.#peers = peers;
    const services = await NodeServices.open(
      {
        self: this.id,
        nodes,
        store,
        report,
        transport: peers,
        clock: process.clock,
        random: kernel.fork(),
        log: counting(simLogger(kernel, process.name), this.#context.tally),
        lease,
        addresses: new Map(nodes.map((id) => [id, peerAddressOf(id)])),
        ...(this.joins ? { join: peerAddressOf(this.id) } : {}),
        ...this.#context.upkeep,
        onFatal: () => process.kill('its store failed'),
      },
      { pid: this.#life, version: 'sim' },
    );
    log.starts(life, services.replica.state.appliedIndex);
    services.replica.onApplied((applied, state) => {
      if (!process.alive) return;
      kernel.trace(process.name, () => {
        const { kind } = applied.value;
        return `applied ${applied.instance}: ${kind === 'append' ? `append of epoch ${applied.value.epoch} ${applied.transactions.map((t) => t.gtid.slice(-8)).join(',')}` : JSON.stringify(applied.value)}${applied.accepted ? '' : ` REFUSED ${applied.code} ${applied.reason}`}`;
      });
      // An error in here must end the run, not the replica.
      try {
        log.applied(life, applied, state);
      } catch (error) {
        kernel.fail(error);
      }
    });
    services.replica.events.onInstalled((state) => {
      if (!process.alive) return;
      tally.add('snapshot installed');
      try {
        log.installed(life, state);
      } catch (error) {
        kernel.fail(error);
      }
    });
    this.#server = { process, services };
    this.onServer?.(this.#server);
  }

  #serverGone(): void {
    this.#server = null;
    this.#peers = null;
  }
}

/** Counts in which ways bad values were repaired: each of them has to happen. */
function counting(log: Logger, tally: Tally): Logger {
  return {
    ...log,
    warn: (message, fields) => {
      if (fields?.repairedBy !== undefined) tally.add(`bad value repaired by ${fields.repairedBy}`);
      log.warn(message, fields);
    },
  };
}

/** What production logs goes into the trace. */
export function simLogger(kernel: Kernel, who: string): Logger {
  if (!kernel.tracing) {
    const nothing = (): void => {};
    return { debug: nothing, info: nothing, warn: nothing, error: nothing };
  }
  const write = (level: string) => (message: string, fields?: Readonly<Record<string, unknown>>) =>
    kernel.trace(who, () => `${level}: ${message} ${fields === undefined ? '' : JSON.stringify(fields)}`);
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}
