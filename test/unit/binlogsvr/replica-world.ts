import { setImmediate as nextTurn } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { type InstanceId, type MonoMs, monoMs, type NodeId, nodeId } from '../../../base/brands.ts';
import { type Clock, silentLogger } from '../../../base/ports.ts';
import { Prng } from '../../../base/prng.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import { LeaseService } from '../../../binlogsvr/lease-service.ts';
import { MemoryDisk, MemoryLogStore } from '../../../binlogsvr/memory-store.ts';
import type {
  PeerHandler,
  PeerHello,
  PeerLink,
  PeerMessage,
  PeerTransport,
} from '../../../binlogsvr/peer-transport.ts';
import { DEFAULT_PURGE, type PurgePolicy } from '../../../binlogsvr/purge-policy.ts';
import { Replica } from '../../../binlogsvr/replica.ts';
import type { Applied } from '../../../binlogsvr/state-types.ts';
import { decodeValue } from '../../../binlogsvr/value-codec.ts';
import type { AppendValue, LogValue } from '../../../binlogsvr/values.ts';

const STEP_MS = 5;

/** Time stands still until it is advanced. */
class VirtualClock implements Clock {
  #now = 1_000_000;
  readonly #timers = new Set<{ at: number; fire: () => void }>();

  now(): MonoMs {
    return monoMs(this.#now);
  }

  wall(): number {
    return this.#now + 1e12;
  }

  after(ms: number, fire: () => void): () => void {
    const timer = { at: this.#now + ms, fire };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  soon(fire: () => void): void {
    setImmediate(fire);
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = [...this.#timers].filter((timer) => timer.at <= this.#now).sort((a, b) => a.at - b.at);
    for (const timer of due) {
      if (this.#timers.delete(timer)) timer.fire();
    }
  }
}

export type Packet = Readonly<{ from: NodeId; to: NodeId; storeId: string; incarnation: number; message: PeerMessage }>;

/** Which packets a script means: all that is given must hold. */
export type Match = Readonly<{
  from?: number;
  to?: number;
  kind?: PeerMessage['kind'];
  /** An accept or a learned with a value of this kind among its entries. */
  carrying?: LogValue['kind'];
}>;

function matches({ from, to, kind, carrying }: Match, packet: Packet): boolean {
  if (from !== undefined && packet.from !== from) return false;
  if (to !== undefined && packet.to !== to) return false;
  const { message } = packet;
  if (kind !== undefined && message.kind !== kind) return false;
  return carrying === undefined || carries(message, carrying);
}

/** A value of this kind is among the message's entries. */
export function carries(message: PeerMessage, kind: LogValue['kind']): boolean {
  if (message.kind !== 'accept' && message.kind !== 'learned') return false;
  return message.entries.some((entry) => decodeValue(entry.value).kind === kind);
}

/** Packets that meet the match wait here, until they are delivered, all at once and in order, or dropped. */
export class Held {
  packets: Packet[] = [];
  readonly match: Match;
  readonly #end: (held: Held) => void;

  constructor(match: Match, end: (held: Held) => void) {
    this.match = match;
    this.#end = end;
  }

  /** Stops holding; what was held arrives at the next step, even if its sender has died since. */
  release(): void {
    this.#end(this);
  }

  /** Stops holding; what was held never arrives. */
  drop(): void {
    this.packets = [];
    this.#end(this);
  }
}

/** All messages of a cluster in one queue, delivered a step later in order. */
class Network {
  readonly handlers = new Map<NodeId, PeerHandler>();
  readonly nodes: NodeId[];
  readonly #cut = new Set<string>();
  readonly #frozen = new Set<NodeId>();
  #holds: Held[] = [];
  #late: Packet[] = [];
  #queue: Packet[] = [];
  readonly refused: string[] = [];
  readonly #tamper: World['tamper'];

  constructor(nodes: readonly NodeId[], tamper: World['tamper']) {
    this.nodes = [...nodes];
    this.#tamper = tamper;
  }

  linked(a: NodeId, b: NodeId): boolean {
    return this.handlers.has(a) && this.handlers.has(b) && !this.#cut.has(`${a}-${b}`) && !this.#cut.has(`${b}-${a}`);
  }

  transport(self: NodeId): PeerTransport {
    return {
      start: (handler) => {
        this.handlers.set(self, handler);
        for (const peer of this.nodes) if (peer !== self && this.linked(self, peer)) this.#connect(self, peer);
      },
      send: (to, message) => {
        const hello = this.handlers.get(self)?.hello();
        if (hello === undefined || !this.linked(self, to)) return;
        this.#queue.push({ from: self, to, storeId: hello.storeId, incarnation: hello.incarnation, message });
      },
      announce: () => {
        queueMicrotask(() => {
          for (const peer of this.nodes) {
            const hello = this.handlers.get(self)?.hello();
            if (peer !== self && hello !== undefined && this.linked(self, peer)) {
              this.handlers.get(peer)?.onPeerChanged(hello);
            }
          }
        });
      },
      roster: () => {}, // everybody is connected with everybody
      peers: () =>
        this.nodes
          .filter((node) => node !== self)
          .map((node): PeerLink => {
            const connected = this.linked(self, node);
            return { node, connected, storeId: this.handlers.get(node)?.hello().storeId ?? '', reason: '' };
          }),
      close: async () => this.leave(self),
    };
  }

  leave(node: NodeId): void {
    if (!this.handlers.delete(node)) return;
    for (const handler of this.handlers.values()) handler.onPeerDown(node);
  }

  cut(left: number, right: number): void {
    const [a, b] = [nodeId(left), nodeId(right)];
    this.#cut.add(`${a}-${b}`);
    this.handlers.get(a)?.onPeerDown(b);
    this.handlers.get(b)?.onPeerDown(a);
  }

  heal(): void {
    const pairs = [...this.#cut].map((pair) => pair.split('-').map((n) => nodeId(Number(n))) as [NodeId, NodeId]);
    this.#cut.clear();
    for (const [a, b] of pairs) if (this.linked(a, b)) this.#connect(a, b);
  }

  /** From now on packets that match wait; a link that is only slow. */
  hold(match: Match): Held {
    const held = new Held(match, (ended) => {
      this.#holds = this.#holds.filter((each) => each !== ended);
      this.#late.push(...ended.packets);
    });
    this.#holds.push(held);
    return held;
  }

  /** Frozen processes hear nothing until they go on; then everything. */
  freeze(node: NodeId, frozen: boolean): void {
    if (frozen) this.#frozen.add(node);
    else this.#frozen.delete(node);
  }

  deliver(): boolean {
    const packets: Packet[] = [];
    const later: Packet[] = [];
    for (const packet of this.#queue) {
      const held = this.#holds.find(({ match }) => matches(match, packet));
      if (held !== undefined) held.packets.push(packet);
      else (this.#frozen.has(packet.to) ? later : packets).push(packet);
    }
    this.#queue = later;
    for (const { from, to, storeId, message } of this.#late.splice(0)) {
      this.handlers.get(to)?.onMessage(from, storeId, structuredClone(message));
    }
    for (const { from, to, storeId, incarnation, message } of packets) {
      if (!this.linked(from, to) || this.handlers.get(from)?.hello().incarnation !== incarnation) continue;
      const arrived = this.#tamper(from, to, structuredClone(message));
      if (arrived !== null) this.handlers.get(to)?.onMessage(from, storeId, arrived);
    }
    return packets.length > 0;
  }

  #connect(a: NodeId, b: NodeId): void {
    const left = this.handlers.get(a) as PeerHandler;
    const right = this.handlers.get(b) as PeerHandler;
    const hellos: [PeerHello, PeerHello] = [left.hello(), right.hello()];
    const greetings = [[left, right, hellos[1]] as const, [right, left, hellos[0]] as const];
    for (const [host, guest, hello] of greetings) {
      const reason = host.admit(hello);
      if (reason !== null) {
        if (host.removal.of(hello)) guest.removal.told();
        guest.floors.refused(host.hello().node, host.floors.wentBack(hello));
        this.refused.push(reason);
        this.#cut.add(`${a}-${b}`);
        return;
      }
    }
    queueMicrotask(() => {
      if (!this.linked(a, b)) return;
      left.onPeerUp(hellos[1]);
      right.onPeerUp(hellos[0]);
    });
  }
}

/** What one process sees of the time: while it is frozen its timers wait, though the time goes on. */
class NodeClock implements Clock {
  readonly #clock: VirtualClock;
  #wallJump = 0;
  #frozen = false;
  #due: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  now(): MonoMs {
    return this.#clock.now();
  }

  wall(): number {
    return this.#clock.wall() + this.#wallJump;
  }

  after(ms: number, fire: () => void): () => void {
    let cancelled = false;
    const cancel = this.#clock.after(ms, () => {
      if (this.#frozen) this.#due.push(() => cancelled || fire());
      else fire();
    });
    return () => {
      cancelled = true;
      cancel();
    };
  }

  soon(fire: () => void): void {
    this.#clock.soon(() => {
      if (this.#frozen) this.#due.push(fire);
      else fire();
    });
  }

  jumpWall(ms: number): void {
    this.#wallJump += ms;
  }

  freeze(frozen: boolean): void {
    this.#frozen = frozen;
    if (!frozen) for (const fire of this.#due.splice(0)) fire();
  }
}

/** A cluster of replicas on in-memory disks, network and clock. */
export class World {
  readonly clock = new VirtualClock();
  readonly nodes: readonly NodeId[];
  readonly network: Network;
  readonly disks = new Map<NodeId, MemoryDisk>();
  readonly replicas = new Map<NodeId, Replica>();
  readonly clocks = new Map<NodeId, NodeClock>();
  readonly fatal: unknown[] = [];
  readonly #stalled = new Map<NodeId, (() => void)[]>();
  readonly #prng: Prng;
  readonly #stores = new Map<NodeId, MemoryLogStore>();
  #storeCount = 0;
  #gno = 0;

  /** Of nodes booted from here on. */
  purge: PurgePolicy = DEFAULT_PURGE;
  /** How fast every disk syncs values; null: at once. */
  diskBytesPerMs: number | null = null;
  /** May change what is delivered, or drop it (null). */
  tamper: (from: NodeId, to: NodeId, message: PeerMessage) => PeerMessage | null = (_from, _to, message) => message;

  constructor(size: number, seed: number) {
    this.#prng = new Prng(seed);
    this.nodes = Array.from({ length: size }, (_, i) => nodeId(i + 1));
    this.network = new Network(this.nodes, (from, to, message) => this.tamper(from, to, message));
  }

  static async start(size = 3, seed = 1): Promise<World> {
    const world = new World(size, seed);
    for (const node of world.nodes) await world.boot(node);
    await world.until('all vote', () => world.nodes.every((node) => world.at(node).mayVote));
    return world;
  }

  at(node: number): Replica {
    const replica = this.replicas.get(nodeId(node));
    if (replica === undefined) throw new Error(`node ${node} is down`);
    return replica;
  }

  lease(node: number): LeaseService {
    return new LeaseService(this.at(node), nodeId(node), this.clock);
  }

  async boot(n: number): Promise<Replica> {
    const node = nodeId(n);
    const disk = this.disks.get(node) ?? new MemoryDisk();
    this.disks.set(node, disk);
    this.#storeCount += 1;
    const clock = new NodeClock(this.clock);
    this.clocks.set(node, clock);
    const { store, report } = await MemoryLogStore.open({
      disk,
      cluster: 'test',
      node,
      storeId: `store-${this.#storeCount}`,
      clockWall: () => clock.wall(),
      sync: (bytes) => this.#sync(node, bytes),
    });
    this.#stores.set(node, store);
    const replica = await Replica.open({
      self: node,
      nodes: this.nodes.includes(node) ? this.nodes : [...this.nodes, node],
      store,
      report,
      transport: this.network.transport(node),
      clock,
      random: this.#prng,
      log: silentLogger,
      lease: DEFAULT_LEASE,
      purge: this.purge,
      ...(this.nodes.includes(node) ? {} : { join: { host: '127.0.0.1', rpc: 17000 + node } }),
      onFatal: (error) => this.fatal.push(error),
    });
    this.replicas.set(node, replica);
    return replica;
  }

  /** A node the cluster was not founded with: it asks to be taken in. */
  async join(n: number): Promise<Replica> {
    if (!this.network.nodes.includes(nodeId(n))) this.network.nodes.push(nodeId(n));
    return this.boot(n);
  }

  /** Kill -9: nothing is saved, the replica's later words are not heard. */
  kill(n: number): void {
    const node = nodeId(n);
    const replica = this.at(node);
    this.network.leave(node);
    this.disks.get(node)?.holder?.crash();
    this.resumeDisk(n);
    this.replicas.delete(node);
    void replica.close().catch(() => {});
  }

  /** From now on nothing that node writes becomes durable: a kill before resumeDisk() is a crash before the fsync. */
  stallDisk(n: number): void {
    if (!this.#stalled.has(nodeId(n))) this.#stalled.set(nodeId(n), []);
  }

  resumeDisk(n: number): void {
    const waiting = this.#stalled.get(nodeId(n)) ?? [];
    this.#stalled.delete(nodeId(n));
    for (const go of waiting) go();
  }

  /** SIGSTOP: it neither hears nor acts, while the time goes on. */
  freeze(n: number): void {
    this.clocks.get(nodeId(n))?.freeze(true);
    this.network.freeze(nodeId(n), true);
  }

  thaw(n: number): void {
    this.network.freeze(nodeId(n), false);
    this.clocks.get(nodeId(n))?.freeze(false);
  }

  async shutDown(n: number): Promise<void> {
    const node = nodeId(n);
    const replica = this.at(node);
    await replica.close();
    this.network.leave(node);
    await this.#stores.get(node)?.close();
    this.replicas.delete(node);
  }

  async run(ms: number, stepMs = STEP_MS): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      await this.#settle();
      this.clock.advance(stepMs);
    }
    await this.#settle();
  }

  async until(what: string, holds: () => boolean, ms = 20_000): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      if (holds()) return;
      await this.run(STEP_MS);
    }
    if (!holds()) throw new Error(`not within ${ms} ms: ${what}`);
  }

