import { describe, expect, it } from 'vitest';
import {
  afterBatch,
  FLIGHT_BYTES_MAX,
  FLIGHT_BYTES_MIN,
  FLIGHT_START,
  type FlightBound,
  QUEUE_MS,
} from '../../../binlogsvr/flight-bound.ts';

const MiB = 1024 * 1024;
const MIDDLE: FlightBound = { bytesMax: MiB, recent: [] };

/** A leader under bulk: each batch holds half of what may be under way. */
function underBulk(bound: FlightBound, bytesPerMs: number, batches: number, syncMs = 0): FlightBound {
  let now = bound;
  for (let i = 0; i < batches; i += 1) {
    const bytes = now.bytesMax / 2;
    now = afterBatch(now, { bytes, ms: syncMs + bytes / bytesPerMs });
  }
  return now;
}

describe('bytes under way', () => {
  it('take about a tenth of a second on any disk between the bounds', () => {
    for (const perSecond of [4, 10, 30, 60]) {
      const bytesPerMs = (perSecond * MiB) / 1000;
      const { bytesMax } = underBulk(FLIGHT_START, bytesPerMs, 20);
      expect(bytesMax / bytesPerMs, `${perSecond} MiB/s`).toBeGreaterThan(QUEUE_MS / 2);
      expect(bytesMax / bytesPerMs, `${perSecond} MiB/s`).toBeLessThan(QUEUE_MS * 1.4);
    }
  });

  it('are all that is allowed on a fast disk, and not less than the floor on a slow one', () => {
    expect(underBulk(FLIGHT_START, MiB, 20).bytesMax).toBe(FLIGHT_BYTES_MAX);
    expect(underBulk(FLIGHT_START, 10, 20).bytesMax).toBe(FLIGHT_BYTES_MIN);
    expect(underBulk(FLIGHT_START, Number.POSITIVE_INFINITY, 20).bytesMax).toBe(FLIGHT_BYTES_MAX);
  });

  it('shrink at once when a disk becomes slow, and come back when it is fast again', () => {
    const fast = underBulk(FLIGHT_START, MiB, 20);
    const slow = underBulk(fast, 4096, 10);
    expect(slow.bytesMax).toBeLessThan(FLIGHT_BYTES_MAX / 8);
    expect(underBulk(slow, MiB, 40).bytesMax).toBe(FLIGHT_BYTES_MAX);
  });

  it('at most double from one batch to the next', () => {
    expect(afterBatch(MIDDLE, { bytes: MiB, ms: 0 }).bytesMax).toBe(2 * MiB);
  });

  it('are not told by small batches, nor moved by small differences', () => {
    expect(afterBatch(MIDDLE, { bytes: 1000, ms: 400 })).toEqual(MIDDLE);
    expect(afterBatch(MIDDLE, { bytes: 100_000, ms: 10 }), 'most of it is the fsync').toEqual(MIDDLE);
    const steady = MiB / QUEUE_MS;
    for (const factor of [0.8, 1, 1.4]) {
      expect(underBulk(MIDDLE, steady * factor, 5).bytesMax, `${factor}`).toBe(MiB);
    }
  });

  it('do not collapse where each fsync takes long but carries much', () => {
    expect(underBulk(MIDDLE, MiB / 10, 40, 20).bytesMax).toBeGreaterThan(2 * MiB);
  });
});
