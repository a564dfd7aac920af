import { monoMs } from '../base/brands.ts';
import type { Clock } from '../base/ports.ts';
import { systemClock } from '../base/system-clock.ts';

/**
 * systemClock for the splice: looked at once per chunk, so it must not allocate (hrtime.bigint costs 4 times as much).
 * performance.now() and hrtime read the same CLOCK_MONOTONIC and differ by a constant. Taking performance.now() first
 * makes the constant too large by the time between the two calls: this clock may be microseconds fast, never slow, and
 * a fast clock only ends a lease bound early.
 */
const beforeMs = performance.now();
const offsetMs = systemClock.now() - beforeMs;

export const fastClock: Clock = {
  now: () => monoMs(performance.now() + offsetMs),
  wall: systemClock.wall,
  after: systemClock.after,
  soon: systemClock.soon,
};
