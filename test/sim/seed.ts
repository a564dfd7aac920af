import { reasonOf } from '../../base/errors.ts';
import { type Rule, switchOff } from '../../base/rules.ts';
import { LogWorld } from './log-world.ts';
import type { WorldOptions, WorldResult } from './world.ts';

/** `log`: the replicated log with scripted masters. */
export const WORLD_NAMES = ['log'] as const;
export type WorldName = (typeof WORLD_NAMES)[number];

export type SeedJob = Readonly<{
  seed: number;
  /** Default: drawn from the seed. */
  world?: WorldName;
  nodes?: 3 | 5;
  rulesOff?: readonly Rule[];
  trace?: boolean;
}>;

export type SeedOutcome = Readonly<{
  seed: number;
  world: WorldName;
  /** Null: the seed passed. */
  failure: string | null;
  result: WorldResult | null;
  /** The last lines of the trace, if there is one. */
  trace: readonly string[];
}>;

export function worldOf({ seed, world }: SeedJob): WorldName {
  return world ?? (WORLD_NAMES[seed % WORLD_NAMES.length] as WorldName);
}

/** One seed from its first event to its last. Deterministic: the same job gives the same outcome, in any process. */
export async function runSeed(job: SeedJob): Promise<SeedOutcome> {
  const world = worldOf(job);
  const options: WorldOptions = {
    seed: job.seed,
    trace: job.trace ?? false,
    ...(job.nodes === undefined ? {} : { nodes: job.nodes }),
  };
  const restore = switchOff(...(job.rulesOff ?? []));
  const stackTraceLimit = Error.stackTraceLimit;
  // A stack costs more than most events; who wants one runs the seed again with a trace.
  if (job.trace !== true) Error.stackTraceLimit = 0;
  const simulated = new LogWorld(options);
  try {
    const result = await simulated.run();
    return { seed: job.seed, world, failure: null, result, trace: simulated.kernel.traceLines };
  } catch (error) {
    return { seed: job.seed, world, failure: reasonOf(error), result: null, trace: simulated.kernel.traceLines };
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    restore();
  }
}
