import { PhxError } from '../../base/errors.ts';
import { Prng } from '../../base/prng.ts';
import { mutate } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

/** For each parser. The evidence tier sets more, 1,000,000 in all. */
export const MUTATIONS = Number(process.env.PHXSQL_FUZZ_MUTATIONS ?? 800);
export const SEED = Number(process.env.PHXSQL_FUZZ_SEED ?? 1);

/** A single input that takes longer is a hang, or quadratic. */
export const INPUT_MS_MAX = 1000;

export type FuzzTally = Readonly<{ returned: number; refused: number }>;

/**
 * Runs `mutations` damaged samples through one target. The same seed gives the same inputs. Throws an Error that holds
 * the offending input as hex when the target throws anything but a PhxError or takes too long.
 */
export function fuzz(target: FuzzTarget, seed: number, mutations: number): FuzzTally {
  const prng = new Prng(seed);
  let returned = 0;
  let refused = 0;
  for (let i = 0; i < mutations; i += 1) {
    const input = mutate(prng, prng.pick(target.samples), prng.pick(target.samples));
    const started = performance.now();
    try {
      target.run(input);
      returned += 1;
    } catch (error) {
      if (!(error instanceof PhxError)) throw found(target, seed, i, input, String(error), error);
      refused += 1;
    }
    const ms = performance.now() - started;
    if (ms > INPUT_MS_MAX) throw found(target, seed, i, input, `took ${Math.round(ms)} ms`);
  }
  return { returned, refused };
}

function found(target: FuzzTarget, seed: number, i: number, input: Uint8Array, what: string, cause?: unknown): Error {
  const hex = Buffer.from(input).toString('hex');
  return new Error(`${target.name}, seed ${seed}, mutation ${i}: ${what}\ninput ${hex}`, { cause });
}
