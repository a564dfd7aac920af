import { monoMs } from './brands.ts';
import type { Clock } from './ports.ts';

/** The machine's clocks. performance.now() is relative to process start; hrtime is CLOCK_MONOTONIC, shared by all processes. */
export const systemClock: Clock = {
  now: () => monoMs(Number(process.hrtime.bigint() / 1000n) / 1000),
  wall: () => Date.now(),
  after(ms, fire) {
    const timer = setTimeout(fire, ms);
    return () => clearTimeout(timer);
  },
  soon: (fire) => void setImmediate(fire),
};
