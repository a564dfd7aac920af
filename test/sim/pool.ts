import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runSeed, type SeedJob, type SeedOutcome } from './seed.ts';

const SELF = fileURLToPath(import.meta.url);
/** Jobs handed to a worker ahead of its answers: it never waits for its parent. */
const AHEAD = 4;
/** A seed makes much garbage and keeps little: 64 MiB for the young saves a tenth of the time. */
const YOUNG = ['--max-semi-space-size=64'];

/**
 * Runs jobs in `size` processes; yields outcomes as they come, in any order. Ends early, and ends its workers, when the
 * consumer stops.
 */
export async function* runInPool(jobs: Iterable<SeedJob>, size: number): AsyncGenerator<SeedOutcome, void, undefined> {
  const iterator = jobs[Symbol.iterator]();
  const outcomes: SeedOutcome[] = [];
  let wake: () => void = () => {};
  let open = 0;
  let broken: Error | null = null;
  const workers: ChildProcess[] = [];
  const feed = (worker: ChildProcess): void => {
    const next = iterator.next();
    if (next.done === true) return;
    open += 1;
    worker.send(next.value);
  };
  try {
    for (let i = 0; i < size; i += 1) {
      const worker = fork(SELF, [], { execArgv: YOUNG, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
      workers.push(worker);
      worker.on('message', (outcome: SeedOutcome) => {
        open -= 1;
        outcomes.push(outcome);
        feed(worker);
        wake();
      });
      worker.on('exit', (code, signal) => {
        broken ??= new Error(`a simulator process ended: ${signal ?? `exit ${code}`}`);
        wake();
      });
      for (let j = 0; j < AHEAD; j += 1) feed(worker);
    }
    for (;;) {
      const outcome = outcomes.shift();
      if (outcome !== undefined) {
        yield outcome;
        continue;
      }
      if (open === 0) return;
      if (broken !== null) throw broken;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    for (const worker of workers) {
      worker.removeAllListeners();
      worker.kill('SIGKILL');
    }
  }
}

/** The worker. */
if (process.argv[1] === SELF && process.send !== undefined) {
  // Ctrl-C in a terminal reaches the workers too: the parent decides when they end.
  process.on('SIGINT', () => {});
  process.on('disconnect', () => process.exit(0));
  let last: Promise<void> = Promise.resolve();
  process.on('message', (job: SeedJob) => {
    last = last.then(async () => {
      process.send?.(await runSeed(job));
    });
  });
}
