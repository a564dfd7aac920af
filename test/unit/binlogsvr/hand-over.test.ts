import { beforeEach, describe, expect, test } from 'vitest';
import { epochOf, type InstanceId, instanceId, monoMs, type NodeId, nodeId } from '../../../base/brands.ts';
import { type Clock, silentLogger } from '../../../base/ports.ts';
import { HandOver } from '../../../binlogsvr/hand-over.ts';
import { Standing } from '../../../binlogsvr/membership-view.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { Succession } from '../../../binlogsvr/succession.ts';
import type { AgentReport } from '../../../proto/binlogsvr-types.ts';

/** A clock moved by hand. */
class Hand implements Clock {
  #now = 1000;
  #timers: { at: number; run: () => void }[] = [];
  now = () => monoMs(this.#now);
  wall = () => this.#now;
  soon = (work: () => void) => void queueMicrotask(work);
  after = (ms: number, run: () => void) => {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  };
  async run(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      for (let i = 0; i < 20; i += 1) await Promise.resolve();
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((each) => each !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = end;
  }
}

type Agent = Partial<AgentReport> | null;

/** Three nodes; 1 is master of epoch 3. Words between them take no time. */
class Trio {
  readonly clock = new Hand();
  state: ReplicatedState = {
    ...initialState(),
    baseline: { node: nodeId(1), gtidSet: '' },
    epoch: epochOf(3),
    master: nodeId(1),
    open: true,
    appliedIndex: instanceId(9),
    lastTransactionIndex: instanceId(8),
    members: [1, 2, 3].map((node) => ({ node: nodeId(node), storeId: `s${node}` })),
  };
  readonly agents: Record<number, Agent> = { 1: {}, 2: { takesOver: 3 }, 3: { takesOver: 3 } };
  readonly executed: Record<number, number> = { 1: 9, 2: 9, 3: 9 };
  readonly lagMs: Record<number, number> = { 1: 0, 2: 0, 3: 0 };
  readonly cut = new Set<number>();
  readonly standing = new Standing(this.clock);
  /** What node 1's agent does with an order. */
  onOrder: (to: NodeId, id: number) => void = (to) => this.transferred(to);
  readonly #at: Record<number, Succession> = {};
  readonly handOver: HandOver;

  constructor() {
    for (const node of [1, 2, 3]) {
      this.#at[node] = new Succession({
        self: nodeId(node),
        clock: this.clock,
        state: () => this.state,
        send: (to, message) => {
          if (!this.cut.has(to) && !this.cut.has(node)) this.#at[to]?.heard(nodeId(node), message);
        },
        agent: () => this.agents[node] as AgentReport | null,
        executed: () => this.executed[node] as InstanceId,
        lagMs: () => this.lagMs[node] as number,
        changed: () => {},
      });
    }
    this.handOver = new HandOver({
      self: nodeId(1),
      clock: this.clock,
      log: silentLogger,
      state: () => this.state,
      chosenUpTo: () => 9,
      peer: (node) => ({ connected: !this.cut.has(node), chosenUpTo: 9 }),
      agent: () => this.agents[1] as AgentReport | null,
      succession: this.succession,
      orders: {
        handOver: (to, epoch, id) => {
          this.standing.handOver(to, epoch, id);
          this.onOrder(to, id);
        },
        withdraw: (id) => this.standing.withdraw(id),
      },
    });
  }

  get succession(): Succession {
    return this.#at[1] as Succession;
  }

  asked(node: number): number {
    return this.#at[node]?.takesOver ?? 0;
  }

  transferred(to: number): void {
    this.state = { ...this.state, epoch: epochOf(this.state.epoch + 1), master: nodeId(to) };
  }

  async of<T>(work: Promise<T>, ms = 30_000): Promise<T | string> {
    const settled = work.catch((error: { code: string }) => error.code);
    await this.clock.run(ms);
    return settled;
  }
}

let trio: Trio;
beforeEach(() => {
  trio = new Trio();
});

