import { describe, expect, it } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { DEFAULT_LEASE, type NodeAddress } from '../../../base/topology.ts';
import type { BinlogsvrClient, LeaseReply, MemberStatus, View } from '../../../proto/binlogsvr-types.ts';
import { ViewFeed } from '../../../proxy/feed.ts';
import type { ProxyView } from '../../../proxy/view.ts';
import { nodes, until, view } from './fakes.ts';

/** One node's binlogsvr as far as the feed uses it: a stream to push to and a lease to be asked for. */
class FakeBinlogsvr {
  subscriptions = 0;
  asks = 0;
  ended = 0;
  lease: () => LeaseReply | Promise<LeaseReply> = () => {
    throw new PhxError('UNAVAILABLE', 'no lease here');
  };
  up = true;
  #queue: View[] = [];
  #wake: () => void = () => {};
  #broken = false;

  push(...views: View[]): void {
    this.#queue.push(...views);
    this.#wake();
  }

  breakStream(): void {
    this.#broken = true;
    this.#wake();
  }

  client(address: NodeAddress): BinlogsvrClient {
    const self = this;
    const unused = (): never => {
      throw new Error('the feed does not call this');
    };
    return {
      address: `${address.host}:${address.rpc}`,
      baseline: unused,
      stand: unused,
      renew: unused,
      fence: unused,
      transfer: unused,
      barrier: unused,
      compareTail: unused,
      report: unused,
      status: unused,
      appendStream: unused,
      async *subscribe(signal) {
        self.subscriptions += 1;
        self.#broken = false;
        if (!self.up) throw new PhxError('UNAVAILABLE', 'connection refused');
        for (;;) {
          while (self.#queue.length > 0) yield self.#queue.shift() as View;
          if (signal.aborted) {
            self.ended += 1;
            return;
          }
          if (self.#broken) throw new PhxError('UNAVAILABLE', 'stream broke');
          await new Promise<void>((resolve) => {
            self.#wake = resolve;
            signal.addEventListener('abort', () => resolve(), { once: true });
          });
        }
      },
      async lease() {
        self.asks += 1;
        return self.lease();
      },
      async [Symbol.asyncDispose]() {},
    };
  }
}

function start(count = 3, there = count) {
  const servers = new Map(nodes(there).map((node) => [node.id as number, new FakeBinlogsvr()]));
  const seen: ProxyView[] = [];
  const feed = new ViewFeed({
    nodes: nodes(count),
    self: nodes(count)[0]!,
    connect: (node) => servers.get(node.id)!.client(node),
    lease: DEFAULT_LEASE,
    clock: systemClock,
    log: silentLogger,
  });
  feed.onView((next) => seen.push(next));
  return { feed, seen, server: (node: number) => servers.get(node)!, last: () => seen.at(-1)! };
}

const master = (node: number, epoch: number): View =>
  view({ node, epoch, master: node, agent: { role: 'master', servingWrites: true, epoch } });
const replica = (node: number, epoch: number, of: number): View =>
  view({ node, epoch, master: of, agent: { role: 'replica', servingReads: true } });

describe('ViewFeed', () => {
  it('finds master, lease and slaves, and keeps the bound fresh', async () => {
    const { feed, server, last, seen } = start();
    await using _feed = feed;
    server(2).lease = () => ({ node: 2, epoch: 3, remainingMs: 2500 });
    const askedAfter = systemClock.now();
    server(2).push(master(2, 3));
    server(1).push(replica(1, 3, 2));
    server(3).push(replica(3, 3, 2));
    await until(() => last().master !== null && last().slaves.length === 2, 'the view');
    expect(last()).toMatchObject({
      epoch: 3,
      elected: 2,
      closedEpoch: 2,
      reason: '',
      master: { node: 2, port: 11121 },
    });
    expect(last().slaves.map((slave) => [slave.node, slave.local])).toEqual([
      [1, true],
      [3, false],
    ]);
    const first = last().readUntil;
    expect(first).toBeGreaterThanOrEqual(askedAfter + 2500 - 30);
    expect(first).toBeLessThan(systemClock.now() + 2500);
    await until(() => last().readUntil > first, 'a fresh bound');
    expect(server(1).asks + server(3).asks).toBe(0);
    for (let i = 1; i < seen.length; i += 1) expect(seen[i]!.seq).toBe(seen[i - 1]!.seq + 1);
  });

  it('tells a fence at once', async () => {
    const { feed, server, last } = start();
    await using _feed = feed;
    server(2).lease = () => ({ node: 2, epoch: 3, remainingMs: 2500 });
    server(2).push(master(2, 3));
    await until(() => last().master?.node === 2, 'a master');
    server(3).push({ ...replica(3, 3, 2), open: false });
    await until(() => last().closedEpoch === 3, 'the fence');
    expect(last()).toMatchObject({ master: null, elected: 0, readUntil: 0 });
    const asked = server(2).asks;
    server(1).lease = () => ({ node: 1, epoch: 4, remainingMs: 2500 });
    server(1).push(master(1, 4));
    await until(() => last().master?.node === 1, 'the next master');
    expect(server(2).asks).toBeLessThanOrEqual(asked + 1);
  });

  it('the bound counts from before the question left, however long the answer takes', async () => {
    const { feed, server, last } = start();
    await using _feed = feed;
    let answer: (reply: LeaseReply) => void = () => {};
    server(2).lease = () => new Promise<LeaseReply>((resolve) => (answer = resolve));
    server(2).push(master(2, 3));
    await until(() => server(2).asks === 1, 'the question');
    const askedBefore = systemClock.now();
    await new Promise((resolve) => systemClock.after(200, () => resolve(undefined)));
    answer({ node: 2, epoch: 3, remainingMs: 2500 });
    await until(() => last().master !== null, 'a master');
    expect(last().readUntil).toBeLessThanOrEqual(askedBefore + 2500 - 30);
  });

  it('subscribes again with pauses, and keeps the master until the bound when its stream is lost', async () => {
    const { feed, server, last } = start();
    await using _feed = feed;
    server(2).lease = () => ({ node: 2, epoch: 3, remainingMs: 900 });
    server(2).push(master(2, 3));
    await until(() => last().master !== null, 'a master');
    server(2).up = false;
    server(2).lease = () => {
      throw new PhxError('UNAVAILABLE', 'gone');
    };
    const before = server(2).subscriptions;
    server(2).breakStream();
    await until(() => server(2).subscriptions > before, 'another try');
    expect(last().master?.node).toBe(2);
    await until(() => last().master === null, 'the bound to pass');
    expect(last().reason).not.toBe('');
    expect(last()).toMatchObject({ elected: 2, closedEpoch: 2 });
    server(2).up = true;
    server(2).lease = () => ({ node: 2, epoch: 3, remainingMs: 2500 });
    await until(() => last().master?.node === 2, 'the master again');
    expect(server(2).subscriptions).toBeLessThan(before + 12);
  });

  it('does not believe a stranger at a node address', async () => {
    const { feed, server, last } = start();
    await using _feed = feed;
    server(3).push(replica(1, 8, 2));
    await until(() => server(3).subscriptions > 1, 'the stream to be dropped');
    expect(last().epoch).toBe(0);
  });

  const seats = (...ids: readonly number[]): readonly MemberStatus[] =>
    nodes(5)
      .filter(({ id }) => ids.includes(id))
      .map(({ id, ...where }) => ({ node: id, storeId: `s${id}`, kind: 'voter', election: 'neutral', ...where }));

  it('watches the members of the log: one that is added serves, one that is removed is let go', async () => {
    const { feed, server, last } = start(3, 5);
    await using _feed = feed;
    server(1).push({ ...replica(1, 3, 2), configVersion: 2, members: seats(1, 2, 3, 4) });
    await until(() => server(4).subscriptions === 1, 'the new node to be watched');
    server(4).push(replica(4, 3, 2));
    await until(
      () => last().slaves.some(({ node, port }) => node === 4 && port === 11141),
      'its MySQL in the rotation',
    );
    server(3).push(replica(3, 3, 2));
    await until(() => last().slaves.some(({ node }) => node === 3), 'node 3 in the rotation');
    server(4).push({ ...replica(4, 3, 2), configVersion: 3, members: seats(1, 2, 4) });
    await until(() => server(3).ended === 1, 'node 3 to be let go');
    expect(last().slaves.map(({ node }) => node)).toEqual([1, 4]);
    // Whoever is behind does not bring it back.
    server(1).push({ ...replica(1, 3, 2), configVersion: 2, members: seats(1, 2, 3, 4), appliedIndex: 1 });
    await until(() => last().slaves.some(({ lagMs }) => lagMs === 0), 'that view');
    expect(server(3).subscriptions).toBe(1);
  });

  it('a node that was removed sends nobody anywhere', async () => {
    const { feed, server, last } = start();
    await using _feed = feed;
    server(2).lease = () => ({ node: 2, epoch: 3, remainingMs: 2500 });
    server(2).push(master(2, 3));
    server(3).push(replica(3, 3, 2));
    await until(() => last().master !== null && last().slaves.length === 1, 'the view');
    const membership = { kind: 'removed', election: 'neutral', standRefusal: '', standInMs: 0, handOverTo: 0 } as const;
    server(1).push({ ...replica(1, 3, 2), membership, configVersion: 2, members: seats(2, 3) });
    await until(() => last().master === null, 'the ports to be closed');
    expect(last()).toMatchObject({
      elected: 0,
      closedEpoch: 3,
      slaves: [],
      reason: 'this node was removed from the cluster',
    });
  });

  it('close() ends every stream and says nothing more', async () => {
    const { feed, server, seen } = start();
    server(1).push(replica(1, 3, 2));
    await until(() => seen.at(-1)!.epoch === 3, 'a view');
    await Promise.all([feed.close(), feed.close()]);
    const told = seen.length;
    server(1).push(replica(1, 4, 2));
    await new Promise((resolve) => systemClock.after(300, () => resolve(undefined)));
    expect(seen.length).toBe(told);
  });
});
