import { instanceId, type NodeId, nodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import { memberAt, votes, wasRemoved } from '../../binlogsvr/membership.ts';
import type { AcceptorRecord } from '../../binlogsvr/paxos/types.ts';
import type { ReplicatedState } from '../../binlogsvr/state-types.ts';
import type { Member } from '../../binlogsvr/values.ts';
import { History } from './checkers/history.ts';
import { LeaseChecker } from './checkers/lease.ts';
import { check, LogChecker, type Writes } from './checkers/log.ts';
import { drawPlan, type FaultEvent, Faults } from './faults.ts';
import { Kernel } from './kernel.ts';
import { drawMembers, type MembersPlan, type SpareKind } from './members-plan.ts';
import { SimNetwork } from './network.ts';
import { SimNode } from './node.ts';
import { Operator } from './operator.ts';
import { Machine, SimProcess } from './process.ts';
import { type Server, SimBinlogsvrClient } from './rpc.ts';
import { StoreFaults } from './store-faults.ts';
import { Tally } from './tally.ts';
import { drawUpkeep, type UpkeepPlan } from './upkeep-plan.ts';

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
  /** Fault events to leave out, by their number. */
  skip?: ReadonlySet<number>;
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
  /** Its log is purged in some seeds. */
  purges: boolean;
}>;

/**
 * 3 or 5 nodes, sometimes spare ones and somebody who changes who belongs to the cluster, what may happen to all of them, and
 * checkers. Safety under faults, then liveness on a healed world, under whoever are the members then. What stands on the nodes'
 * binlogsvrs is the subclass's.
 */
