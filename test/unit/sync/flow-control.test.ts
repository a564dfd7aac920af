import { describe, expect, test } from 'vitest';
import { PROGRESS_MS_MAX } from '../../../agent/health.ts';
import type { FlowPolicy } from '../../../base/flow-policy.ts';
import { DELAY_MS_MAX } from '../../../base/flow-policy.ts';
import { FlowControl, STEP_MS, STEPS } from '../../../sync/flow-control.ts';

const policy: FlowPolicy = { maxCandidateLagMs: 1000, maxDelayMs: 400, killBlockersAfterMs: 0 };

/** The delays while the lag is as given, one look a step. */
function delays(lags: readonly (number | null)[], control = new FlowControl(policy, 0)): number[] {
  return lags.map((lag, i) => control.step(lag, i * STEP_MS));
}

describe('flow control', () => {
  test('delays nothing up to the bound', () => {
    expect(delays([0, 500, 1000])).toEqual([0, 0, 0]);
  });

  test('goes step by step to what belongs to the lag, and back', () => {
    expect(delays([2000, 2000, 2000])).toEqual([50, 100, 150]);
    expect(delays([1250, 1250, 1250])).toEqual([50, 100, 100]);
    expect(delays([1250, 1250, 1000, 500, 0])).toEqual([50, 100, 50, 0, 0]);
  });

  test('is never longer than the longest delay', () => {
    const all = delays(Array.from({ length: 3 * STEPS }, () => 3_600_000));
    expect(Math.max(...all)).toBe(policy.maxDelayMs);
    expect(all[STEPS - 1]).toBe(policy.maxDelayMs);
  });

  test('ends where nobody could take over', () => {
    const control = new FlowControl(policy, 0);
    expect(control.step(5000, 0)).toBe(50);
    expect(control.step(null, STEP_MS)).toBe(0);
    expect(delays([null, null])).toEqual([0, 0]);
  });

  test('moves once a step however often it is asked, and all the way after a long rest', () => {
    const control = new FlowControl(policy, 0);
    expect([0, 1, 2, STEP_MS - 1].map((now) => control.step(9999, now))).toEqual([50, 50, 50, 50]);
    for (let i = 1; i < STEPS; i += 1) control.step(9999, i * STEP_MS);
    expect(control.delayMs).toBe(400);
    expect(control.step(0, STEPS * 20 * STEP_MS)).toBe(0);
  });

  test('settles where commits come as fast as the candidate executes them', () => {
    // 32 clients in closed loop: each round of acks lets 32 commits in; the candidate executes 200 a second.
    const control = new FlowControl(policy, 0);
    let backlog = 0;
    let lagMs = 0;
    const seen: number[] = [];
    for (let now = 0; now < 120_000; now += 10) {
      const delay = Math.max(2, control.step(lagMs, now));
      backlog = Math.max(0, backlog + (32 / delay) * 10 - (200 / 1000) * 10);
      lagMs = (backlog / 200) * 1000;
      if (now > 60_000) seen.push(lagMs);
    }
    expect(Math.max(...seen)).toBeLessThan(2 * policy.maxCandidateLagMs);
    expect(Math.min(...seen)).toBeGreaterThan(policy.maxCandidateLagMs);
  });

  test('the longest delay there can be leaves the check that commits progress alone', () => {
    expect(2 * DELAY_MS_MAX).toBeLessThan(PROGRESS_MS_MAX);
  });
});
