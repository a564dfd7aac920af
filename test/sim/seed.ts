import { reasonOf } from '../../base/errors.ts';
import { type Rule, switchOff } from '../../base/rules.ts';
import type { FaultEvent } from './faults.ts';
import { FullWorld } from './full-world.ts';
import { LogWorld } from './log-world.ts';
import type { WorldOptions, WorldResult } from './world.ts';

/** `log`: the replicated log with scripted masters; `full`: whole nodes with agent, sync and a scripted mysqld. */
export const WORLD_NAMES = ['log', 'full'] as const;
export type WorldName = (typeof WORLD_NAMES)[number];

export type SeedJob = Readonly<{
  seed: number;
  /** Default: drawn from the seed. */
  world?: WorldName;
  nodes?: 3 | 5;
  rulesOff?: readonly Rule[];
  /** Fault events to leave out, by their number. */
  skip?: readonly number[];
  trace?: boolean;
}>;

export type SeedOutcome = Readonly<{
  seed: number;
  world: WorldName;
  /** Null: the seed passed. */
  failure: string | null;
  result: WorldResult | null;
  /** Of a seed that failed, what may have been done to it until then. */
  faults: readonly FaultEvent[];
  /** The last lines of the trace, if there is one. */
  trace: readonly string[];
}>;

/** Whole nodes cost several times as much: every fourth seed has them. */
export function worldOf({ seed, world }: SeedJob): WorldName {
  return world ?? (seed % 4 === 0 ? 'full' : 'log');
}

/** One seed from its first event to its last. Deterministic: the same job gives the same outcome, in any process. */
export async function runSeed(job: SeedJob): Promise<SeedOutcome> {
  const world = worldOf(job);
  const options: WorldOptions = {
    seed: job.seed,
    trace: job.trace ?? false,
    ...(job.nodes === undefined ? {} : { nodes: job.nodes }),
    ...(job.skip === undefined ? {} : { skip: new Set(job.skip) }),
  };
  const restore = switchOff(...(job.rulesOff ?? []));
  const stackTraceLimit = Error.stackTraceLimit;
  // A stack costs more than most events; who wants one runs the seed again with a trace.
  if (job.trace !== true) Error.stackTraceLimit = 0;
  const simulated = world === 'log' ? new LogWorld(options) : new FullWorld(options);
  try {
    const result = await simulated.run();
    return { seed: job.seed, world, failure: null, result, faults: [], trace: simulated.kernel.traceLines };
  } catch (error) {
    const { faultEvents: faults, kernel } = simulated;
    return { seed: job.seed, world, failure: reasonOf(error), result: null, faults, trace: kernel.traceLines };
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    restore();
  }
}
