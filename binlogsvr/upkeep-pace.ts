import { PURGE_MARGIN } from './store-port.ts';

/** How often a replica does what can wait. The defaults are production's; only a simulated world, whose life is short, has others. */
export type UpkeepPace = Readonly<{
  /** Between two words to the peers of how much of the log the own MySQL holds. */
  needsMs: number;
  /** Between two decisions on what may be purged. */
  purgeMs: number;
  /** A slave may lose what it executed within this when its machine dies (innodb_flush_log_at_trx_commit=2, protocol-findings 30). */
  durableMs: number;
  /** Instances between two samples: the log is purged up to one of them. */
  sampleInstances: number;
  /** The newest instances before the saved state that are never purged: as the store has it. */
  purgeMargin: number;
  /** Between two writes of the peers' floors: one written late only refuses less, and each is an fsync the hot path waits behind. */
  floorsMs: number;
}>;

export const DEFAULT_PACE: UpkeepPace = {
  needsMs: 1000,
  purgeMs: 10_000,
  durableMs: 10_000,
  sampleInstances: 256,
  purgeMargin: PURGE_MARGIN,
  floorsMs: 10_000,
};
