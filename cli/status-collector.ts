import { withDeadline } from '../base/async.ts';
import type { NodeId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { NodePids } from '../base/ipc.ts';
import type { Clock } from '../base/ports.ts';
import type { NodeAddress, Security } from '../base/topology.ts';
import { createBinlogsvrClient } from '../proto/binlogsvr-client.ts';
import type { BinlogsvrClient } from '../proto/binlogsvr-types.ts';
import { nodesOf, sameAddress } from '../proto/member-nodes.ts';
import { readLivePids } from './pids-file.ts';
import { type ClusterNodes, type ClusterStatus, membersIn, mergeStatus, type Reply } from './status.ts';

/** A node that has not answered by then counts as down. */
export const STATUS_TIMEOUT_MS = 1000;
/** What members that only the first answers told of get at least. */
const ROUND_MS_MIN = 200;

export type StatusSource = ClusterNodes &
  Readonly<{
    security: Security;
    /** Directories of nodes on this machine, by node. */
    nodeDirs: ReadonlyMap<NodeId, string>;
    /** The node whose configuration is asked: shown even where it is no member any more. */
    self?: NodeId;
  }>;

type Asked = Readonly<{ address: NodeAddress; client: BinlogsvrClient }>;
/** What came of one round: who is asked next time, too. */
export type Collected = Readonly<{ nodes: readonly NodeAddress[]; replies: ReadonlyMap<NodeId, Reply> }>;

/**
 * Asks every node, in parallel, over connections it keeps: first those that are known, then the members they tell of. From
 * then on the members of the log are asked, for as long as one of them answers.
 */
export class StatusCollector {
  readonly #source: StatusSource;
  readonly #clock: Clock;
  readonly #asked = new Map<NodeId, Asked>();
  #nodes: readonly NodeAddress[];

  constructor(source: StatusSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
    this.#nodes = source.nodes;
  }

  async collect(timeoutMs = STATUS_TIMEOUT_MS): Promise<ClusterStatus> {
    const { cluster, nodeDirs } = this.#source;
    const { nodes, replies } = await this.ask(timeoutMs);
    const pids = new Map<NodeId, NodePids>();
    for (const [id, dir] of nodeDirs) pids.set(id, readLivePids(dir));
    return mergeStatus({ cluster, nodes }, replies, pids);
  }

  /** The members by the log (as far as anybody answers, else those that are configured), and what each said. */
  async ask(timeoutMs = STATUS_TIMEOUT_MS): Promise<Collected> {
    const end = this.#clock.now() + timeoutMs;
    const replies = new Map<NodeId, Reply>();
    await this.#round(this.#nodes, timeoutMs, replies);
    const nodes = this.#shown(replies);
    const left = Math.max(ROUND_MS_MIN, end - this.#clock.now());
    await this.#round(
      nodes.filter(({ id }) => !replies.has(id)),
      left,
      replies,
    );
    this.#nodes = [...replies.values()].some((reply) => 'status' in reply) ? nodes : this.#source.nodes;
    return { nodes, replies };
  }

  #shown(replies: ReadonlyMap<NodeId, Reply>): readonly NodeAddress[] {
    const { nodes: configured, self } = this.#source;
    const members = membersIn(replies);
    if (members.length === 0) return this.#nodes;
    const nodes = [...nodesOf(members, configured)].sort((a, b) => a.id - b.id);
    const own = configured.find(({ id }) => id === self && !nodes.some((node) => node.id === id));
    return own === undefined ? nodes : [...nodes, own];
  }

  async #round(nodes: readonly NodeAddress[], timeoutMs: number, replies: Map<NodeId, Reply>): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        try {
          // The call has its deadline; ours is for a connection that does not even get that far.
          const call = this.#clientOf(node).status(timeoutMs);
          const status = await withDeadline(this.#clock, timeoutMs + 100, 'status', call);
          replies.set(node.id, { status });
        } catch (error) {
          replies.set(node.id, { error: reasonOf(error) });
        }
      }),
    );
  }

  #clientOf(address: NodeAddress): BinlogsvrClient {
    const known = this.#asked.get(address.id);
    if (known !== undefined && sameAddress(known.address, address)) return known.client;
    void known?.client[Symbol.asyncDispose]();
    const client = createBinlogsvrClient(rpcAddress(address), this.#source.security);
    this.#asked.set(address.id, { address, client });
    return client;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#asked.values()].map(({ client }) => client[Symbol.asyncDispose]()));
  }
}

export const rpcAddress = ({ host, rpc }: Pick<NodeAddress, 'host' | 'rpc'>): string =>
  host.includes(':') ? `[${host}]:${rpc}` : `${host}:${rpc}`;
