import { type InstanceId, instanceId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/ports.ts';
import type { PurgeHold, Purger } from './purger.ts';

/**
 * While this node's data is copied from another node, the log behind what the copy began with is kept here: no binlog comes
 * along with a CLONE. Each report of the agent renews the hold, one without a clone ends it, and an agent that reports no more
 * lets it run out (HOLD_MS_MAX).
 */
export class CloneHold {
  readonly #purger: Pick<Purger, 'hold' | 'firstRetained'>;
  readonly #log: Logger;
  #base = '';
  #hold: PurgeHold | null = null;

  constructor(purger: Pick<Purger, 'hold' | 'firstRetained'>, log: Logger) {
    this.#purger = purger;
    this.#log = log;
  }

  /** `base`: the GTIDs the copy began with, '' = nothing is copied; `index`: the log holds none of them behind it. */
  report(base: string, index: InstanceId): void {
    if (base === this.#base) {
      this.#hold?.renew();
      return;
    }
    this.#hold?.release();
    this.#hold = null;
    this.#base = '';
    if (base === '') return;
    try {
      // Where the index is not known exactly it is too small: more is held then.
      const from = instanceId(Math.max(index + 1, this.#purger.firstRetained));
      this.#hold = this.#purger.hold('the clone of this node', from);
      this.#base = base;
    } catch (error) {
      this.#log.warn('cannot hold the log for a clone', { reason: reasonOf(error) }); // tried again with the next report
    }
  }
}
