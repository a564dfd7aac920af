import type { Random } from './ports.ts';

/** Unseeded randomness for election jitter in production. */
export const systemRandom: Random = { below: (bound) => Math.floor(Math.random() * bound) };
