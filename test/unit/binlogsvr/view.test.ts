import { expect, test } from 'vitest';
import { epochOf, monoMs, nodeId } from '../../../base/brands.ts';
import type { Clock } from '../../../base/ports.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import { buildView, urgentPart, type ViewFacts } from '../../../binlogsvr/view.ts';
import { ViewFeed } from '../../../binlogsvr/view-feed.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import type { View } from '../../../proto/binlogsvr-types.ts';
import { replicaReport } from '../../support/agent-report.ts';
import { UUID } from './replica-world.ts';

const REPORT = replicaReport();

const open = { ...initialState(), epoch: epochOf(3), master: nodeId(2), open: true, renewal: 7 };
const FACTS: ViewFacts = {
  node: 1,
  state: open,
  chosenIndex: 0,
  leading: false,
  quorum: true,
  mayVote: true,
  votingReason: '',
  takeoverInMs: 100,
  leaseRemainingMs: 0,
  report: { report: REPORT, atMs: 1000 },
  sync: null,
  lagMs: 0,
  needsClone: '',
  nowMs: 1500,
};

test('a view of the facts', () => {
  const view = buildView(FACTS);
  expect(view).toMatchObject({
    node: 1,
    epoch: 3,
    master: 2,
    open: true,
    renewal: 7,
    takeoverDue: false,
    agentAlive: true,
  });
  expect(buildView({ ...FACTS, takeoverInMs: 0 }).takeoverDue).toBe(true);
  expect(buildView({ ...FACTS, nowMs: 2000 }).agentAlive).toBe(false);
  expect(buildView({ ...FACTS, report: null })).toMatchObject({ agent: null, agentAlive: false });
  const closed = buildView({ ...FACTS, state: { ...open, open: false }, takeoverInMs: 0 });
  expect(closed).toMatchObject({ open: false, takeoverDue: false });
});

test('progress of the log is not urgent, everything else is', () => {
  const urgent = urgentPart(buildView(FACTS));
  const further = { ...open, appendSeq: 9, gtidSet: GtidSet.parse(`${UUID}:1-9`) };
  const executed = { report: { ...REPORT, gtidExecuted: `${UUID}:1-9` }, atMs: 1000 };
  expect(urgentPart(buildView({ ...FACTS, state: further, report: executed, chosenIndex: 9, lagMs: 3 }))).toBe(urgent);
  expect(urgentPart(buildView({ ...FACTS, state: { ...open, open: false } }))).not.toBe(urgent);
  expect(urgentPart(buildView({ ...FACTS, leading: true }))).not.toBe(urgent);
});

test('subscribers get it at once, what is urgent in the same turn, and slow ones only the newest', async () => {
  let now = 0;
  const timers: { at: number; fire: () => void }[] = [];
  const clock: Clock = {
    now: () => monoMs(now),
    wall: () => now,
    after: (ms, fire) => {
      const timer = { at: now + ms, fire };
      timers.push(timer);
      return () => timers.splice(timers.indexOf(timer), 1);
    },
    soon: (fire) => void setImmediate(fire),
  };
  const advance = (ms: number): void => {
    now += ms;
    for (const timer of timers.filter((t) => t.at <= now)) {
      timers.splice(timers.indexOf(timer), 1);
      timer.fire();
    }
  };
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  let facts = FACTS;
  const feed = new ViewFeed(clock, () => buildView(facts));
  const quick: View[] = [];
  const slow: View[] = [];
  feed.add({ push: (view) => quick.push(view) > 0 });
  const { ready, remove } = feed.add({ push: (view) => slow.push(view) < 0 });
  expect([quick.length, slow.length]).toEqual([1, 1]);
  feed.touch();
  await turn();
  const afterFirst = quick.length;
  for (const epoch of [4, 5]) {
    facts = { ...facts, state: { ...facts.state, epoch: epochOf(epoch) } };
    feed.touch();
  }
  await turn();
  expect(quick.length).toBe(afterFirst + 1);
  expect(quick.at(-1)?.epoch).toBe(5);
  expect(slow.length).toBe(1);
  ready();
  expect(slow.at(-1)?.epoch).toBe(5);
  // Mere progress: within 20 ms, not at once.
  facts = { ...facts, state: { ...facts.state, appendSeq: 1 } };
  feed.touch();
  await turn();
  const before = quick.length;
  advance(20);
  expect(quick.length).toBe(before + 1);
  expect(quick.at(-1)?.appendSeq).toBe(1);
  advance(500);
  expect(quick.length).toBe(before + 2);
  remove();
  feed.close();
});
