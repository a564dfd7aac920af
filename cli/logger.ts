import { writeSync } from 'node:fs';
import { pino } from 'pino';
import type { Logger } from '../base/ports.ts';

/** Lines that wait while the disk of the log is full; what comes beyond them is lost. */
const LOG_WAITING_BYTES_MAX = 64 * 1024;

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
    new LineWriter(fd),
  );
  const at =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}): void =>
      log[name](fields, message);
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Writes at once. A disk that is full costs log lines, never the process that would have written them. */
class LineWriter {
  readonly #fd: number;
  #waiting: Buffer = Buffer.alloc(0);

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#waiting.length + bytes.length <= LOG_WAITING_BYTES_MAX)
      this.#waiting = Buffer.concat([this.#waiting, bytes]);
    try {
      while (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(writeSync(this.#fd, this.#waiting));
    } catch {
      // the next line tries again
    }
  }
}
