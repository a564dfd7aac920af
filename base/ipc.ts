/** Messages between a node's supervisor and its children over Node's IPC channel. */

/** Supervisor -> agent: mysqld is a child of the supervisor, so that it outlives a restart of the agent and dies with the node. */
export type ToAgent =
  /** Sent when the agent starts and after each change. `exit` tells how the one before ended. */
  Readonly<{
    kind: 'mysqld';
    pid: number | null;
    /** Monotonic ms (CLOCK_MONOTONIC) when it was spawned, with `pid`. */
    startedAt: number | null;
    exit: Readonly<{ pid: number; code: number | null; signal: string | null }> | null;
  }>;

/** Agent -> supervisor. */
export type FromAgent =
  | Readonly<{ kind: 'startMysqld'; file: string; args: readonly string[]; cwd: string; logFile: string }>
  | Readonly<{ kind: 'signalMysqld'; pid: number; signal: 'SIGKILL' | 'SIGTERM' }>;

/** Supervisor -> binlogsvr: the process ids shown in status. */
export type ToBinlogsvr = Readonly<{ kind: 'pids'; pids: NodePids }>;

export type NodePids = Readonly<{
  supervisor: number | null;
  mysqld: number | null;
  binlogsvr: number | null;
  agent: number | null;
  sync: number | null;
  proxy: readonly number[];
}>;

/** Supervisor -> each of its children, again and again, and the answer: the same message. */
export type AliveQuestion = Readonly<{ kind: 'alive' }>;

export const isAliveMessage = (message: unknown): message is AliveQuestion =>
  typeof message === 'object' && message !== null && (message as { kind?: unknown }).kind === 'alive';
