import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, monoMs, nodeId } from '../../../base/brands.ts';
import { PREFER_MS, Standing, type StandingFacts } from '../../../binlogsvr/membership-view.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { chooseSuccessor, SUCCESSOR_LAG_MAX, SUCCESSOR_LAG_MS_MAX } from '../../../binlogsvr/successor.ts';
import type { Member } from '../../../binlogsvr/values.ts';

const members: readonly Member[] = [
  { node: nodeId(1), storeId: 's1' },
  { node: nodeId(2), storeId: 's2', election: 'prefer' },
  { node: nodeId(3), storeId: 's3', election: 'never' },
  { node: nodeId(4), storeId: 's4', kind: 'witness' },
  { node: nodeId(5), storeId: 's5', kind: 'learner' },
];
const state = (change: Partial<ReplicatedState> = {}): ReplicatedState => ({
  ...initialState(),
  baseline: { node: nodeId(1), gtidSet: '' },
  epoch: epochOf(3),
  master: nodeId(1),
  open: true,
  appliedIndex: instanceId(9),
  members,
  ...change,
});

let now = 0;
const clock = { now: () => monoMs(now), wall: () => now, after: () => () => {}, soon: () => {} };
const facts = (change: Partial<StandingFacts> = {}): StandingFacts => ({
  self: nodeId(1),
  state: state(),
  takeoverInMs: 1000,
  removed: false,
  isUp: () => true,
  ...change,
});

describe('standing for election', () => {
  test('others leave a preferred node the stated time, counted from when a master is wanted', () => {
    now = 5000;
    const standing = new Standing(clock);
    expect(standing.view(facts()).standInMs).toBe(PREFER_MS);
    now += 10_000; // the epoch is still open: nobody waits yet
    expect(standing.view(facts()).standInMs).toBe(PREFER_MS);
    const closed = facts({ state: state({ open: false }) });
    expect(standing.view(closed).standInMs).toBe(PREFER_MS);
    now += 300;
    expect(standing.view(closed).standInMs).toBe(PREFER_MS - 300);
    now += PREFER_MS;
    expect(standing.view(closed).standInMs).toBe(0);
    // A new master, and then none again: it begins anew.
    expect(standing.view(facts()).standInMs).toBe(PREFER_MS);
    now += 5000;
    expect(standing.view(facts({ takeoverInMs: 0 })).standInMs).toBe(PREFER_MS);
  });

  test('nobody waits for a preferred node that is away, and it does not wait itself', () => {
    const closed = { state: state({ open: false }) };
    expect(new Standing(clock).view(facts({ ...closed, isUp: () => false })).standInMs).toBe(0);
    expect(new Standing(clock).view(facts({ ...closed, self: nodeId(2) })).standInMs).toBe(0);
  });

  test.each([
    [1, ''],
    [3, 'never master'],
    [4, 'witness'],
    [5, 'learner'],
    [9, 'not a member'],
  ])('node %i: %s', (node, refusal) => {
    const { standRefusal } = new Standing(clock).view(facts({ self: nodeId(node) }));
    if (refusal === '') expect(standRefusal).toBe('');
    else expect(standRefusal).toContain(refusal);
  });

  test('a master that hands over is told so while it is master, and does not stand again at once', () => {
    const standing = new Standing(clock);
    standing.handOver(nodeId(2), 3, 7);
    expect(standing.view(facts())).toMatchObject({ handOverTo: 2, handOverId: 7 });
    const after = standing.view(facts({ state: state({ open: false }) }));
    expect(after.handOverTo).toBe(0);
    expect(after.standRefusal).toContain('hands over to node 2');
    // Not an epoch it wins later, and not once another one has begun.
    expect(standing.view(facts({ state: state({ epoch: epochOf(5) }) })).handOverTo).toBe(0);
    expect(standing.view(facts({ state: state({ open: false, epoch: epochOf(4) }) })).standRefusal).toBe('');
    standing.withdraw(7);
    expect(standing.view(facts())).toMatchObject({ handOverTo: 0, handOverId: 0 });
    now += 60_000;
    expect(standing.view(facts({ state: state({ open: false }) })).standRefusal).toBe('');
  });
});

describe('the successor', () => {
  const all = members.map(({ node }) => Number(node));
  const choose = (up: readonly number[], has: Readonly<Record<number, number>> = {}, from = 1) =>
    chooseSuccessor(state(), nodeId(from), 1000, ({ node }) => ({
      connected: up.includes(node),
      chosenUpTo: has[node] ?? 1000,
    }));
  test('is the preferred one, else another electable one, never a witness or a learner', () => {
    expect(choose(all)).toEqual({ node: 2 });
    expect(choose(all, {}, 2)).toEqual({ node: 1 });
    expect(choose([3, 4, 5])).toMatchObject({ node: null, reason: expect.stringContaining('node 2 is not connected') });
  });
  test('agrees, and its MySQL is close behind; the freshest one', () => {
    const three = state({
      members: members.slice(0, 2).concat({ node: nodeId(6), storeId: 's6' }, { node: nodeId(7), storeId: 's7' }),
    });
    const says = (executed: number, lagMs = 0, refusal = '') =>
      ({ kind: 'successorSays', epoch: 3, executed: instanceId(executed), lagMs, refusal }) as const;
    const asked = (words: Readonly<Record<number, ReturnType<typeof says> | null>>) =>
      chooseSuccessor(three, nodeId(1), 1000, ({ node }) => ({
        connected: true,
        chosenUpTo: 1000,
        word: words[node] ?? null,
      }));
    expect(asked({ 6: says(900), 7: says(950) })).toEqual({ node: 7 });
    expect(asked({ 2: says(900), 6: says(1000), 7: says(950) })).toEqual({ node: 2 });
    const none = asked({ 2: says(1000, 0, 'replication stopped'), 6: says(990, SUCCESSOR_LAG_MS_MAX + 1) });
    expect(none).toMatchObject({ node: null });
    const reason = 'reason' in none ? none.reason : '';
    for (const fault of ['node 2: replication stopped', 'node 6 is 251 ms behind', 'node 7 does not answer'])
      expect(reason).toContain(fault);
  });
  test('has the log', () => {
    expect(choose(all, { 2: 1000 - SUCCESSOR_LAG_MAX })).toEqual({ node: 2 });
    expect(choose(all, { 2: 999 - SUCCESSOR_LAG_MAX })).toMatchObject({
      node: null,
      reason: expect.stringContaining('values behind'),
    });
  });
});
