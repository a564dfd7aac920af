import type { MonoMs } from '../base/brands.ts';

/** A node's mysqld as the proxy dials it. */
export type Backend = Readonly<{ node: number; host: string; port: number }>;

export type SlaveBackend = Backend & Readonly<{ lagMs: number; local: boolean }>;

/**
 * What a node's proxy workers know of the cluster. Made by the supervisor's ViewFeed, replaced as a whole, never patched;
 * plain JSON, since it crosses IPC. All times are of this host's clocks (CLOCK_MONOTONIC is shared by its processes).
 */
export type ProxyView = Readonly<{
  /** Grows with every view of one feed. */
  seq: number;
  /** Newest election heard of; 0 = none. */
  epoch: number;
  /** Node that won `epoch`, while no fence of it was heard; 0 = none. Its read-only sessions are over: it takes writes. */
  elected: number;
  /** Sessions of the RW port made in this epoch or an earlier one are over: it was fenced, or a newer one exists. */
  closedEpoch: number;
  /** Set only when the elected node's own agent says it serves writes in `epoch`, `epoch` is open and its lease runs. */
  master: Backend | null;
  /** Why there is no master, in words; '' when there is one. */
  reason: string;
  /**
   * Conservative end of the lease of `epoch`'s master: time of asking + what the holder said is left - margin. 0 = none.
   * Both clocks count (I5): monotonic time stands still while a guest is suspended, wall time does not.
   */
  readUntil: MonoMs;
  readUntilWall: number;
  /** Healthy slaves, whatever their lag; the router applies the bound. */
  slaves: readonly SlaveBackend[];
  /** Set when this node sends nobody anywhere, and why. */
  closed?: string;
}>;

/** Supervisor -> proxy worker. */
export type ToProxy = Readonly<{ kind: 'view'; view: ProxyView }>;

export const NO_VIEW: ProxyView = {
  seq: 0,
  epoch: 0,
  elected: 0,
  closedEpoch: 0,
  master: null,
  reason: 'this proxy has not heard from its supervisor yet',
  readUntil: 0 as MonoMs,
  readUntilWall: 0,
  slaves: [],
};
