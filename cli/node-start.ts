import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PhxError } from '../base/errors.ts';
import type { NodeConfig } from './config.ts';
import { ENTRY } from './entry.ts';
import { openLog } from './files.ts';
import { readLivePids } from './pids-file.ts';
import { identify, signalProcess } from './processes.ts';

/** A node in the background, as `phxsql node --config FILE &` would run it. */
export type StartedNode = Readonly<{
  /** False: it ran already, started by whomever. */
  started: boolean;
  /** Throws UNAVAILABLE, with the last words of its log, once it has ended. */
  check: () => void;
}>;

export function startNode(config: NodeConfig): StartedNode {
  if (readLivePids(config.dataDir).supervisor !== null) return { started: false, check: () => {} };
  const logDir = join(config.dataDir, 'log');
  mkdirSync(logDir, { recursive: true, mode: 0o700 });
  const logFile = join(logDir, 'supervisor.log');
  const output = openLog(logFile);
  const child = spawn(process.execPath, [ENTRY, 'node', '--config', config.file], {
    stdio: ['ignore', output, output],
    detached: true,
  });
  closeSync(output);
  let ended: string | null = null;
  child.on('exit', (code, signal) => {
    ended = signal ?? `status ${code}`;
  });
  child.on('error', (error) => {
    ended = error.message;
  });
  child.unref();
  const check = (): void => {
    if (ended === null) return;
    throw new PhxError('UNAVAILABLE', `start node ${config.node}: it ended (${ended}): ${lastLine(logFile)}`, {
      hint: `its log is ${logFile}`,
    });
  };
  return { started: true, check };
}

/** Asks the supervisor of the node to end. False: none runs on this machine. */
export function askNodeToStop(dataDir: string): boolean {
  const { supervisor } = readLivePids(dataDir);
  const id = supervisor === null ? null : identify(supervisor);
  return id !== null && signalProcess(id, 'SIGTERM');
}

export function lastLine(file: string): string {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.filter((line) => line.startsWith('phxsql:')).at(-1) ?? lines.at(-1) ?? '';
}
