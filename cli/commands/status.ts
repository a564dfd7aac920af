import type { NodeId } from '../../base/brands.ts';
import { systemClock } from '../../base/system-clock.ts';
import { absoluteDir, existingCluster, statusSourceOf } from '../cluster-dir.ts';
import { readNodeConfig } from '../config.ts';
import { lastFailover, lastFailoverText } from '../last-failover.ts';
import type { StatusOptions } from '../program.ts';
import { STATUS_TIMEOUT_MS, StatusCollector, type StatusSource } from '../status-collector.ts';
import { statusText } from '../status-text.ts';

/** The whole command answers within 2 s, so what a busy machine took to start it is taken from the nodes' time. */
const ASKING_ENDS_MS = 1700;
const ASKING_MS_MIN = 400;

/** `phxsql status`: exits 0 if there is a master, 1 if not. */
export async function showStatus(flags: StatusOptions): Promise<void> {
  const collector = new StatusCollector(sourceOf(flags), systemClock);
  const timeoutMs = flags.timeout === undefined ? askingMs() : flags.timeout * 1000;
  if (flags.lastFailover) return await showLastFailover(collector, timeoutMs, flags.json === true);
  const status = await collector.collect(timeoutMs);
  const text = flags.json ? JSON.stringify(status, null, 2) : statusText(status);
  await new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()));
  // Connections to nodes that are down would keep the process for a while.
  process.exit(status.master === null ? 1 : 0);
}

function askingMs(): number {
  return Math.max(ASKING_MS_MIN, Math.min(STATUS_TIMEOUT_MS, ASKING_ENDS_MS - performance.now()));
}

/** `phxsql status --last-failover`: exits 1 if nobody remembers one. */
async function showLastFailover(collector: StatusCollector, timeoutMs: number, json: boolean): Promise<void> {
  const last = lastFailover((await collector.ask(timeoutMs)).replies);
  const text = json ? JSON.stringify(last, null, 2) : lastFailoverText(last);
  await new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()));
  process.exit(last === null ? 1 : 0);
}

/** Whom to ask: a cluster on this machine, or the nodes a configuration names. */
export function sourceOf(flags: Readonly<{ dir: string; config?: string }>): StatusSource {
  if (flags.config === undefined) {
    const dir = absoluteDir(flags.dir);
    return statusSourceOf(dir, existingCluster(dir));
  }
  const config = readNodeConfig(flags.config);
  const nodeDirs = new Map<NodeId, string>([[config.node, config.dataDir]]);
  return { cluster: config.cluster, nodes: config.nodes, security: config.security, nodeDirs, self: config.node };
}
