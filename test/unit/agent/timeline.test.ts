import { beforeEach, expect, test } from 'vitest';
import { Timeline, TURNS_MAX } from '../../../agent/timeline.ts';
import { monoMs } from '../../../base/brands.ts';
import { type Clock, silentLogger } from '../../../base/ports.ts';

let now = 0;
const clock: Clock = { now: () => monoMs(now), wall: () => 1e12 + now, after: () => () => {}, soon: () => {} };
let timeline: Timeline;
beforeEach(() => {
  now = 500;
  timeline = new Timeline(clock, silentLogger);
});
const step = (ms: number, work: () => void): void => {
  now += ms;
  work();
};

test('a failover as the next master sees it, with its first write', () => {
  timeline.closed();
  step(12, () => timeline.next.mark('caught up'));
  step(8, () => timeline.next.mark('elected'));
  step(1, () => timeline.next.mark('elected'));
  step(59, () => timeline.next.mark('promoted'));
  timeline.next.finish(7, 'open for writes');
  timeline.promoted(100);
  step(5, () => timeline.appended(100));
  const marks = [
    { name: 'released', ms: 0 },
    { name: 'caught up', ms: 12 },
    { name: 'elected', ms: 20 },
    { name: 'promoted', ms: 80 },
  ];
  const account = { kind: 'failover', side: 'next', epoch: 7, atWall: 1e12 + 500, end: 'open for writes' };
  expect(timeline.accounts).toEqual([{ ...account, marks }]);
  step(15, () => timeline.appended(101));
  step(15, () => timeline.appended(102));
  expect(timeline.accounts).toEqual([{ ...account, marks: [...marks, { name: 'first write', ms: 100 }] }]);
});

test('an epoch whose lease was over is fenced, not released', () => {
  timeline.next.mark('expired');
  step(10, () => timeline.closed());
  timeline.next.finish(3, '');
  expect(timeline.accounts[0]?.marks.map(({ name }) => name)).toEqual(['expired', 'fenced']);
});

test('who was asked to take over tells of a switchover; one that came to nothing is forgotten', () => {
  timeline.agreed(true, false);
  step(500, () => timeline.agreed(false, false));
  step(500, () => timeline.closed());
  timeline.next.finish(3, '');
  expect(timeline.accounts[0]).toMatchObject({ kind: 'failover', marks: [{ name: 'released', ms: 0 }] });
  timeline.agreed(true, false);
  step(90, () => timeline.agreed(false, true)); // the log gave it the epoch
  timeline.next.mark('elected');
  timeline.next.finish(4, '');
  expect(timeline.accounts[1]).toMatchObject({ kind: 'switchover', marks: [{ ms: 0 }, { name: 'elected', ms: 90 }] });
});

test('both sides of one node are apart, and only the last are kept', () => {
  timeline.former.mark('mysqld gone');
  timeline.closed();
  timeline.former.finish(5, 'released epoch 4');
  timeline.next.finish(5, 'open for writes');
  expect(timeline.accounts.map(({ side }) => side)).toEqual(['former', 'next']);
  for (let epoch = 6; epoch < 6 + TURNS_MAX; epoch += 1) {
    timeline.former.mark('reaped');
    timeline.former.finish(epoch, '');
  }
  expect(timeline.accounts.map(({ epoch }) => epoch)).toEqual(Array.from({ length: TURNS_MAX }, (_, i) => 6 + i));
});
