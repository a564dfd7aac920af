import { delay, LinkedAbort } from '../base/async.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { LeaseTimes, NodeAddress } from '../base/topology.ts';
import type { BinlogsvrClient } from '../proto/binlogsvr-types.ts';
import { sameAddress } from '../proto/member-nodes.ts';
import {
  type ClusterEvent,
  type ClusterKnown,
  initialKnown,
  learn,
  leaseHolderOf,
  MASTER_VIEW_TIMES,
  proxyViewOf,
  sameView,
} from './master-view.ts';
import { NO_VIEW, type ProxyView } from './view.ts';

const RESUBSCRIBE_MS_MIN = 100;
const RESUBSCRIBE_MS_MAX = 1000;
/** Views that differ only in the lease bound are told no more often than this. */
const LEASE_NEWS_MS = 100;
/** How often things that happen by waiting (a silent node, a bound running out) are noticed. */
const TICK_MS = 250;
/** Asked again this soon while the elected node says it holds no lease yet, or does not answer. */
const LEASE_RETRY_MS = 50;

type Watch = Readonly<{ address: NodeAddress; client: BinlogsvrClient; end: () => Promise<void> }>;

export type ViewFeedOptions = Readonly<{
  /** As configured; the members of the log replace them as soon as a node tells. */
  nodes: readonly NodeAddress[];
  self: NodeAddress;
  connect: (node: NodeAddress) => BinlogsvrClient;
  lease: LeaseTimes;
  clock: Clock;
  log: Logger;
}>;

/** Watches the binlogsvr of every member and tells this node's proxy workers what changed. Lives in the supervisor. */
export class ViewFeed implements AsyncDisposable {
  readonly #lease: LeaseTimes;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #connect: ViewFeedOptions['connect'];
  readonly #watches = new Map<number, Watch>();
  readonly #stop = new AbortController();
  readonly #listeners = new Set<(view: ProxyView) => void>();
  #known: ClusterKnown;
  #view: ProxyView = NO_VIEW;
  #toldAt = 0;
  #askTurn = 0;
  #asked = '';
  #cancelAsk: () => void = () => {};
  #cancelTick: () => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: ViewFeedOptions) {
    this.#lease = options.lease;
    this.#clock = options.clock;
    this.#log = options.log;
    // Rates of two hosts' clocks differ by far less than 1 %; takeover waits 10 % and more.
    const times = { ...MASTER_VIEW_TIMES, leaseMarginMs: options.lease.leaseMs / 100 };
    this.#known = initialKnown(options.nodes, options.self.id, times);
    this.#connect = options.connect;
    this.#watchAll();
    this.#tick();
  }

  get view(): ProxyView {
    return this.#view;
  }

  /** Calls `listener` with the view of now and with each new one; the result ends that. */
  onView(listener: (view: ProxyView) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#view);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    this.#askTurn += 1;
    this.#cancelAsk();
    this.#cancelTick();
    await Promise.all([...this.#watches.values()].map((watch) => watch.end()));
  }

  /** The nodes of the log are watched, others not any more. */
  #watchAll(): void {
    const { nodes } = this.#known;
    for (const [id, watch] of this.#watches) {
      if (nodes.some(({ address }) => sameAddress(address, watch.address))) continue;
      this.#watches.delete(id);
      this.#log.info('node watched no more', { node: id });
      void watch.end();
    }
    for (const { address } of nodes) {
      if (this.#watches.has(address.id) || address.rpc === 0) continue;
      const abort = new LinkedAbort(this.#stop.signal);
      const client = this.#connect(address);
      const loop = this.#watch(address, client, abort.signal);
      const end = async (): Promise<void> => {
        abort.abort();
        await loop;
        abort[Symbol.dispose]();
        await client[Symbol.asyncDispose]();
      };
      this.#watches.set(address.id, { address, client, end });
    }
  }

  /** Reads one node's reports, again and again. Never rejects. */
  async #watch(node: NodeAddress, client: BinlogsvrClient, signal: AbortSignal): Promise<void> {
    let waitMs = RESUBSCRIBE_MS_MIN;
    let heard = false;
    while (!signal.aborted) {
      let why = 'stream ended';
      try {
        for await (const view of client.subscribe(signal)) {
          waitMs = RESUBSCRIBE_MS_MIN;
          if (view.node !== node.id) {
            why = `node ${view.node} answers at the address of node ${node.id} (${client.address})`;
            break;
          }
          heard = true;
          this.#learn({ kind: 'view', at: this.#clock.now(), view });
        }
      } catch (error) {
        why = reasonOf(error);
      }
      if (signal.aborted) return;
      if (heard) this.#log.warn('reports of a node stopped', { node: node.id, reason: why });
      heard = false;
      this.#learn({ kind: 'lost', at: this.#clock.now(), node: node.id });
      try {
        await delay(this.#clock, waitMs, signal);
      } catch {
        return; // closing
      }
      waitMs = Math.min(waitMs * 2, RESUBSCRIBE_MS_MAX);
    }
  }

  #learn(event: ClusterEvent): void {
    const { configVersion } = this.#known;
    this.#known = learn(this.#known, event);
    if (this.#known.configVersion !== configVersion) this.#watchAll();
    const holder = leaseHolderOf(this.#known);
    const asked = holder === null ? '' : `${holder}/${this.#known.epoch}`;
    if (asked !== this.#asked) {
      this.#asked = asked;
      this.#ask();
    }
    this.#publish();
  }

  /** Asks the holder for its lease now and from now on; a newer turn ends the older one's repetition. */
  #ask(): void {
    this.#cancelAsk();
    this.#askTurn += 1;
    const turn = this.#askTurn;
    const holder = leaseHolderOf(this.#known);
    const client = holder === null ? undefined : this.#watches.get(holder)?.client;
    if (client === undefined) return;
    // Both clocks are read before the question leaves: whatever delays it or its answer only shortens the bound (I5).
    const askedAt = this.#clock.now();
    const askedWall = this.#clock.wall();
    const again = (ms: number): void => {
      if (turn === this.#askTurn) this.#cancelAsk = this.#clock.after(ms, () => this.#ask());
    };
    client.lease(this.#lease.leaseMs / 4).then(
      (reply) => {
        if (this.#stop.signal.aborted) return;
        this.#learn({ kind: 'lease', askedAt, askedWall, reply });
        const holds = reply.epoch === this.#known.epoch && reply.remainingMs > 0;
        again(holds ? this.#lease.leaseMs / 8 : LEASE_RETRY_MS);
      },
      () => again(LEASE_RETRY_MS), // the bound runs out by itself; the view's reason then says so
    );
  }

  #tick(): void {
    this.#publish();
    this.#cancelTick = this.#clock.after(TICK_MS, () => this.#tick());
  }

  #publish(): void {
    const now = this.#clock.now();
    const next = proxyViewOf(this.#known, now, this.#clock.wall());
    const before = this.#view;
    if (before.seq > 0 && sameView(before, next)) {
      if (next.readUntil === before.readUntil) return;
      if (next.readUntil > before.readUntil && now - this.#toldAt < LEASE_NEWS_MS) return;
    }
    this.#toldAt = now;
    this.#view = { seq: before.seq + 1, ...next };
    if (before.epoch !== next.epoch || before.master?.node !== next.master?.node) {
      const fields = { epoch: next.epoch, master: next.master?.node ?? null, reason: next.reason };
      this.#log.info('proxy view changed', fields);
    }
    for (const listener of this.#listeners) listener(this.#view);
  }
}
