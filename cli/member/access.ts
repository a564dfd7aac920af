import type { NodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import type { MemberChange, MemberOutcome } from '../../proto/binlogsvr-types.ts';
import { rpcAddress, StatusCollector, type StatusSource } from '../status-collector.ts';
import type { MemberAccess } from './reach.ts';
import { type Seen, seenOf } from './seen.ts';

/** The members over the network. */
export class RemoteMembers implements MemberAccess, AsyncDisposable {
  readonly #source: StatusSource;
  readonly #collector: StatusCollector;
  #seen: Seen | null = null;

  constructor(source: StatusSource, clock: Clock) {
    this.#source = source;
    this.#collector = new StatusCollector(source, clock);
  }

  async look(): Promise<Seen> {
    const { nodes, replies } = await this.#collector.ask();
    this.#seen = seenOf(nodes, replies);
    return this.#seen;
  }

  async change(node: NodeId, change: MemberChange, timeoutMs: number): Promise<MemberOutcome> {
    const address = this.#seen?.nodes.find(({ id }) => id === node);
    if (address === undefined) throw new PhxError('UNAVAILABLE', `ask node ${node}: its address is not known yet`);
    await using client = createBinlogsvrClient(rpcAddress(address), this.#source.security);
    return await client.changeMember(change, timeoutMs);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#collector.close();
  }
}
