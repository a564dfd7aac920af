import { appendFileSync, existsSync } from 'node:fs';
import { systemClock } from '../../../../base/system-clock.ts';
import { answerSupervisor, watchSupervisor } from '../../../../cli/internal/component.ts';
import { createLogger } from '../../../../cli/logger.ts';

/**
 * Stands for any process of a node: says what happens to it in the file EVENTS, one JSON object a line.
 * Usage: component.ts KIND EVENTS [FILE] where KIND is
 *   plain     lives until SIGTERM
 *   short     ends at once
 *   stubborn  ignores SIGTERM
 *   watcher   kills its supervisor when that is frozen
 *   agent     has mysqld started if there is none (unless it ended before), stops it on SIGTERM, then ends; while FILE
 *             exists it leaves mysqld alone when it ends; sends a signal to the pid 1 of another world when it starts
 */
const [, , kind = '', events = '', file = ''] = process.argv;

const tell = (event: string, more: object = {}): void =>
  appendFileSync(events, `${JSON.stringify({ who: kind, pid: process.pid, event, ...more })}\n`);

process.on('disconnect', () => process.exit(1));
setInterval(() => {}, 1_000_000);

let mysqldPid: number | null = null;
let stopping = false;

const questions = answerSupervisor();
if (kind === 'watcher') {
  watchSupervisor(questions, systemClock, createLogger(kind, 1), Number(process.env['FAKE_ASK_EVERY_MS']));
}

process.on('message', (message: { kind: string; pid?: number | null; exit?: unknown }) => {
  if (message.kind === 'alive') {
    if (kind === 'watcher') tell('asked');
    return;
  }
  tell('message', { message });
  if (kind !== 'agent' || message.kind !== 'mysqld') return;
  mysqldPid = message.pid ?? null;
  if (mysqldPid === null && stopping) process.exit(0);
  if (mysqldPid === null && message.exit === null) {
    process.send?.({ kind: 'signalMysqld', pid: process.pid, signal: 'SIGKILL' });
    process.send?.({
      kind: 'startMysqld',
      file: process.execPath,
      args: [process.argv[1], 'mysqld', events],
      cwd: '/',
      logFile: `${events}.mysqld.log`,
    });
  }
});

process.on('SIGTERM', () => {
  if (kind === 'stubborn') return tell('ignored');
  tell('stopping');
  if (kind === 'agent' && mysqldPid !== null && !existsSync(file)) {
    stopping = true;
    process.send?.({ kind: 'signalMysqld', pid: mysqldPid, signal: 'SIGTERM' });
    return;
  }
  process.exit(0);
});

tell('started', {
  mark: process.env.PHXSQL_PROCESS_OF,
  parentPid: process.env.MYSQLD_PARENT_PID,
  diedOf: process.env.PHXSQL_DIED_OF,
});
if (kind === 'short') process.exit(3);
