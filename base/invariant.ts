/** A broken assumption of our own code: never handled, only reported by cli/main.ts, which then exits. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}

/** For the default branch of a switch over a union: the compiler reports the missing case. */
export function unreachable(x: never): never {
  throw new InvariantError(`unhandled case: ${JSON.stringify(x)}`);
}
