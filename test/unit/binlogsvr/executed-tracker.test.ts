import { describe, expect, test } from 'vitest';
import { instanceId, monoMs } from '../../../base/brands.ts';
import { ExecutedTracker, TRACKED_MAX } from '../../../binlogsvr/executed-tracker.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { UUID } from './replica-world.ts';

const set = (last: number): GtidSet => (last === 0 ? GtidSet.EMPTY : GtidSet.parse(`${UUID}:1-${last}`));

/** A log whose n-th instance holds transaction n. */
class Log {
  readonly tracker: ExecutedTracker;
  state: ReplicatedState;

  constructor(held: number) {
    this.state = { ...initialState(), appliedIndex: instanceId(held), gtidSet: set(held) };
    this.tracker = new ExecutedTracker(this.state, monoMs(0));
  }

  /** Until the next call the log holds an XA transaction prepared at `from`; 0: none. */
  prepared(from: number): void {
    const prepared = from === 0 ? [] : [{ xid: 'x', gtid: `${UUID}:${from}`, from: instanceId(from) }];
    this.state = { ...this.state, xa: { ...this.state.xa, prepared } };
  }

  append(at: number, transactions = 1): void {
    const index = instanceId(this.state.appliedIndex + 1);
    const list = Array.from({ length: transactions }, () => ({ gtid: `${UUID}:${index}`, crc: 0 }));
    this.state = { ...this.state, appliedIndex: index, gtidSet: transactions > 0 ? set(index) : this.state.gtidSet };
    const applied: Applied = {
      instance: index,
      value: { kind: 'noop' },
      accepted: true,
      code: null,
      reason: '',
      transactions: list,
    };
    this.tracker.applied(applied, this.state, monoMs(at));
  }
}

describe('what the local mysqld has executed', () => {
  test('an empty log is executed', () => {
    const { tracker } = new Log(0);
    expect([tracker.executedIndex, tracker.lagMs(monoMs(100))]).toEqual([0, 0]);
  });

  test('what was there before the start counts until reported', () => {
    const { tracker } = new Log(10);
    expect([tracker.executedIndex, tracker.lagMs(monoMs(100))]).toEqual([0, 100]);
    tracker.executed(set(10), monoMs(100));
    expect([tracker.executedIndex, tracker.lagMs(monoMs(200))]).toEqual([10, 0]);
  });

  test('an XA transaction that is prepared is forgotten at a restart, until its end is executed here', () => {
    const log = new Log(0);
    const { tracker } = log;
    log.append(0);
    log.prepared(2);
    for (let i = 0; i < 3; i += 1) log.append(0);
    log.prepared(0);
    log.append(0);
    tracker.executed(set(1), monoMs(10));
    expect([tracker.executedIndex, tracker.lastingIndex]).toEqual([1, 1]);
    tracker.executed(set(4), monoMs(20));
    expect([tracker.executedIndex, tracker.lastingIndex]).toEqual([4, 1]);
    tracker.executed(set(5), monoMs(30));
    expect([tracker.executedIndex, tracker.lastingIndex]).toEqual([5, 5]);
  });

  test('the index is below the first transaction that is missing, the lag its age', () => {
    const log = new Log(0);
    for (let i = 1; i <= 10; i += 1) log.append(i * 10);
    log.append(110, 0); // a renewal
    log.tracker.executed(set(4), monoMs(120));
    expect([log.tracker.executedIndex, log.tracker.lagMs(monoMs(120))]).toEqual([4, 70]);
    log.tracker.executed(set(10), monoMs(130));
    expect([log.tracker.executedIndex, log.tracker.lagMs(monoMs(130))]).toEqual([11, 0]);
  });

  test('a gap counts as not executed', () => {
    const log = new Log(0);
    for (let i = 1; i <= 5; i += 1) log.append(i);
    log.tracker.executed(GtidSet.parse(`${UUID}:1-2:4-5`), monoMs(9));
    expect(log.tracker.executedIndex).toBe(2);
  });

  test('a server that came back with less is followed back', () => {
    const log = new Log(0);
    for (let i = 1; i <= 5; i += 1) log.append(i);
    log.tracker.executed(set(5), monoMs(9));
    log.tracker.executed(set(3), monoMs(20));
    expect(log.tracker.executedIndex).toBeLessThanOrEqual(3);
    expect(log.tracker.lagMs(monoMs(30))).toBe(10);
  });

  test('bounded: beyond the bound it is coarser, never too optimistic', () => {
    const log = new Log(0);
    for (let i = 1; i <= TRACKED_MAX + 100; i += 1) log.append(i);
    for (const executed of [1, 2, 3, 77, TRACKED_MAX]) {
      log.tracker.executed(set(executed), monoMs(1e6));
      expect(log.tracker.executedIndex).toBeLessThanOrEqual(executed);
      expect(log.tracker.executedIndex).toBeGreaterThanOrEqual(executed - 1);
    }
  });
});
