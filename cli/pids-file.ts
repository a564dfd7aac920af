import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { NodePids } from '../base/ipc.ts';
import { writeAtomically } from './files.ts';
import { isAlive, type ProcessId, startTicksOf } from './processes.ts';

/** The node's process ids on disk, with start times so that a number used again is not mistaken. */
export type PidsFile = Readonly<{ pids: NodePids; startTicks: Readonly<Record<string, number>> }>;

export const NO_PIDS: NodePids = {
  supervisor: null,
  mysqld: null,
  binlogsvr: null,
  agent: null,
  sync: null,
  proxy: [],
};

const pathOf = (nodeDir: string): string => join(nodeDir, 'run', 'pids.json');

export function writePids(nodeDir: string, pids: NodePids): void {
  const startTicks: Record<string, number> = {};
  for (const pid of allPids(pids)) {
    const ticks = startTicksOf(pid);
    if (ticks !== null) startTicks[pid] = ticks;
  }
  mkdirSync(dirname(pathOf(nodeDir)), { recursive: true });
  writeAtomically(pathOf(nodeDir), `${JSON.stringify({ pids, startTicks } satisfies PidsFile)}\n`, 'fleeting');
}

function read(nodeDir: string): PidsFile {
  try {
    return JSON.parse(readFileSync(pathOf(nodeDir), 'utf8')) as PidsFile;
  } catch {
    return { pids: NO_PIDS, startTicks: {} }; // never started, or torn by a full disk
  }
}

/** Those of the last run that are alive now, or on their way out. */
export function knownProcesses(nodeDir: string): readonly ProcessId[] {
  return Object.entries(read(nodeDir).startTicks)
    .map(([pid, startTicks]) => ({ pid: Number(pid), startTicks }))
    .filter(isAlive);
}

/** The same by name. */
export function readLivePids(nodeDir: string): NodePids {
  const file = read(nodeDir);
  const live = (pid: number | null): number | null => {
    const startTicks = pid === null ? undefined : file.startTicks[pid];
    return pid !== null && startTicks !== undefined && isAlive({ pid, startTicks }) ? pid : null;
  };
  return {
    supervisor: live(file.pids.supervisor),
    mysqld: live(file.pids.mysqld),
    binlogsvr: live(file.pids.binlogsvr),
    agent: live(file.pids.agent),
    sync: live(file.pids.sync),
    proxy: file.pids.proxy.filter((pid) => live(pid) !== null),
  };
}

export function allPids(pids: NodePids): readonly number[] {
  const named = [pids.supervisor, pids.mysqld, pids.binlogsvr, pids.agent, pids.sync].filter((pid) => pid !== null);
  return [...new Set([...named, ...pids.proxy])];
}
