import { setTimeout as pause } from 'node:timers/promises';

/** Waits until `check` returns something other than false/null/undefined; the error tells the last failure. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  check: () => Promise<T | false | null | undefined> | T | false | null | undefined,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  let last = 'condition not met';
  for (;;) {
    try {
      const value = await check();
      if (value !== false && value !== null && value !== undefined) return value;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (Date.now() >= end) throw new Error(`${what}: not within ${timeoutMs} ms (${last})`);
    await pause(25);
  }
}
