import { withDeadline } from '../base/async.ts';
import type { NodeId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { NodePids } from '../base/ipc.ts';
import type { Clock } from '../base/ports.ts';
import type { Security } from '../base/topology.ts';
import { createBinlogsvrClient } from '../proto/binlogsvr-client.ts';
import type { BinlogsvrClient } from '../proto/binlogsvr-types.ts';
import { readLivePids } from './pids-file.ts';
import { type ClusterNodes, type ClusterStatus, mergeStatus, type Reply } from './status.ts';

/** A node that has not answered by then counts as down. */
export const STATUS_TIMEOUT_MS = 1000;

export type StatusSource = ClusterNodes &
  Readonly<{
    security: Security;
    /** Directories of nodes on this machine, by node. */
    nodeDirs: ReadonlyMap<NodeId, string>;
  }>;

/** Asks every node, in parallel, over connections it keeps. */
export class StatusCollector {
  readonly #source: StatusSource;
  readonly #clock: Clock;
  readonly #clients = new Map<NodeId, BinlogsvrClient>();

  constructor(source: StatusSource, clock: Clock) {
    this.#source = source;
    this.#clock = clock;
    for (const { id, host, rpc } of source.nodes) {
      this.#clients.set(
        id,
        createBinlogsvrClient(host.includes(':') ? `[${host}]:${rpc}` : `${host}:${rpc}`, source.security),
      );
    }
  }

  async collect(timeoutMs = STATUS_TIMEOUT_MS): Promise<ClusterStatus> {
    const answers = [...this.#clients].map(async ([id, client]): Promise<readonly [NodeId, Reply]> => {
      try {
        // The call has its deadline; ours is for a connection that does not even get that far.
        const asked = withDeadline(this.#clock, timeoutMs + 100, 'status', client.status(timeoutMs));
        return [id, { status: await asked }];
      } catch (error) {
        return [id, { error: reasonOf(error) }];
      }
    });
    const replies = new Map(await Promise.all(answers));
    const pids = new Map<NodeId, NodePids>();
    for (const [id, dir] of this.#source.nodeDirs) pids.set(id, readLivePids(dir));
    return mergeStatus(this.#source, replies, pids);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients.values()].map((client) => client[Symbol.asyncDispose]()));
  }
}
