import type { FlowPolicy } from '../base/flow-policy.ts';

/** The delay moves once in this time, so that the slaves' answer to one step is seen before the next. */
export const STEP_MS = 250;
/** From none to the longest delay, or back, in so many steps. */
export const STEPS = 8;

/**
 * How long the next acknowledgement waits after the last one, decided without I/O. The delay belongs to the lag: none up to
 * `maxCandidateLagMs`, the longest at twice that, in between in proportion, so that it settles where commits come no faster than
 * the least-lagged candidate executes them. It goes there step by step.
 *
 *   delay  max ┤            ┌──────
 *              │          ╱
 *            0 ┼────────╱──────────► lag of the least-lagged candidate
 *                     max   2 max
 *
 * No candidate: no delay. Nobody could take over however slowly clients write, and who waits for a node that is down, or is being
 * copied, would make an outage of the second node one of the first.
 */
export class FlowControl {
  readonly #policy: FlowPolicy;
  #delayMs = 0;
  #steppedAt: number;

  constructor(policy: FlowPolicy, now: number) {
    this.#policy = policy;
    this.#steppedAt = now - STEP_MS;
  }

  get delayMs(): number {
    return this.#delayMs;
  }

  /** The delay by now; `lagMs`: of the least-lagged candidate, null if there is none. */
  step(lagMs: number | null, now: number): number {
    const steps = Math.min(STEPS, Math.floor((now - this.#steppedAt) / STEP_MS));
    if (steps < 1) return this.#delayMs;
    this.#steppedAt = now;
    const target = targetMs(this.#policy, lagMs);
    const most = (this.#policy.maxDelayMs / STEPS) * steps;
    const change = Math.max(-most, Math.min(most, target - this.#delayMs));
    this.#delayMs += change;
    return this.#delayMs;
  }
}

function targetMs({ maxCandidateLagMs, maxDelayMs }: FlowPolicy, lagMs: number | null): number {
  if (lagMs === null) return 0;
  const excess = (lagMs - maxCandidateLagMs) / maxCandidateLagMs;
  return maxDelayMs * Math.max(0, Math.min(1, excess));
}
