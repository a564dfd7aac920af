import type { Rule } from '../../base/rules.ts';
import type { WorldName } from './seed.ts';

/**
 * A rule of base/rules.ts and how many seeds, from 1 on, the simulator may need to notice that it is switched off. Caught means:
 * a seed fails that passes with all rules held.
 */
export type Canary = Readonly<{ rule: Rule; world: WorldName; nodes?: 3 | 5; seeds: number }>;

export const CANARIES: readonly Canary[] = [
  { rule: 'majority', world: 'log', seeds: 50 },
  { rule: 'accept-needs-promise', world: 'log', seeds: 5000 },
  { rule: 'ack-after-fsync', world: 'log', seeds: 1000 },
  { rule: 'apply-in-order', world: 'log', seeds: 50 },
  { rule: 'append-needs-epoch', world: 'log', seeds: 5000 },
  { rule: 'stand-needs-all-executed', world: 'log', seeds: 200 },
  { rule: 'lease-from-proposal', world: 'log', seeds: 50 },
  { rule: 'forgetful-store-does-not-vote', world: 'log', seeds: 500 },
];
