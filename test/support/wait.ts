import { setTimeout as pause } from 'node:timers/promises';

const SAID_MAX = 4;

/** Waits until `check` returns something other than false/null/undefined; the error tells the last failures. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  check: () => Promise<T | false | null | undefined> | T | false | null | undefined,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  /** What it said last, the newest at the end, each once. */
  const said = new Set<string>();
  for (;;) {
    try {
      const value = await check();
      if (value !== false && value !== null && value !== undefined) return value;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      said.delete(message);
      said.add(message);
    }
    if (Date.now() >= end) {
      const last = [...said].slice(-SAID_MAX).join('; then: ');
      throw new Error(`${what}: not within ${timeoutMs} ms (${last || 'condition not met'})`);
    }
    await pause(25);
  }
}
