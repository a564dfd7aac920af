/** Bounds of one proxy worker. Times in milliseconds. */
export type ProxyLimits = Readonly<{
  /** Connections per port of this worker, waiting ones included; one more is refused with error 1040. */
  connectionsMax: number;
  /** Connections per port that wait for a server to be there. */
  waitingMax: number;
  /** How long a read-write connection waits for a master; clients themselves commonly give up at 10 s. */
  writeWaitMs: number;
  /** How long a read-only connection waits for a healthy slave. */
  readWaitMs: number;
  /** One attempt to connect to a mysqld. */
  backendConnectMs: number;
  /** From accept, while a mysqld has accepted but not greeted yet. */
  greetingMs: number;
  /** A slave further behind gets no new connections. */
  lagMsMax: number;
  /** Read-write sessions are closed, idle or not, this long after the lease bound passed without any news. */
  leaseLostMs: number;
}>;

export const DEFAULT_PROXY_LIMITS: ProxyLimits = {
  connectionsMax: 10_000,
  waitingMax: 1_000,
  writeWaitMs: 8_000,
  readWaitMs: 2_000,
  backendConnectMs: 1_000,
  greetingMs: 9_000,
  lagMsMax: 10_000,
  leaseLostMs: 3_000,
};
