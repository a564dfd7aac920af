/**
 * `npm run sim -- --seeds N [--seed S] [--nodes 3|5] [--world NAME] [--trace] [--shrink] [--json] [--canary] [--jobs J]`
 *
 * Runs seeds S .. S+N-1 of the simulated cluster on all cores. A failing seed prints itself, the commit, the end of its trace
 * and how to run it again. Exit status: 0 all passed (with --canary: all caught), 1 not, 2 wrong usage, 130 interrupted.
 */
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError, Option } from 'commander';
import { CANARIES, hunt } from './canaries.ts';
import { runInPool } from './pool.ts';
import { runSeed, type SeedJob, type SeedOutcome, WORLD_NAMES, type WorldName, worldOf } from './seed.ts';
import { shrink } from './shrink.ts';
import { Tally } from './tally.ts';

const TRACE_TAIL = 80;
const FAILURES_TOLD_MAX = 5;
const PROGRESS_MS = 1000;

type Options = Readonly<{
  seeds?: number;
  seed: number;
  nodes?: '3' | '5';
  world?: WorldName;
  trace: boolean;
  shrink: boolean;
  json: boolean;
  canary: boolean;
  rule: readonly string[];
  jobs: number;
}>;

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on');
  return value;
}

const command = new Command('npm run sim --')
  .description('the simulated cluster: production code, a world made of a seed')
  .option('--seeds <n>', 'how many seeds (default 100, with --seed 1)', whole)
  .option('--seed <s>', 'the first seed', whole, 1)
  .addOption(new Option('--nodes <n>', 'nodes (default: drawn from the seed)').choices(['3', '5']))
  .addOption(new Option('--world <name>', 'which world (default: by the seed)').choices(WORLD_NAMES))
  .option('--trace', 'print the whole trace of the (one) seed', false)
  .option('--shrink', 'leave out what the (one) seed fails without, and print what is left', false)
  .option('--json', 'one JSON object on stdout instead of text', false)
  .option('--canary', 'switch off one rule after the other; each has to be noticed within its number of seeds', false)
  .option('--rule <name>', 'with --canary: only this one', (name, all: string[]) => [...all, name], [] as string[])
  .option('--jobs <j>', 'processes', whole, availableParallelism())
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse();
const options = command.opts<Options>();

let interrupted = false;
process.on('SIGINT', () => {
  if (interrupted) process.exit(130);
  interrupted = true;
});

function commitNow(): string {
  try {
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    return execFileSync('git', ['describe', '--always', '--dirty', '--abbrev=12'], { cwd, encoding: 'utf8' }).trim();
  } catch {
    return 'unknown (no git)';
  }
}

function jobFor(seed: number): SeedJob {
  return {
    seed,
    ...(options.nodes === undefined ? {} : { nodes: Number(options.nodes) as 3 | 5 }),
    ...(options.world === undefined ? {} : { world: options.world }),
  };
}

function* jobs(first: number, count: number, make: (seed: number) => SeedJob): Generator<SeedJob> {
  for (let seed = first; seed < first + count && !interrupted; seed += 1) yield make(seed);
}

const say = (text: string): void => {
  if (!options.json) console.log(text);
};

function progress(text: string): void {
  if (process.stderr.isTTY && !options.json) process.stderr.write(`\r\x1b[K${text}`);
}

function rerun(job: SeedJob): string {
  const nodes = job.nodes === undefined ? '' : ` --nodes ${job.nodes}`;
  const world = options.world === undefined ? '' : ` --world ${options.world}`;
  return `npm run sim -- --seed ${job.seed}${nodes}${world} --trace`;
}

/** Runs the seed once more with a trace; the failure must be the same one, or the simulator itself is broken. */
async function tell(outcome: SeedOutcome): Promise<void> {
  const job = jobFor(outcome.seed);
  const again = await runSeed({ ...job, trace: true });
  say(`\nSEED ${outcome.seed} FAILED (world ${outcome.world}, commit ${commitNow()})\n  ${outcome.failure}`);
  if (again.failure !== outcome.failure) {
    say(`  NOT DETERMINISTIC: run again it ${again.failure === null ? 'passed' : `failed with ${again.failure}`}`);
  }
  say(`  the last ${TRACE_TAIL} lines of its trace:`);
  for (const line of again.trace.slice(-TRACE_TAIL)) say(`    ${line}`);
  say(`  run it again: ${rerun(job)}`);
}

