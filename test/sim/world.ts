import { type NodeId, nodeId } from '../../base/brands.ts';
import { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import type { AcceptorRecord } from '../../binlogsvr/paxos/types.ts';
import { History } from './checkers/history.ts';
import { LeaseChecker } from './checkers/lease.ts';
import { check, LogChecker } from './checkers/log.ts';
import { drawPlan, Faults } from './faults.ts';
import { Kernel } from './kernel.ts';
import { ScriptedData, ScriptedMaster } from './master.ts';
import { SimNetwork } from './network.ts';
import { SimNode } from './node.ts';
import { SimBinlogsvrClient } from './rpc.ts';
import { Tally } from './tally.ts';

/** A third of production's, in the same relations: a seed sees more elections in its time. */
export const SIM_LEASE: LeaseTimes = { leaseMs: 1000, renewMs: 170, takeoverMs: 1200 };
const CHAOS_MS: readonly [number, number] = [4_000, 14_000];
/** On a healed world everything has to be well again within this. */
export const LIVENESS_MS = 15_000;
const LOOK_MS = 25;

export type WorldOptions = Readonly<{
  seed: number;
  /** Default: drawn from the seed. */
  nodes?: 3 | 5;
  trace?: boolean;
  drain?: 'checkpoint' | 'turns';
}>;

export type WorldResult = Readonly<{
  seed: number;
  simulatedMs: number;
  events: number;
  digest: string;
  counts: Readonly<Record<string, number>>;
}>;

/**
 * The replicated log alone: binlogsvrs of 3 or 5 nodes with scripted masters and clients. Safety under faults, then liveness
 * on a healed world.
 */
export class LogWorld {
  readonly kernel: Kernel;
  readonly tally = new Tally();
  readonly log = new LogChecker();
  readonly history = new History(this.log);
  readonly lease = new LeaseChecker();
  readonly nodes: readonly SimNode[];
  readonly #network: SimNetwork;
  readonly #faults: Faults;
  readonly #chaosMs: number;
  #unique = 0;

  constructor(options: WorldOptions) {
    const { seed } = options;
    const kernel = new Kernel(seed, {
      trace: options.trace ?? false,
      ...(options.drain === undefined ? {} : { drain: options.drain }),
    });
    this.kernel = kernel;
    const random = kernel.fork();
    const size = options.nodes ?? (random.chance(1, 3) ? 5 : 3);
    const plan = drawPlan(random);
    const ids: readonly NodeId[] = Array.from({ length: size }, (_, i) => nodeId(i + 1));
    this.#network = new SimNetwork(kernel, plan.network, this.tally);
    const context = {
      kernel,
      network: this.#network,
      tally: this.tally,
      log: this.log,
      nodes: ids,
      lease: SIM_LEASE,
      diskProfile: plan.disk,
    };
    this.nodes = ids.map((id) => new SimNode(context, id));
    this.#faults = new Faults(kernel, this.#network, this.nodes, plan, this.tally);
    const pace = {
      writeMs: random.pick([10, 40, 150]),
      readMs: random.pick([20, 60]),
      executeMs: random.pick([10, 60, 300]),
    };
    for (const node of this.nodes) this.#addMaster(node, pace);
    this.#chaosMs = CHAOS_MS[0] + random.below(CHAOS_MS[1] - CHAOS_MS[0]);
    kernel.trace(
      'world',
      () => `seed ${seed}: ${size} nodes, ${JSON.stringify({ ...plan, everyMs: [...plan.everyMs] })}`,
    );
  }

  /** @throws SimFailure with the first contradiction */
  async run(): Promise<WorldResult> {
    const { kernel, tally } = this;
    this.#look();
    for (const node of this.nodes) node.power();
    this.#faults.start();
    await kernel.runUntil(this.#chaosMs);
    this.#faults.heal();
    await this.#becomesWell();
    try {
      this.history.verify();
      this.#compareDisks();
    } catch (error) {
      kernel.fail(error);
    }
    if (kernel.failure !== null) throw kernel.failure;
    kernel.note(this.log.highest);
    tally.add('instances', this.log.highest);
    return {
      seed: kernel.seed,
      simulatedMs: kernel.now,
      events: kernel.fired,
      digest: kernel.digest,
      counts: tally.toJSON(),
    };
  }

  #addMaster(node: SimNode, pace: Readonly<{ writeMs: number; readMs: number; executeMs: number }>): void {
    const { kernel, tally, history } = this;
    const data = new ScriptedData();
    node.supervise({
      name: 'master',
      run: (process) => {
        const server = () => node.server;
        const client = new SimBinlogsvrClient(kernel, process, server, () => this.#faults.rpc, tally);
        const random = new Prng(kernel.random.next32());
        const unique = (): number => {
          this.#unique += 1;
          return this.#unique;
        };
        new ScriptedMaster({
          kernel,
          node: node.id,
          process,
          client,
          server,
          data,
          history,
          lease: SIM_LEASE,
          random,
          tally,
          unique,
          pace,
        }).run();
      },
    });
  }

  /** Asks everybody alive who holds the lease, again and again. */
  #look(): void {
    this.kernel.at(LOOK_MS, () => {
      this.#look();
      const claims = [];
      for (const { id, server } of this.nodes) {
        if (server === null || server.process.frozen) continue;
        const { epoch, remainingMs } = server.services.leaseReply();
        claims.push({ node: id, epoch, remainingMs });
      }
      this.lease.look(claims);
    });
  }

  async #becomesWell(): Promise<void> {
    const { kernel } = this;
    const healedAt = kernel.now;
    const acked = this.history.acked;
    let why = '';
    for (let at = healedAt; at <= healedAt + LIVENESS_MS; at += 100) {
      await kernel.runUntil(at);
      why = this.#illness(acked);
      if (why === '') {
        this.tally.add('ms from healed to well', Math.round(kernel.now - healedAt));
        return;
      }
    }
    kernel.fail(new Error(`no progress within ${LIVENESS_MS} ms after everything was healed: ${why}`));
    throw kernel.failure as Error;
  }

  /** Why the world is not well yet, or ''. */
  #illness(ackedBefore: number): string {
    const indexes = new Set<number>();
    let holders = 0;
    for (const { id, server } of this.nodes) {
      if (server === null) return `node ${id} is down`;
      const { replica } = server.services;
      if (!replica.mayVote) return `node ${id} does not vote: ${replica.votingReason}`;
      indexes.add(replica.state.appliedIndex);
      if (replica.leaseRemainingMs > 0) holders += 1;
    }
    if (holders !== 1) return 'no lease holder';
    if (this.history.acked < ackedBefore + 3) return 'no write was acknowledged';
    const [least, most] = [Math.min(...indexes), Math.max(...indexes)];
    if (most - least > 20) return `a node is at ${least}, another at ${most}`;
    return '';
  }

  /** Chosen values lie on every disk as the same bytes. */
  #compareDisks(): void {
    const bytes = new Map<number, Readonly<{ value: Uint8Array; node: number }>>();
    for (const { id, disk, server } of this.nodes) {
      const upTo = server?.services.replica.state.appliedIndex ?? 0;
      for (const [instance, value] of lastValues(disk.memory.records)) {
        if (instance > upTo) continue;
        const known = bytes.get(instance);
        if (known === undefined) bytes.set(instance, { value, node: id });
        else {
          check(
            Buffer.compare(known.value, value) === 0,
            () => `instance ${instance} lies on the disks of nodes ${known.node} and ${id} with different bytes`,
          );
        }
      }
    }
  }
}

function lastValues(records: readonly AcceptorRecord[]): Map<number, Uint8Array> {
  const last = new Map<number, Uint8Array>();
  for (const record of records) if (record.kind === 'accepted') last.set(record.entry.instance, record.entry.value);
  return last;
}
