export type MysqldCommand = Readonly<{ file: string; args: readonly string[]; cwd: string; logFile: string }>;

/** `startedAt` in ms of CLOCK_MONOTONIC. */
export type MysqldProcess = Readonly<{ pid: number; startedAt: number }>;
export type MysqldExit = Readonly<{ pid: number; code: number | null; signal: string | null }>;

/** Whoever is mysqld's parent: the supervisor in production, so that mysqld outlives a restart of the agent. */
export interface MysqldHost {
  /** Rejects with MYSQL_DOWN when the program cannot be started. Only called while `current()` is null. */
  start(command: MysqldCommand): Promise<MysqldProcess>;
  signal(pid: number, signal: 'SIGKILL' | 'SIGTERM'): void;
  /** The child that runs now. null means it was reaped: its locks and files are free. */
  current(): MysqldProcess | null;
  /** `listener` hears of each end; the result stops that. */
  onExit(listener: (exit: MysqldExit) => void): () => void;
}

export function describeExit({ code, signal }: MysqldExit): string {
  return signal === null ? `status ${code ?? 'unknown'}` : `signal ${signal}`;
}
