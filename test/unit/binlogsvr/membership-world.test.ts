import { describe, expect, test } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import { votersOf } from '../../../binlogsvr/membership.ts';
import type { MemberOutcome } from '../../../proto/binlogsvr-types.ts';
import { World } from './replica-world.ts';

/** Appends one after the other at the master, as long as it runs; the longest pause between two that were accepted. */
class Load {
  readonly #world: World;
  accepted: number[] = [];
  longestMs = 0;
  #last: number;
  #stopped = false;
  readonly ended: Promise<void>;

  constructor(world: World) {
    this.#world = world;
    this.#last = world.clock.now();
    this.ended = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#world.done(this.ended);
    this.longestMs = Math.max(this.longestMs, this.#world.clock.now() - this.#last);
  }

  async #run(): Promise<void> {
    const world = this.#world;
    while (!this.#stopped) {
      const master = [...world.replicas.entries()].find(([node, { state }]) => state.open && state.master === node);
      const value = master === undefined ? null : world.appendValue(master[0]);
      const applied = value === null ? null : await master?.[1].propose(value, 'data', 2000).catch(() => null); // asked again below
      if (applied?.accepted) {
        const now = world.clock.now();
        this.longestMs = Math.max(this.longestMs, now - this.#last);
        this.#last = now;
        this.accepted.push(applied.instance);
      }
      await world.pause(1); // or no time would pass at all
    }
  }
}

function voters(world: World, node: number): number[] {
  return votersOf(world.at(node).state.members)
    .map((member) => Number(member.node))
    .sort((a, b) => a - b);
}

async function must(world: World, change: Promise<MemberOutcome>): Promise<MemberOutcome> {
  const outcome = await world.done(change);
  expect(outcome.accepted, outcome.reason).toBe(true);
  return outcome;
}

async function allEqual(world: World): Promise<void> {
  const top = Math.max(...[...world.replicas.values()].map(({ state }) => state.appliedIndex));
  await world.until('all applied', () => world.allApplied(top));
  const logs = await Promise.all([...world.replicas.values()].map((each) => each.readLog(instanceId(1), 1e9)));
  for (const log of logs) expect(log).toEqual(logs[0]);
}

/** Renews the lease of `node` until told otherwise. */
function keepRenewing(world: World, node: number): () => void {
  const lease = world.lease(node);
  let on = true;
  const again = (): void => {
    const { state } = world.replicas.get(nodeId(node)) ?? {};
    if (!on || state?.master !== node || !state.open) return;
    lease.renew(state.epoch, 1000).catch(() => {});
    world.clock.after(DEFAULT_LEASE.renewMs, again);
  };
  again();
  return () => {
    on = false;
  };
}

describe('joining', () => {
  test('a node that joins becomes a learner: it has the log, does not vote, and is told where it stands', async () => {
    const world = await World.start();
    await world.elect(1);
    for (let i = 0; i < 50; i += 1) await world.append(1);
    await world.join(4);
    expect(world.at(4).votingReason).toContain('joining');
    await world.until('taken in', () => world.at(1).state.members.length === 4);
    await world.until('caught up', () => world.allApplied(world.at(1).state.appliedIndex));
    expect(world.at(4)).toMatchObject({ mayVote: false, votingReason: 'a learner: follows the log without a vote' });
    expect(world.at(1).state.members[3]).toMatchObject({ node: 4, kind: 'learner', address: { rpc: 17004 } });
    expect(voters(world, 1)).toEqual([1, 2, 3]);
    // Without a vote it helps no majority.
    world.kill(2);
    world.kill(3);
    const lost = world.at(1).propose(world.appendValue(1), 'data', 1000);
    await expect(world.done(lost)).rejects.toMatchObject({ code: 'TIMEOUT' });
  });

  test('a node that joins founds nothing, with whomever it meets', async () => {
    const world = new World(1, 1);
    await world.join(2);
    await world.boot(1);
    await world.until('node 1 is founded alone', () => world.at(1).mayVote);
    await world.run(1000);
    expect(world.at(2)).toMatchObject({ mayVote: false, founders: [] });
    expect(world.network.refused.join()).toContain('not founded yet');
  });

  test('a learner is not elected; a witness votes and is not elected either', async () => {
    const world = await World.start();
    await world.elect(1);
    await world.join(4);
    await world.join(5);
    await world.until('taken in', () => world.at(1).state.members.length === 5);
    await must(world, world.at(1).membership.add(nodeId(4), 'witness', 'neutral', 5000));
    await world.until('it votes', () => world.at(4).mayVote);
    await world.done(world.lease(1).fence(1, true, 1000));
    for (const node of [4, 5]) {
      await world.until('heard', () => !world.at(node).state.open);
      const outcome = await world.done(world.lease(node).stand('', 1, 2000));
      expect(outcome).toMatchObject({ accepted: false, code: 'MEMBER_REFUSED' });
    }
    // Its vote counts: 1, 2 and 4 are a majority of four.
    world.kill(3);
    expect(await world.elect(2)).toBe(2);
    expect((await world.append(2)).accepted).toBe(true);
  });
});

describe('changes under load', () => {
  /** The phases of ticks, renewals and changes against one another, and whom a crash takes while five vote. */
  test.each([
    { pauseMs: 200, dies: null },
    { pauseMs: 35, dies: null },
    { pauseMs: 90, dies: 2 },
    { pauseMs: 130, dies: 3 },
    { pauseMs: 65, dies: 5 },
  ])(
    '3 -> 5 -> 3: nothing is lost, appends stall for less than a lease ($pauseMs ms between, $dies dies)',
    async ({ pauseMs, dies }) => {
      const world = await World.start(3);
      await world.elect(1);
      const stop = keepRenewing(world, 1);
      const load = new Load(world);
      await world.run(pauseMs);
      for (const node of [4, 5]) {
        await world.join(node);
        await must(world, world.at(1).membership.add(nodeId(node), 'voter', 'neutral', 10_000));
        await world.run(pauseMs);
      }
      expect(voters(world, 1)).toEqual([1, 2, 3, 4, 5]);
      if (dies !== null) world.kill(dies);
      for (const node of [2, 3]) {
        await must(world, world.at(1).membership.remove(nodeId(node), 10_000));
        await world.run(pauseMs);
      }
      expect(voters(world, 1)).toEqual([1, 4, 5]);
      await load.stop();
      stop();
      expect(load.longestMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
      expect(load.accepted.length).toBeGreaterThan(30);
      expect(world.at(1).state).toMatchObject({ epoch: 1, master: 1, appendSeq: load.accepted.length });
      // The master's lease ran through all of it.
      expect(world.at(1).leaseRemainingMs).toBeGreaterThan(0);
      await allEqual(world);
      // Those who stayed need nobody who left: one of them may die.
      for (const node of [2, 3].filter((each) => each !== dies)) {
        expect(world.at(node)).toMatchObject({ mayVote: false });
        expect(world.at(node).votingReason).toContain('removed from the cluster');
        world.kill(node);
      }
      if (dies !== 5) world.kill(4);
      expect((await world.append(1)).accepted).toBe(true);
    },
  );

  test('removing the master: it hands over to the preferred one, which then removes it', async () => {
    const world = await World.start(3);
    await world.elect(1);
    await world.join(4);
    await world.until('taken in', () => world.at(1).state.members.length === 4);
    await must(world, world.at(1).membership.add(nodeId(4), 'voter', 'never', 5000));
    await must(world, world.at(1).membership.setElection(nodeId(3), 'prefer', 5000));
    const load = new Load(world);
    await world.run(100);
    const lease = world.lease(1);
    world.at(1).membership.handOver = async (to, timeoutMs) => {
      const { epoch, lastTransactionIndex } = world.at(1).state;
      const transfer = (upTo: number): Promise<boolean> =>
        lease.transfer(epoch, to, upTo, timeoutMs).then(
          ({ accepted }) => accepted,
          () => false, // an append slipped in between: the successor has to execute that too
        );
      let accepted = await transfer(lastTransactionIndex);
      for (let i = 0; !accepted && i < 20; i += 1) accepted = await transfer(world.at(1).state.lastTransactionIndex);
      if (!accepted) throw new Error('not handed over');
    };
    let outcome = await world.done(world.at(1).membership.remove(nodeId(1), 5000));
    expect(world.at(1).state).toMatchObject({ epoch: 2, master: 3 });
    if (!outcome.accepted) {
      expect(outcome).toMatchObject({ code: expect.stringMatching(/NOT_LEADER|BUSY/) });
      await world.until('the new master leads', () => world.at(3).leading);
      outcome = await must(world, world.at(3).membership.remove(nodeId(1), 5000));
    }
    await world.until('goes on', () => world.at(3).leading);
    await world.run(300);
    await load.stop();
    expect(load.longestMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
    expect(voters(world, 3)).toEqual([2, 3, 4]);
    expect(world.at(3).state.appendSeq).toBe(load.accepted.length);
    await world.until('it knows', () => world.at(1).votingReason.includes('removed'));
  });

  test('a dead node is replaced by a joined one, and does not come back', async () => {
    const world = await World.start();
    await world.elect(1);
    const stop = keepRenewing(world, 1);
    const load = new Load(world);
    await world.run(100);
    world.kill(3);
    await world.join(4);
    await must(world, world.at(1).membership.replace(nodeId(3), nodeId(4), 10_000));
    await world.until('votes', () => world.at(4).mayVote);
    expect(voters(world, 1)).toEqual([1, 2, 4]);
    world.kill(2);
    await world.run(500);
    const before = load.accepted.length;
    await world.run(500);
    expect(load.accepted.length).toBeGreaterThan(before);
    await world.boot(3);
    await world.run(500);
    expect(world.network.refused.join()).toContain('node 3 was removed from the cluster');
    // Its own log does not say so: it was away.
    expect(world.at(3)).toMatchObject({ removal: { self: true }, state: { removed: [] } });
    await world.boot(2);
    await load.stop();
    stop();
    expect(load.longestMs).toBeLessThan(DEFAULT_LEASE.leaseMs);
    expect(world.at(1).state.appendSeq).toBe(load.accepted.length);
  });
});

describe('refused', () => {
  test('what would leave no working majority, and what is asked of the wrong node', async () => {
    const world = await World.start();
    await world.elect(1);
    const stop = keepRenewing(world, 1);
    const { membership } = world.at(1);
    expect(await world.done(world.at(2).membership.remove(nodeId(3), 1000))).toMatchObject({
      accepted: false,
      code: 'NOT_LEADER',
      ask: 1,
    });
    expect(await world.done(membership.add(nodeId(9), 'voter', 'neutral', 1000))).toMatchObject({
      code: 'MEMBER_REFUSED',
      reason: expect.stringContaining('not connected'),
    });
    expect(await world.done(membership.remove(nodeId(1), 1000))).toMatchObject({
      code: 'MEMBER_REFUSED',
      reason: expect.stringContaining('cannot hand over'),
    });
    world.kill(3);
    expect(await world.done(membership.remove(nodeId(2), 1000))).toMatchObject({
      code: 'MEMBER_REFUSED',
      reason: expect.stringContaining('no working majority'),
    });
    const first = membership.remove(nodeId(3), 1000);
    expect(await world.done(membership.remove(nodeId(2), 1000))).toMatchObject({ code: 'BUSY' });
    await must(world, first);
    expect(voters(world, 1)).toEqual([1, 2]);
    stop();
  });
});

test('a campaign that nobody answers is given up: no prepare comes of it when the network is back', async () => {
  const world = await World.start();
  await world.elect(1);
  await world.done(world.lease(1).fence(1, true, 1000));
  await world.until('heard', () => !world.at(2).state.open);
  for (const node of [1, 3]) world.network.cut(2, node);
  await expect(world.done(world.at(2).lead(700))).rejects.toMatchObject({ code: 'NO_QUORUM' });
  const prepares = world.network.hold({ from: nodeId(2), kind: 'prepare' });
  world.network.heal();
  await world.run(1000);
  expect(prepares.packets).toEqual([]);
  prepares.drop();
  expect(await world.elect(2)).toBe(2);
});
