import { systemClock } from '../base/system-clock.ts';

/** One Ctrl-C may arrive more than once: from the terminal, from npm, from bin/phxsql.js. */
const SAME_REQUEST_MS = 1000;

/** First signal: `orderly`. A second one, meant as such: `atOnce`. */
export function onStopSignals(orderly: (signal: string) => void, atOnce: () => void): void {
  let firstAt: number | null = null;
  const heard = (signal: NodeJS.Signals): void => {
    const now = systemClock.now();
    if (firstAt === null) {
      firstAt = now;
      orderly(signal);
    } else if (now - firstAt > SAME_REQUEST_MS) {
      atOnce();
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, heard);
}
