import { runSeed, type SeedJob, type SeedOutcome } from './seed.ts';

export type Shrunk = Readonly<{
  /** With only `kept` done, and a trace. */
  outcome: SeedOutcome;
  /** Numbers of the fault events that are needed, in the order in which they happen. */
  kept: readonly number[];
  runs: number;
}>;

/**
 * The fault events a failing seed fails without are left out: first halves of what is left, then quarters, in the end one by one.
 * What is under way at an event depends on all before it, so another order of trying may leave others. Null: it does not fail.
 */
export async function shrink(
  job: SeedJob,
  wanted: (runs: number, left: number) => boolean = () => true,
): Promise<Shrunk | null> {
  const first = await runSeed(job);
  if (first.failure === null) return null;
  const kindOf = ({ failure }: SeedOutcome): string => kindOfFailure(failure ?? '');
  const kind = kindOf(first);
  const all = first.faults.map((_, i) => i);
  const skipping = (kept: readonly number[]): readonly number[] => all.filter((i) => !kept.includes(i));
  let kept: readonly number[] = all;
  let runs = 1;
  const fails = async (candidate: readonly number[]): Promise<boolean> => {
    runs += 1;
    return kindOf(await runSeed({ ...job, trace: false, skip: skipping(candidate) })) === kind;
  };
  for (let size = Math.ceil(all.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = kept.length; from > 0 && wanted(runs, kept.length); from -= size) {
      const start = Math.max(0, from - size);
      const candidate = [...kept.slice(0, start), ...kept.slice(from)];
      if (await fails(candidate)) kept = candidate;
    }
  }
  return { outcome: await runSeed({ ...job, trace: true, skip: skipping(kept) }), kept, runs };
}

/** The same thing went wrong, whatever the times and numbers in the words. */
function kindOfFailure(failure: string): string {
  return failure.replaceAll(/[0-9a-f-]*\d[0-9a-f.-]*/g, '#').slice(0, 60);
}