describe('a switchover', () => {
  test('to a node that has agreed and is close behind', async () => {
    expect(await trio.of(trio.handOver.switchover(3, 5000))).toEqual({
      accepted: true,
      code: '',
      reason: '',
      ask: 0,
      master: 3,
      epoch: 4,
    });
  });

  test('to the freshest, if none is named', async () => {
    trio.executed[2] = 5;
    expect(await trio.of(trio.handOver.switchover(0, 5000))).toMatchObject({ accepted: true, master: 3 });
  });

  test('to a node that only comes close, and agrees, while it is waited for', async () => {
    trio.lagMs[2] = 2000;
    trio.agents[2] = {};
    trio.clock.after(800, () => {
      trio.lagMs[2] = 10;
      trio.agents[2] = { takesOver: 3 };
    });
    expect(await trio.of(trio.handOver.switchover(2, 5000))).toMatchObject({ accepted: true, master: 2 });
  });

  test.each([
    ['the master itself', 1, () => {}, /master already/],
    ['a stranger', 9, () => {}, /not a member/],
    ['a node that lags', 2, (t: Trio) => (t.lagMs[2] = 900), /900 ms behind, at most 250/],
    ['a node that is away', 2, (t: Trio) => t.cut.add(2), /node 2 does not answer/],
    ['a node without an agent', 2, (t: Trio) => (t.agents[2] = null), /its agent does not report/],
    [
      'a node that objects',
      2,
      (t: Trio) => (t.agents[2] = { takeOverObjection: 'replication stopped' }),
      /replication stopped/,
    ],
    [
      'anybody, when all lag',
      0,
      (t: Trio) => (t.lagMs[2] = t.lagMs[3] = 900),
      /nobody can take over: node 2 is 900 ms/,
    ],
    ['a master without an agent', 2, (t: Trio) => (t.agents[1] = null), /nobody can close its mysqld/],
  ])('is refused, with nothing done: %s', async (_, to, change, reason) => {
    change(trio);
    trio.onOrder = () => expect.unreachable('nothing may be closed');
    const outcome = await trio.of(trio.handOver.switchover(to, 2000));
    expect(outcome).toMatchObject({ accepted: false, code: 'MEMBER_REFUSED', master: 1, epoch: 3 });
    expect((outcome as { reason: string }).reason).toMatch(reason);
  });

  test('another node says whom to ask', async () => {
    trio.transferred(2);
    expect(await trio.of(trio.handOver.switchover(3, 2000))).toMatchObject({
      accepted: false,
      code: 'NOT_LEADER',
      ask: 2,
    });
  });

  test('that was undone says why, and the order is gone', async () => {
    trio.onOrder = (_, id) => {
      trio.agents[1] = { undoneId: id, undoneReason: 'a statement holds the lock' };
      trio.succession.reported();
    };
    expect(await trio.of(trio.handOver.switchover(2, 2000))).toMatchObject({
      accepted: false,
      reason: 'undone, node 1 goes on as master: a statement holds the lock',
    });
    const facts = { self: nodeId(1), state: trio.state, takeoverInMs: 1000, removed: false, isUp: () => true };
    expect(trio.standing.view(facts)).toMatchObject({ handOverTo: 0, handOverId: 0 });
  });

  test('whose end nobody hears of is unknown', async () => {
    trio.onOrder = () => {};
    expect(await trio.of(trio.handOver.switchover(2, 2000))).toBe('TIMEOUT');
  });

  test('one at a time', async () => {
    trio.onOrder = () => {};
    const first = trio.handOver.switchover(2, 2000);
    first.catch(() => {});
    expect(await trio.of(trio.handOver.switchover(3, 2000), 100)).toMatchObject({ accepted: false, code: 'BUSY' });
    await trio.clock.run(30_000);
  });
});

describe('the successor', () => {
  test('is asked while somebody wants to know, by the master of the open epoch', async () => {
    const work = trio.succession.until([nodeId(2)], 3, () => false, trio.clock.now() + 1000);
    await trio.clock.run(100);
    expect([trio.asked(2), trio.asked(3)]).toEqual([3, 0]);
    await trio.clock.run(2000);
    expect(await work).toBe(false);
    expect(trio.asked(2)).toBe(0);
  });

  test('has executed all, or the transfer is refused', async () => {
    trio.executed[2] = 7;
    expect(await trio.of(trio.succession.executedAll(nodeId(2), 3, 500))).toBe('NOT_EXECUTED');
    const work = trio.succession.executedAll(nodeId(2), 3, 500);
    trio.executed[2] = 8;
    expect(await trio.of(work)).toBe(8);
    trio.transferred(3);
    expect(await trio.of(trio.succession.executedAll(nodeId(2), 3, 500))).toBe('WRONG_EPOCH');
  });
});
