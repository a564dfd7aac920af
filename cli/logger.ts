import { pino } from 'pino';
import type { Logger } from '../base/ports.ts';

/**
 * A component's log: JSON lines on stdout, which its supervisor has pointed at DIR/log/<component>.log. Written at once, so
 * that the last words of a process that dies are there. `fd` for a process whose stdout is a person's.
 */
export function createLogger(component: string, node: number, fd = 1): Logger {
  const level = process.env.PHXSQL_LOG_LEVEL ?? 'info';
  const log = pino(
    {
      base: { node, component, pid: process.pid },
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd, sync: true }),
  );
  const at =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      log[name](fields, message);
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