  /** Resolves when that much time has passed; somebody else lets it pass. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  /** The outcome of `work`, while time goes on. */
  async done<T>(work: Promise<T>, ms = 20_000): Promise<T> {
    let settled = false;
    const watched = work.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    await this.until('an operation ends', () => settled, ms);
    return work;
  }

  /** Baseline by `node`, then its election: it is master, leader and holds the lease. */
  async elect(node: number): Promise<number> {
    const lease = this.lease(node);
    if (this.at(node).state.baseline === null) {
      const outcome = await this.done(lease.baseline('', 5000));
      if (!outcome.accepted) throw new Error(`baseline: ${outcome.reason}`);
    }
    const { gtidSet, epoch } = this.at(node).state;
    const outcome = await this.done(lease.stand(gtidSet.toString(), epoch, 5000));
    if (!outcome.accepted) throw new Error(`stand: ${outcome.code} ${outcome.reason}`);
    return outcome.epoch;
  }

  appendValue(node: number, bytes = 100): AppendValue {
    const { epoch, appendSeq } = this.at(node).state;
    return this.appendOf(epoch, appendSeq, bytes);
  }

  appendOf(epoch: AppendValue['epoch'], follows: number, bytes = 100): AppendValue {
    this.#gno += 1;
    return appendOf(epoch, follows, this.#gno, bytes);
  }

  async append(node: number, bytes = 100): Promise<Applied> {
    return this.done(this.at(node).propose(this.appendValue(node, bytes), 'data', 5000));
  }

  allApplied(index: InstanceId | number): boolean {
    return [...this.replicas.values()].every((replica) => replica.state.appliedIndex >= index);
  }

  #sync(node: NodeId, bytes: number): Promise<void> {
    const waiting = this.#stalled.get(node);
    if (waiting !== undefined) return new Promise((resolve) => waiting.push(resolve));
    return this.diskBytesPerMs === null ? Promise.resolve() : this.pause(bytes / this.diskBytesPerMs);
  }

  async #settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      await nextTurn();
      quiet = this.network.deliver() ? 0 : quiet + 1;
    }
  }
}

export const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

export function appendOf(epoch: AppendValue['epoch'], follows: number, gno: number, bytes = 100): AppendValue {
  const events = Buffer.alloc(bytes, gno % 251);
  const gtid = `${UUID}:${gno}`;
  return {
    kind: 'append',
    epoch,
    follows,
    items: [{ kind: 'part', gtid, first: true, last: true, crc: crcOf(events), events }],
  };
}

export const crcOf = (events: Uint8Array): number => crc32(events);
