import type { MonoMs } from './brands.ts';

/** Time as an input: the simulator hands in its own. */
export interface Clock {
  /** CLOCK_MONOTONIC in milliseconds, fractional. */
  now(): MonoMs;
  /** Wall clock in milliseconds since the epoch; only shown to people and compared with `now` to notice a suspend. */
  wall(): number;
  /** Calls `fire` once, `ms` from now; the result cancels it. */
  after(ms: number, fire: () => void): () => void;
  /** Calls `fire` once, when all that is under way in this turn of the event loop is done: without any delay. */
  soon(fire: () => void): void;
}

/** Structured log with fixed keys; pino in the composition root, silent in tests. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Chance as an input. */
export interface Random {
  /** An integer in [0, bound). */
  below(bound: number): number;
}
