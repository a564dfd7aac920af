import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, type MonoMs, monoMs, nodeId } from '../../../base/brands.ts';
import { AppendTimes, MARKS_MAX } from '../../../binlogsvr/append-times.ts';
import { Candidates, candidacy, PROGRESS_MS_MAX } from '../../../binlogsvr/candidates.ts';
import { flowStatus, PROMOTION_MS } from '../../../binlogsvr/flow-status.ts';
import type { Progress } from '../../../binlogsvr/peer-transport.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { HandClock } from '../../support/hand-clock.ts';

const at = (ms: number): MonoMs => monoMs(ms);

describe('when appends were applied', () => {
  test('tells how long the oldest one that is not executed has been there', () => {
    const times = new AppendTimes();
    times.applied(instanceId(5), at(1000));
    times.applied(instanceId(8), at(1500));
    expect([4, 5, 7, 8].map((executed) => times.lagMs(instanceId(executed), at(2000)))).toEqual([1000, 500, 500, 0]);
  });

  test('stays bounded; what becomes coarse is called older, never younger', () => {
    const times = new AppendTimes();
    const exact: number[] = [];
    for (let i = 1; i <= 3 * MARKS_MAX; i += 1) {
      exact[i] = i * 100;
      times.applied(instanceId(i), at(i * 100));
    }
    const now = 3 * MARKS_MAX * 100;
    for (let executed = 0; executed < 3 * MARKS_MAX; executed += 97)
      expect(times.lagMs(instanceId(executed), at(now))).toBeGreaterThanOrEqual(now - (exact[executed + 1] as number));
    expect(times.lagMs(instanceId(3 * MARKS_MAX - 10), at(now))).toBe(900);
  });
});

function world(over: Partial<ReplicatedState> = {}) {
  const clock = new HandClock();
  const sent: [number, Progress][] = [];
  const state: ReplicatedState = {
    ...initialState(),
    epoch: epochOf(3),
    master: nodeId(1),
    open: true,
    members: [
      { node: nodeId(1), storeId: 'a' },
      { node: nodeId(2), storeId: 'b' },
      { node: nodeId(3), storeId: 'c' },
      { node: nodeId(4), storeId: 'd', kind: 'learner' },
      { node: nodeId(5), storeId: 'e', election: 'never' },
    ] as ReplicatedState['members'],
    ...over,
  };
  const candidates = new Candidates({
    self: nodeId(1),
    clock,
    state: () => state,
    send: (to, message) => sent.push([to, message]),
    own: () => ({ executed: instanceId(7), catchUpMs: 20, refusal: '' }),
  });
  const append = (instance: number): void =>
    candidates.applied({
      instance: instanceId(instance),
      value: { kind: 'noop' },
      transactions: [{}],
    } as unknown as Applied);
  const large = (instance: number): void =>
    candidates.applied({
      instance: instanceId(instance),
      value: { kind: 'append', items: [{ kind: 'part', first: false, last: true }] },
      transactions: [{}],
    } as unknown as Applied);
  const says = (node: number, executed: number, refusal = '', catchUpMs: number | null = null): void =>
    candidates.heard(nodeId(node), { kind: 'progress', executed: instanceId(executed), catchUpMs, refusal });
  return { clock, candidates, append, large, says, sent };
}

describe('the least-lagged candidate', () => {
  test('is the one that executed most, by the clock of the master', async () => {
    const { clock, candidates, append, says } = world();
    append(10);
    await clock.pass(300);
    append(11);
    await clock.pass(300);
    says(2, 10);
    says(3, 9);
    expect(candidates.least()).toEqual({ node: 2, lagMs: 300, catchUpMs: null });
    says(3, 11);
    expect(candidates.least()).toEqual({ node: 3, lagMs: 0, catchUpMs: null });
  });

  test('says nothing of a large transaction before its agent has looked at it', async () => {
    const { clock, candidates, large, says } = world();
    says(2, 9, '', 0);
    large(10);
    expect(candidates.least()).toMatchObject({ node: 2, catchUpMs: null });
    says(2, 9, '', 0);
    expect(candidates.least()).toMatchObject({ catchUpMs: null });
    await clock.pass(1_500);
    says(2, 9, '', 7_000);
    expect(candidates.least()).toMatchObject({ catchUpMs: 7_000 });
    says(2, 10, '', 0);
    expect(candidates.least()).toMatchObject({ lagMs: 0, catchUpMs: 0 });
  });

  test('is none that may not be elected, cannot be now, or is silent', async () => {
    const { clock, candidates, says } = world();
    for (const node of [1, 4, 5]) says(node, 100);
    says(2, 100, 'its replication does not run');
    expect(candidates.least()).toBeNull();
    says(3, 100);
    expect(candidates.least()?.node).toBe(3);
    await clock.pass(PROGRESS_MS_MAX + 1);
    expect(candidates.least()).toBeNull();
  });

  test('is looked for by the master of an open epoch only', () => {
    for (const over of [{ open: false }, { master: nodeId(2) }]) {
      const { candidates, says } = world(over);
      says(3, 100);
      expect(candidates.least()).toBeNull();
    }
  });

  test('everyone tells the master, and nobody else', () => {
    const own = world();
    own.candidates.reported();
    expect(own.sent).toEqual([]);
    const other = world({ master: nodeId(2) });
    other.candidates.reported();
    expect(other.sent).toEqual([[2, { kind: 'progress', executed: 7, catchUpMs: 20, refusal: '' }]]);
  });
});

describe('who could be elected', () => {
  type Facts = Parameters<typeof candidacy>[0];
  const well = {
    voting: true,
    agentAlive: true,
    agent: { role: 'replica', ioRunning: true, sqlRunning: true },
    membership: { standRefusal: '' },
    needsClone: '',
  } as unknown as Facts;
  test.each([
    [{}, ''],
    [{ voting: false }, 'does not vote'],
    [{ agentAlive: false }, 'does not report'],
    [{ agent: { ...well.agent, role: 'recovering' } }, 'recovering'],
    [{ agent: { ...well.agent, ioRunning: false } }, 'replication'],
    [{ agent: { ...well.agent, sqlRunning: false } }, 'replication'],
    [{ needsClone: 'what it lacks was purged' }, 'purged'],
    [{ membership: { standRefusal: 'never master' } }, 'never master'],
  ])('%j', (change, refusal) => {
    const said = candidacy({ ...well, ...change } as Facts);
    if (refusal === '') expect(said).toBe('');
    else expect(said).toContain(refusal);
  });
});

describe('the predicted failover', () => {
  test('takes a takeover, a promotion, and what the candidate still has to execute', () => {
    const node = nodeId(2);
    const least = PROMOTION_MS + 3400;
    expect(flowStatus({ node, lagMs: 0, catchUpMs: 0 }, 0, 3400).predictedFailoverMs).toBe(least);
    expect(flowStatus({ node, lagMs: 0, catchUpMs: null }, 0, 3400).predictedFailoverMs).toBe(-1);
    expect(flowStatus({ node, lagMs: 700, catchUpMs: 200 }, 0, 3400).predictedFailoverMs).toBe(least + 700);
    expect(flowStatus({ node, lagMs: 700, catchUpMs: 5000 }, 9, 3400)).toEqual({
      delayMs: 9,
      candidate: 2,
      candidateLagMs: 700,
      predictedFailoverMs: least + 5000,
    });
    expect(flowStatus(null, 0, 3400)).toMatchObject({ candidate: 0, predictedFailoverMs: -1 });
  });
});
