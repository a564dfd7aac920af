import { createServer, type Server, type Socket } from 'node:net';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { type DumpAccount, DumpSession } from './dump-session.ts';
import type { LogSource } from './log-source.ts';
import type { RowTotals } from './row-totals.ts';

/** Replicas and CDC clients served at once; one more is refused with an error packet. */
export const DUMP_CLIENTS_MAX = 64;

export type DumpServerOptions = Readonly<{
  host: string;
  port: number;
  /** Server id and uuid of the store as a source: other than any mysqld's of the cluster. */
  serverId: number;
  serverUuid: string;
  /** Announced version; replicas adapt to it. */
  serverVersion: string;
  account: DumpAccount;
  source: LogSource;
  /** What is sent is counted there. */
  totals?: RowTotals;
  clock: Clock;
  log: Logger;
}>;

export interface DumpServer extends AsyncDisposable {
  readonly port: number;
  readonly clients: number;
  close(): Promise<void>;
}

/**
 * A MySQL endpoint that plays the source for the local mysqld and for any MySQL replication client (invariant I7).
 * @throws PhxError PORT_IN_USE
 */
export async function startDumpServer(options: DumpServerOptions): Promise<DumpServer> {
  const sessions = new Set<DumpSession>();
  let connectionId = 0;
  const server: Server = createServer({ noDelay: true }, (socket: Socket) => {
    connectionId += 1;
    const session = new DumpSession(socket, connectionId, options, sessions.size >= DUMP_CLIENTS_MAX);
    sessions.add(session);
    session
      .run()
      .catch((error: unknown) =>
        options.log.info('dump client left', { client: session.name, reason: reasonOf(error) }),
      )
      .finally(() => sessions.delete(session));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new PhxError('PORT_IN_USE', `listen on dump port ${options.host}:${options.port}: in use`)
          : error,
      );
    });
    server.listen(options.port, options.host, resolve);
  });
  const address = server.address();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= new Promise((resolve) => {
      server.close(() => resolve());
      for (const session of sessions) session.close();
    });
    return closing;
  };
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    get clients() {
      return sessions.size;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
