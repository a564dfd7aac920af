import { rmSync } from 'node:fs';
import { delay } from '../base/async.ts';
import type { Clock } from '../base/ports.ts';
import { type Cluster, nodeDirOf } from './cluster-dir.ts';
import { endAllOf, managerOf, NODE_STOP_MS } from './manager.ts';
import { readLivePids } from './pids-file.ts';
import { identify, isAlive, type ProcessId, processesOf, signalProcess, waitGone } from './processes.ts';

/** The manager's own bound (all nodes stop at once) and some. */
export const MANAGER_STOP_MS = NODE_STOP_MS + 15_000;
const PROGRESS_MS = 2000;

/**
 * Stops a cluster whoever runs it: by its manager, else by its supervisors (the manager was killed, setpriv is missing),
 * and what is left by SIGKILL. When this returns no process of it is there. False if there was none before.
 */
export async function stopCluster(
  dir: string,
  cluster: Cluster,
  clock: Clock,
  progress: (line: string) => void,
): Promise<boolean> {
  const manager = managerOf(dir);
  if (manager === null && processesOf(dir).length === 0) return false;
  if (manager !== null) {
    progress(`stopping (process ${manager.pid})`);
    await endOrderly([manager], MANAGER_STOP_MS, dir, clock, progress);
  }
  const supervisors = cluster.nodes
    .map(({ id }) => readLivePids(nodeDirOf(dir, id)).supervisor)
    .map((pid) => (pid === null ? null : identify(pid)))
    .filter((id) => id !== null);
  if (supervisors.length > 0) {
    progress('its manager is gone: stopping the nodes');
    await endOrderly(supervisors, NODE_STOP_MS, dir, clock, progress);
  }
  await killCluster(dir, clock);
  return true;
}

/** At once, whoever runs it: its data is not wanted any more. When this returns no process of it is there. */
export async function killCluster(dir: string, clock: Clock): Promise<void> {
  const manager = managerOf(dir);
  if (manager !== null) {
    signalProcess(manager, 'SIGKILL');
    await waitGone([manager], 1000, clock);
  }
  await endAllOf(dir, clock);
}

/** Removes it with all its data. The caller has stopped it. */
export function removeCluster(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

async function endOrderly(
  ids: readonly ProcessId[],
  timeoutMs: number,
  dir: string,
  clock: Clock,
  progress: (line: string) => void,
): Promise<void> {
  for (const id of ids) signalProcess(id, 'SIGTERM');
  const deadline = clock.now() + timeoutMs;
  let nextProgress = clock.now() + PROGRESS_MS;
  while (ids.some(isAlive) && clock.now() < deadline) {
    await delay(clock, 50);
    if (clock.now() < nextProgress) continue;
    nextProgress = clock.now() + PROGRESS_MS;
    progress(`waiting; processes left: ${processesOf(dir).length}`);
  }
}
