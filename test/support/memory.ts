import { readFileSync } from 'node:fs';
import type { Status } from './cluster.ts';

export const MiB = 1024 * 1024;

/** The most memory (VmHWM, bytes) each process of ours has ever had in RAM: every node's, by name; mysqld is not ours. */
export function peakMemory({ nodes }: Status): Map<string, number> {
  const peaks = new Map<string, number>();
  for (const { id, pids } of nodes) {
    const named = [
      ['supervisor', pids.supervisor],
      ['binlogsvr', pids.binlogsvr],
      ['agent', pids.agent],
      ...pids.proxy.map((pid, i) => [`proxy ${i + 1}`, pid]),
    ] as const;
    for (const [name, pid] of named) {
      const text = readFileSync(`/proc/${pid}/status`, 'utf8');
      peaks.set(`${name} of node ${id}`, Number(/^VmHWM:\s+(\d+) kB/m.exec(text)?.[1]) * 1024);
    }
  }
  return peaks;
}

/** `peaks` above `bytesMax`, in words. */
export function beyond(peaks: ReadonlyMap<string, number>, bytesMax: number): string[] {
  return [...peaks]
    .filter(([, bytes]) => !(bytes < bytesMax))
    .map(([name, bytes]) => `${name}: ${Math.round(bytes / MiB)} MiB`);
}
