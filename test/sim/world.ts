import { instanceId, type NodeId, nodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import type { AcceptorRecord } from '../../binlogsvr/paxos/types.ts';
import { History } from './checkers/history.ts';
import { LeaseChecker } from './checkers/lease.ts';
import { check, LogChecker, type Writes } from './checkers/log.ts';
import { drawPlan, Faults } from './faults.ts';
import { Kernel } from './kernel.ts';
import { SimNetwork } from './network.ts';
import { SimNode } from './node.ts';
import type { Server } from './rpc.ts';
import { Tally } from './tally.ts';

const CHAOS_MS: readonly [number, number] = [3_000, 9_000];
/** On a healed world everything has to be well again within this. */
export const LIVENESS_MS = 15_000;
const LOOK_MS = 25;
const READ_BYTES = 64 * 1024;

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

/** What a kind of world is made of. */
export type WorldKind = Readonly<{
  lease: LeaseTimes;
  decode: (events: Uint8Array) => Writes;
  /** Kinds of faults it has beside the common ones. */
  extraFaults: readonly string[];
}>;

/**
 * 3 or 5 nodes, what may happen to them, and checkers. Safety under faults, then liveness on a healed world. What stands on the
 * nodes' binlogsvrs is the subclass's.
 */
export abstract class SimWorld {
  readonly kernel: Kernel;
  readonly tally = new Tally();
  readonly log: LogChecker;
  readonly history: History;
  readonly lease = new LeaseChecker();
  readonly nodes: readonly SimNode[];
  protected readonly network: SimNetwork;
  protected readonly faults: Faults;
  protected readonly random: Prng;
  readonly #chaosMs: number;
  #unique = 0;

  constructor(options: WorldOptions, kind: WorldKind) {
    const { seed } = options;
    const kernel = new Kernel(seed, {
      trace: options.trace ?? false,
      ...(options.drain === undefined ? {} : { drain: options.drain }),
    });
    this.kernel = kernel;
    this.log = new LogChecker(kind.decode);
    this.history = new History(this.log);
    const random = kernel.fork();
    this.random = random;
    const size = options.nodes ?? (random.chance(1, 3) ? 5 : 3);
    const plan = drawPlan(random, kind.extraFaults);
    const ids: readonly NodeId[] = Array.from({ length: size }, (_, i) => nodeId(i + 1));
    this.network = new SimNetwork(kernel, plan.network, this.tally);
    const context = {
      kernel,
      network: this.network,
      tally: this.tally,
      log: this.log,
      nodes: ids,
      lease: kind.lease,
      diskProfile: plan.disk,
    };
    this.nodes = ids.map((id) => new SimNode(context, id));
    this.faults = new Faults(kernel, this.network, this.nodes, plan, this.tally);
    this.#chaosMs = CHAOS_MS[0] + random.below(CHAOS_MS[1] - CHAOS_MS[0]);
    kernel.trace(
      'world',
      () => `seed ${seed}: ${size} nodes, ${JSON.stringify({ ...plan, everyMs: [...plan.everyMs] })}`,
    );
  }

  /** Why the world is not well yet, or ''; `ackedBefore`: writes acknowledged when it was healed. */
  protected illness(ackedBefore: number): string {
    const indexes: number[] = [];
    let holders = 0;
    for (const { id, server } of this.nodes) {
      if (server === null) return `node ${id} is down`;
      const { replica } = server.services;
      if (!replica.mayVote) return `node ${id} does not vote: ${replica.votingReason}`;
      indexes.push(replica.state.appliedIndex);
      if (replica.leaseRemainingMs > 0) holders += 1;
    }
    if (holders !== 1) return 'no lease holder';
    if (this.history.acked < ackedBefore + 3) return 'no write was acknowledged';
    const [least, most] = [Math.min(...indexes), Math.max(...indexes)];
    if (most - least > 20) return `a node is at ${least}, another at ${most}`;
    return '';
  }

  /** At any time under faults, every LOOK_MS. */
  protected lookCloser(): void {}

  /** At the end, after the world was well. */
  protected async verifyEnd(): Promise<void> {}

  /** A number nobody else in this world has. */
  protected unique(): number {
    this.#unique += 1;
    return this.#unique;
  }

  /** @throws SimFailure with the first contradiction */
  async run(): Promise<WorldResult> {
    const { kernel, tally } = this;
    this.#look();
    for (const node of this.nodes) node.power();
    this.faults.start();
    await kernel.runUntil(this.#chaosMs);
    this.faults.heal();
    await this.#becomesWell();
    try {
      await this.#readsAll();
      await this.verifyEnd();
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
      this.lookCloser();
    });
  }

  async #becomesWell(): Promise<void> {
    const { kernel } = this;
    const healedAt = kernel.now;
    const acked = this.history.acked;
    let why = '';
    for (let at = healedAt; at <= healedAt + LIVENESS_MS; at += 100) {
      await kernel.runUntil(at);
      why = this.illness(acked);
      if (why === '') {
        this.tally.add('ms from healed to well', Math.round(kernel.now - healedAt));
        return;
      }
    }
    kernel.fail(new Error(`no progress within ${LIVENESS_MS} ms after everything was healed: ${why}`));
    throw kernel.failure as Error;
  }

  /** Every node can read its whole log, whatever was damaged. */
  async #readsAll(): Promise<void> {
    const { kernel } = this;
    const unread = new Map<NodeId, string>();
    for (const { id, server } of this.nodes) {
      if (server === null) continue;
      unread.set(id, 'not begun');
      server.process.deliver(
        () => void this.#readAll(id, server, unread).catch((error: unknown) => kernel.fail(error)),
      );
    }
    const deadline = kernel.now + LIVENESS_MS;
    while (unread.size > 0) {
      check(kernel.now <= deadline, () => `log not readable within ${LIVENESS_MS} ms: ${JSON.stringify([...unread])}`);
      await kernel.runUntil(kernel.now + 100);
    }
  }

  async #readAll(id: NodeId, { services: { replica } }: Server, unread: Map<NodeId, string>): Promise<void> {
    const upTo = replica.state.appliedIndex;
    for (let from = 1; from <= upTo; ) {
      try {
        const entries = await replica.readLog(instanceId(from), READ_BYTES);
        check(entries.length > 0, () => `node ${id} has applied ${upTo} and reads nothing at ${from}`);
        from += entries.length;
      } catch (error) {
        if (!(error instanceof PhxError) || error.code !== 'STORE_CORRUPT') throw error;
        unread.set(id, error.message);
        this.tally.add('read again for a bad value');
      }
    }
    unread.delete(id);
  }

  /** Chosen values lie on every disk as the same bytes, and so do those that were repaired. */
  #compareDisks(): void {
    const bytes = new Map<number, Readonly<{ value: Uint8Array; node: number }>>();
    for (const { id, disk, server } of this.nodes) {
      const upTo = server?.services.replica.state.appliedIndex ?? 0;
      const { records, repaired } = disk.memory;
      const again = [...repaired].map(([instance, { value }]) => [instance, value] as const);
      for (const [instance, value] of [...lastValues(records), ...again]) {
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
