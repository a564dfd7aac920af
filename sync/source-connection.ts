/**
 * One connection to the local mysqld, logged in: a few statements, then the dump stream it plays the replica on. The real
 * one is mysqld-source.ts. Errors: MYSQL_DOWN (connection lost), MYSQL_PROTOCOL (mysqld refuses).
 */
export interface SourceConnection {
  readonly alive: boolean;
  /** Called once, when the connection ends for whatever reason. */
  onClose(listener: (error: Error) => void): void;
  /** Runs one statement. */
  query(sql: string): Promise<unknown>;
  ping(): Promise<void>;
  /** Turns the connection into a dump stream: every further packet goes to `onPacket`, in order. */
  startDump(options: Readonly<{ serverId: number; gtidSet: Uint8Array; onPacket: (payload: Buffer) => void }>): void;
  /** An ack (mysql/semi-sync.ts), as one packet in one piece. */
  sendAck(payload: Uint8Array): void;
  /** No packets until `resume`; what is under way may still come. */
  pause(): void;
  resume(): void;
  destroy(error?: Error): void;
}

/** Connects to the mysqld at `socketPath` and logs in. Rejects with MYSQL_AUTH, MYSQL_DOWN, or TIMEOUT when `signal` fires. */
export type ConnectSource = (socketPath: string, signal: AbortSignal) => Promise<SourceConnection>;
