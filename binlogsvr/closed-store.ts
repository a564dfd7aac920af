import { type Metadata, Server, type sendUnaryData } from '@grpc/grpc-js';
import { delay } from '../base/async.ts';
import { type ErrorCode, PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { NodeAddress, Security } from '../base/topology.ts';
import { authorised, SERVER_OPTIONS, serverCredentials, serviceClass } from '../proto/rpc-channel.ts';
import { toServiceError, UNAUTHENTICATED } from '../proto/rpc-errors.ts';

/** Between two attempts to open a store whose disk does not let it be opened. */
export const STORE_RETRY_MS = 5_000;

/** A disk may get space, or answer, again; anything else about a store does not heal by itself. */
const HEALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['STORE_IO', 'DISK_TOO_SMALL']);

export type ClosedStoreOptions = Readonly<{ self: NodeAddress; security: Security; clock: Clock; log: Logger }>;

/**
 * What `open` opens, as soon as it can. An acceptor that cannot remember must not answer; but a node that says nothing at all is
 * one nobody can tell a dead one from. So while its disk is full or fails, the process stays, takes no part in anything, and
 * every call at its address ends with the reason: `phxsql status` shows it.
 *
 *   open ──STORE_IO, DISK_TOO_SMALL──► closed: each call is refused with the reason ──5 s──► open again
 *    └── any other error: thrown
 */
export async function openWhenPossible<T>(open: () => Promise<T>, options: ClosedStoreOptions): Promise<T> {
  const { self, clock, log } = options;
  let closed: ClosedServer | null = null;
  try {
    for (;;) {
      try {
        return await open();
      } catch (error) {
        if (!(error instanceof PhxError) || !HEALS.has(error.code)) throw error;
        if (closed?.reason !== error.message)
          log.error('the store is closed', { node: self.id, reason: error.message });
        closed ??= await ClosedServer.listen(options);
        closed.reason = error.message;
        closed.code = error.code;
        await delay(clock, STORE_RETRY_MS);
      }
    }
  } finally {
    closed?.close();
  }
}

/** What calls of all kinds have; those with a stream of answers come without `done`. */
type Call = Readonly<{ metadata: Metadata; emit(event: 'error', error: object): boolean }>;

/** Answers at the node's address, every call with the same refusal. */
class ClosedServer {
  reason = '';
  code: ErrorCode = 'STORE_IO';
  readonly #server = new Server(SERVER_OPTIONS);

  /** @throws PhxError PORT_IN_USE */
  static async listen({ self, security }: ClosedStoreOptions): Promise<ClosedServer> {
    const closed = new ClosedServer();
    for (const service of ['Binlogsvr', 'Admin'] as const) closed.#refuse(service, security);
    const address = `${self.host}:${self.rpc}`;
    await new Promise<void>((resolve, reject) => {
      closed.#server.bindAsync(address, serverCredentials(security), (error) => {
        if (error === null) resolve();
        else reject(new PhxError('PORT_IN_USE', `listen on ${address}: ${reasonOf(error)}`, { cause: error }));
      });
    });
    return closed;
  }

  #refuse(service: 'Binlogsvr' | 'Admin', security: Security): void {
    const definition = serviceClass('binlogsvr.proto', service).service;
    const refuse = (call: Call, done?: sendUnaryData<unknown>): void => {
      const why = new PhxError(this.code, `its store is closed: ${this.reason}`);
      const refusal = toServiceError(authorised(call.metadata, security) ? why : UNAUTHENTICATED);
      if (done === undefined) call.emit('error', refusal);
      else done(refusal);
    };
    this.#server.addService(definition, Object.fromEntries(Object.keys(definition).map((name) => [name, refuse])));
  }

  close(): void {
    this.#server.forceShutdown();
  }
}