async function runSeeds(): Promise<number> {
  const count = options.seeds ?? (command.getOptionValueSource('seed') === 'cli' ? 1 : 100);
  if (count === 1) return runOne();
  const started = performance.now();
  const counts = new Tally();
  const failed: SeedOutcome[] = [];
  let done = 0;
  let simulatedMs = 0;
  let toldAt = 0;
  for await (const outcome of runInPool(jobs(options.seed, count, jobFor), Math.min(options.jobs, count))) {
    done += 1;
    if (outcome.result !== null) {
      simulatedMs += outcome.result.simulatedMs;
      counts.merge(outcome.result.counts);
    } else {
      failed.push(outcome);
      if (failed.length <= FAILURES_TOLD_MAX) await tell(outcome);
    }
    if (performance.now() - toldAt > PROGRESS_MS) {
      toldAt = performance.now();
      progress(`${done} of ${count} seeds, ${failed.length} failed`);
    }
  }
  progress('');
  const seconds = (performance.now() - started) / 1000;
  const hours = simulatedMs / 3_600_000;
  if (options.json) {
    const failures = failed.map(({ seed, world, failure }) => ({ seed, world, failure }));
    const result = { commit: commitNow(), first: options.seed, seeds: done, failed: failures, simulatedMs, counts };
    console.log(JSON.stringify(result));
  } else {
    say(
      `${done} seeds from ${options.seed}${interrupted ? ' (interrupted)' : ''}: ${failed.length} failed; ${hours.toFixed(2)} simulated hours in ${seconds.toFixed(1)} s`,
    );
    for (const [what, n] of Object.entries(counts.toJSON())) say(`  ${String(n).padStart(10)}  ${what}`);
    if (failed.length > 0) say(`failed: ${failed.map(({ seed }) => seed).join(' ')}`);
  }
  if (failed.length > 0) return 1;
  return interrupted ? 130 : 0;
}

async function runOne(): Promise<number> {
  const job = jobFor(options.seed);
  const outcome = await runSeed({ ...job, trace: true });
  if (options.trace) for (const line of outcome.trace) say(line);
  if (outcome.failure !== null) {
    if (options.json)
      console.log(JSON.stringify({ commit: commitNow(), ...outcome, trace: outcome.trace.slice(-TRACE_TAIL) }));
    else if (options.trace) say(`SEED ${job.seed} FAILED (world ${outcome.world}): ${outcome.failure}`);
    else await tell(outcome);
    return 1;
  }
  if (options.json) console.log(JSON.stringify({ commit: commitNow(), ...outcome.result }));
  else say(`seed ${job.seed} passed (world ${worldOf(job)}): ${JSON.stringify(outcome.result)}`);
  return 0;
}

async function runShrink(): Promise<number> {
  const found = await shrink(jobFor(options.seed), (runs, left) => {
    progress(`${runs} runs, ${left} fault events left`);
    return !interrupted;
  });
  progress('');
  if (found === null) {
    say(`seed ${options.seed} passed: there is nothing to shrink`);
    return 0;
  }
  const { outcome, kept, runs } = found;
  if (options.json) console.log(JSON.stringify({ commit: commitNow(), kept, runs, ...outcome }));
  const lines = options.trace ? outcome.trace : outcome.trace.slice(-TRACE_TAIL);
  for (const line of lines) say(line);
  say(`SEED ${options.seed} FAILED (world ${outcome.world}): ${outcome.failure}`);
  say(`after ${runs} runs it needs ${kept.length} of its fault events:`);
  for (const i of kept) {
    const event = outcome.faults[i];
    say(
      `  ${String(i).padStart(4)}  ${event === undefined ? 'after the failure' : `${event.at.toFixed(3).padStart(10)} ms  ${event.kind}`}`,
    );
  }
  return 1;
}

async function runCanaries(): Promise<number> {
  const chosen = CANARIES.filter(({ rule }) => options.rule.length === 0 || options.rule.includes(rule));
  const missed: string[] = [];
  const results = [];
  for (const canary of chosen) {
    if (interrupted) break;
    const started = performance.now();
    const found = await hunt(canary, options.jobs, (done) => {
      progress(`${canary.rule}: ${done} of at most ${canary.seeds} seeds`);
      return !interrupted;
    });
    progress('');
    const seconds = (performance.now() - started) / 1000;
    results.push({ ...canary, found });
    if (found === null) missed.push(canary.rule);
    say(
      found === null
        ? `MISSED  ${canary.rule}: not noticed within ${canary.seeds} seeds (${seconds.toFixed(1)} s)`
        : `caught  ${canary.rule}: seed ${found.seed}, at most ${canary.seeds} are tried (${seconds.toFixed(1)} s)\n          ${found.failure.slice(0, 300)}`,
    );
  }
  if (options.json) console.log(JSON.stringify({ commit: commitNow(), canaries: results }));
  if (interrupted) return 130;
  return missed.length === 0 && chosen.length > 0 ? 0 : 1;
}

process.exitCode = await (options.canary ? runCanaries() : options.shrink ? runShrink() : runSeeds());