export abstract class SimWorld {
  readonly kernel: Kernel;
  readonly tally = new Tally();
  readonly log: LogChecker;
  readonly history: History;
  readonly lease = new LeaseChecker();
  /** Founders first, then the spares. */
  readonly nodes: readonly SimNode[];
  /** What the spares are good for. */
  protected readonly spares: ReadonlyMap<number, SpareKind>;
  protected readonly members: MembersPlan;
  protected readonly upkeep: UpkeepPlan;
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
    this.members = drawMembers(seed);
    const drawn = random.chance(1, 3) && !this.members.few ? 5 : 3;
    const size = options.nodes ?? drawn;
    this.upkeep = drawUpkeep(seed, kind.purges);
    const { purge, pace, everyMs: storeFaults } = this.upkeep;
    const drawnPlan = drawPlan(random, kind.extraFaults);
    const plan = { ...drawnPlan, everyMs: new Map([...drawnPlan.everyMs, ...storeFaults]) };
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
      upkeep: { ...(purge === null ? {} : { purge }), ...(pace === null ? {} : { pace }) },
    };
    this.spares = new Map(this.members.spares.map((kind, i) => [size + 1 + i, kind]));
    const all = [...ids, ...[...this.spares.keys()].map(nodeId)];
    this.nodes = all.map((id) => new SimNode(context, id));
    this.faults = new Faults(kernel, this.network, this.nodes, plan, this.tally, options.skip);
    new StoreFaults(kernel, this.faults, this.nodes);
    this.#chaosMs = CHAOS_MS[0] + random.below(CHAOS_MS[1] - CHAOS_MS[0]);
    kernel.trace(
      'world',
      () =>
        `seed ${seed}: ${size} nodes${this.spares.size > 0 ? `, spare ${[...this.spares.values()]}` : ''}, ${JSON.stringify({ ...plan, everyMs: [...plan.everyMs] })}`,
    );
  }

  get faultEvents(): readonly FaultEvent[] {
    return this.faults.events;
  }

  /** Why the world is not well yet, or ''; `ackedBefore`: writes acknowledged when it was healed. */
  protected illness(ackedBefore: number): string {
    const indexes: number[] = [];
    const newest = this.newest();
    let holders = 0;
    for (const node of this.nodes) {
      if (!node.inUse) continue;
      const { id, server } = node;
      if (server === null) return `node ${id} is down`;
      const { replica } = server.services;
      if (replica.leaseRemainingMs > 0) holders += 1;
      const seat = newest === null ? undefined : memberAt(newest, id);
      if (newest !== null && seat === undefined) {
        const illness = illnessOfStranger(node, newest);
        if (illness !== '') return illness;
        continue;
      }
      if (replica.mayVote !== (seat === undefined || votes(seat))) {
        return `node ${id} ${replica.mayVote ? 'votes' : 'does not vote'}: ${replica.votingReason}`;
      }
      indexes.push(replica.state.appliedIndex);
    }
    if (holders !== 1) return 'no lease holder';
    if (this.history.acked < ackedBefore + 3) return 'no write was acknowledged';
    const [least, most] = [Math.min(...indexes), Math.max(...indexes)];
    if (most - least > 20) return `a node is at ${least}, another at ${most}`;
    return '';
  }

  /** The state of whoever is furthest; null while there is no log. */
  protected newest(): ReplicatedState | null {
    let newest: ReplicatedState | null = null;
    for (const { server } of this.nodes) {
      const state = server?.services.replica.state;
      if (state === undefined || state.baseline === null) continue;
      if (newest === null || state.appliedIndex > newest.appliedIndex) newest = state;
    }
    return newest;
  }

  /** Its seat by that state, if it is in use. */
  protected seatOf(node: SimNode): Member | undefined {
    const newest = this.newest();
    return newest === null || !node.inUse ? undefined : memberAt(newest, node.id);
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
    this.#startOperator();
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
    const purged = Math.max(...this.nodes.map(({ disk }) => disk.memory.base?.appliedIndex ?? 0));
    if (purged > 0) tally.add('instances purged', purged);
    return {
      seed: kernel.seed,
      simulatedMs: kernel.now,
      events: kernel.fired,
      digest: kernel.digest,
      counts: tally.toJSON(),
    };
  }

  #startOperator(): void {
    const { kernel, nodes, tally, spares } = this;
    const { operator } = this.members;
    if (operator === null) return;
    const process = new SimProcess(kernel, 'operator', new Machine(kernel, 'operator'));
    const clients = new Map<number, SimBinlogsvrClient>(
      nodes.map((node) => [
        node.id,
        new SimBinlogsvrClient(
          kernel,
          process,
          () => node.server,
          () => this.faults.rpc,
          tally,
        ),
      ]),
    );
    const clientOf = (id: number) => clients.get(id) as SimBinlogsvrClient;
    const random = new Prng(kernel.random.next32());
    const resting = (): boolean => this.faults.healed;
    new Operator({ kernel, process, nodes, clientOf, kinds: spares, plan: operator, random, tally, resting })
      .run()
      .catch((error: unknown) => kernel.fail(error));
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
    // What another member has purged nobody gives back.
    const members = this.nodes.filter((node) => this.seatOf(node) !== undefined);
    const from = 1 + Math.max(0, ...members.map(({ disk }) => disk.memory.base?.appliedIndex ?? 0));
    for (const { id, server } of members) {
      if (server === null) continue;
      unread.set(id, 'not begun');
      server.process.deliver(
        () => void this.#readAll(id, server, from, unread).catch((error: unknown) => kernel.fail(error)),
      );
    }
    const deadline = kernel.now + LIVENESS_MS;
    while (unread.size > 0) {
      check(kernel.now <= deadline, () => `log not readable within ${LIVENESS_MS} ms: ${JSON.stringify([...unread])}`);
      await kernel.runUntil(kernel.now + 100);
    }
  }

  async #readAll(
    id: NodeId,
    { services: { replica } }: Server,
    begin: number,
    unread: Map<NodeId, string>,
  ): Promise<void> {
    const upTo = replica.state.appliedIndex;
    for (let from = begin; from <= upTo; ) {
      try {
        const entries = await replica.readLog(instanceId(from), READ_BYTES);
        check(entries.length > 0, () => `node ${id} has applied ${upTo} and reads nothing at ${from}`);
        from += entries.length;
      } catch (error) {
        if (!(error instanceof PhxError)) throw error;
        if (error.code === 'PURGED') {
          from = replica.keeping.purger.status().firstRetained;
          continue;
        }
        if (error.code !== 'STORE_CORRUPT') throw error;
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
      const { records, repaired, base } = disk.memory;
      const again = [...repaired].map(([instance, { value }]) => [instance, value] as const);
      // What lies before a snapshot it may only have accepted.
      const from = base?.appliedIndex ?? 0;
      for (const [instance, value] of [...lastValues(records), ...again]) {
        if (instance <= from || instance > upTo) continue;
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

/** One that is no member, though it is in use: it was removed, or it is being taken in. */
function illnessOfStranger({ id, joins, server }: SimNode, newest: ReplicatedState): string {
  const replica = server?.services.replica;
  if (replica === undefined) return '';
  if (replica.leaseRemainingMs > 0) return `node ${id} holds the lease and is no member`;
  const isOut = wasRemoved(newest, id, replica.hello().storeId);
  return joins && !isOut ? `node ${id} was not taken in` : '';
}
