import type { View } from '../proto/binlogsvr-types.ts';
import type { DiskProbe } from './disk-probe.ts';
import type { MysqldWatch } from './mysqld-watch.ts';

/** A renewal rests on an answer of mysqld and of its disk that is at most this old. */
export const HEALTH_AGE_MS_MAX = 1_000;
/** Commits that wait, on a store with a majority, must get on within this time (protocol-findings 13). */
export const PROGRESS_MS_MAX = 3_000;

export type Health = Readonly<{
  /** Since mysqld last answered a read. */
  silentMs: number;
  /** Since a block was last written and synced in the datadir, and what the last attempt said. */
  diskMs: number;
  diskError: string;
  /** Commits wait for acks, and since when nothing has been acked or appended although they do. */
  waiting: boolean;
  stuckMs: number;
  quorum: boolean;
}>;

/**
 * Why the lease must not be renewed now, or null. A master that merely lives but does not commit must lose its lease;
 * one whose cluster has no majority must not: nobody else could do better.
 */
export function objection(health: Health): string | null {
  if (health.silentMs > HEALTH_AGE_MS_MAX)
    return `mysqld has not answered a read for ${Math.round(health.silentMs)} ms`;
  if (health.diskMs > HEALTH_AGE_MS_MAX) {
    const why = health.diskError === '' ? '' : ` (${health.diskError})`;
    return `the datadir has not taken a write for ${Math.round(health.diskMs)} ms${why}`;
  }
  if (health.waiting && health.quorum && health.stuckMs > PROGRESS_MS_MAX) {
    return `commits have been waiting for ${Math.round(health.stuckMs)} ms without any progress`;
  }
  return null;
}

export function healthOf(watch: MysqldWatch, disk: DiskProbe, view: View | null): Health {
  return {
    silentMs: watch.silentMs,
    diskMs: disk.okAgeMs,
    diskError: disk.error,
    waiting: (watch.probe?.semiSync.waiting ?? 0) > 0,
    stuckMs: watch.stuckMs(view?.appendSeq ?? 0),
    quorum: view?.quorum ?? false,
  };
}
