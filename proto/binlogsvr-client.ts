import type { CallOptions, Client, ClientReadableStream, ClientUnaryCall, Metadata, ServiceError } from '@grpc/grpc-js';
import { PhxError } from '../base/errors.ts';
import { Newest } from '../base/newest.ts';
import type { Security } from '../base/topology.ts';
import type {
  AgentReport,
  BinlogsvrClient,
  LeaseReply,
  MemberChange,
  MemberOutcome,
  MembershipClient,
  NodeStatus,
  Outcome,
  SwitchoverOutcome,
  TailTransaction,
  View,
} from './binlogsvr-types.ts';
import { authMetadata, CHANNEL_OPTIONS, channelCredentials, serviceClass } from './rpc-channel.ts';
import { fromServiceError } from './rpc-errors.ts';

/** Appends sent and not answered on one stream; beyond it append() is refused. */
export const APPENDS_WAITING_MAX = 1024;
const COMPARE_BATCH = 1000;
/** A switchover that has begun comes to its end, good or not, within this. */
const SWITCHOVER_END_MS = 15_000;

type Reply<T> = (error: ServiceError | null, reply?: T) => void;
type Unary = (request: object, metadata: Metadata, options: CallOptions, reply: Reply<unknown>) => ClientUnaryCall;
type Raw = Client & Record<string, unknown>;

/** A bidi or client-streaming call, as far as it is used here. */
type WriteCall = {
  write(message: object): boolean;
  end(): void;
  cancel(): void;
  once(event: 'drain', listener: () => void): unknown;
  on(event: 'data', listener: (reply: Outcome) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
};

/**
 * The client of one node's binlogsvr. Costs nothing until the first call; a server that is down answers UNAVAILABLE at
 * once, one that does not answer at all TIMEOUT. Definite refusals arrive as an Outcome, unknown outcomes as errors.
 */
export function createBinlogsvrClient(address: string, security: Security): BinlogsvrClient & MembershipClient {
  return new GrpcBinlogsvrClient(address, security);
}

class GrpcBinlogsvrClient implements BinlogsvrClient, MembershipClient {
  readonly address: string;
  readonly #binlogsvr: Raw;
  readonly #admin: Raw;
  readonly #metadata: Metadata;
  #closed = false;

  constructor(address: string, security: Security) {
    this.address = address;
    const Binlogsvr = serviceClass('binlogsvr.proto', 'Binlogsvr');
    const Admin = serviceClass('binlogsvr.proto', 'Admin');
    const binlogsvr = new Binlogsvr(address, channelCredentials(security), CHANNEL_OPTIONS);
    this.#binlogsvr = binlogsvr as unknown as Raw;
    this.#admin = new Admin(address, channelCredentials(security), {
      ...CHANNEL_OPTIONS,
      channelOverride: binlogsvr.getChannel(),
    }) as unknown as Raw;
    this.#metadata = authMetadata(security);
  }

  baseline(gtidSet: string, timeoutMs: number): Promise<Outcome> {
    return this.#call(this.#binlogsvr, 'baseline', { gtidSet }, timeoutMs);
  }

  stand(gtidExecuted: string, basedOnEpoch: number, timeoutMs: number): Promise<Outcome> {
    return this.#call(this.#binlogsvr, 'stand', { gtidExecuted, basedOnEpoch }, timeoutMs);
  }

  renew(epoch: number, timeoutMs: number): Promise<Outcome> {
    return this.#call(this.#binlogsvr, 'renew', { epoch }, timeoutMs);
  }

  fence(epoch: number, release: boolean, timeoutMs: number): Promise<Outcome> {
    return this.#call(this.#binlogsvr, 'fence', { epoch, release }, timeoutMs);
  }

  transfer(epoch: number, to: number, timeoutMs: number): Promise<Outcome> {
    return this.#call(this.#binlogsvr, 'transfer', { epoch, to }, timeoutMs);
  }

  barrier(timeoutMs: number): Promise<View> {
    return this.#call(this.#binlogsvr, 'barrier', { timeoutMs }, timeoutMs);
  }

  report(report: AgentReport, timeoutMs: number): Promise<View> {
    return this.#call(this.#binlogsvr, 'report', report, timeoutMs);
  }

  lease(timeoutMs: number): Promise<LeaseReply> {
    return this.#call(this.#binlogsvr, 'lease', {}, timeoutMs);
  }

  status(timeoutMs: number): Promise<NodeStatus> {
    return this.#call(this.#admin, 'status', {}, timeoutMs);
  }

  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberOutcome> {
    return this.#call(this.#admin, 'changeMember', change, timeoutMs);
  }

  finalizeUpgrade(timeoutMs: number): Promise<MemberOutcome> {
    return this.#call(this.#admin, 'finalizeUpgrade', {}, timeoutMs);
  }

  switchover(to: number, timeoutMs: number): Promise<SwitchoverOutcome> {
    return this.#call(this.#admin, 'switchover', { to, timeoutMs }, timeoutMs + SWITCHOVER_END_MS);
  }

  async compareTail(
    transactions: Iterable<TailTransaction>,
    timeoutMs: number,
  ): Promise<{ matching: number; reason: string }> {
    this.#assertOpen();
    return new Promise((resolve, reject) => {
      let done = false;
      const open = this.#binlogsvr.compareTail as (m: Metadata, o: CallOptions, r: Reply<object>) => WriteCall;
      const call = open.call(this.#binlogsvr, this.#metadata, deadline(timeoutMs), (error, reply) => {
        done = true;
        if (error !== null) reject(fromServiceError(error, `compare tail with ${this.address}`));
        else resolve(reply as { matching: number; reason: string });
      });
      call.on('error', () => {}); // told by the callback
      const iterator = transactions[Symbol.iterator]();
      const pump = (): void => {
        for (;;) {
          if (done) return;
          const batch: TailTransaction[] = [];
          while (batch.length < COMPARE_BATCH) {
            const next = iterator.next();
            if (next.done === true) break;
            batch.push(next.value);
          }
          if (batch.length === 0) {
            call.end();
            return;
          }
          if (!call.write({ transactions: batch })) {
            call.once('drain', pump);
            return;
          }
        }
      };
      try {
        pump();
      } catch (error) {
        call.cancel();
        reject(error);
      }
    });
  }

  async *subscribe(signal: AbortSignal): AsyncGenerator<View, void, undefined> {
    this.#assertOpen();
    if (signal.aborted) return;
    const open = this.#binlogsvr.subscribe as (request: object, m: Metadata) => ClientReadableStream<View>;
    const call = open.call(this.#binlogsvr, {}, this.#metadata);
    const newest = new Newest<View>();
    call.on('data', (view: View) => newest.push(view));
    call.on('error', (error: Error) => newest.end(fromServiceError(error, `subscribe to ${this.address}`)));
    call.on('end', () => {
      newest.end(new PhxError('UNAVAILABLE', `subscribe to ${this.address}: the server ended the stream`));
    });
    yield* newest.read(signal, () => call.cancel());
  }

  appendStream(signal: AbortSignal): { append(value: Uint8Array): Promise<Outcome>; close(): void } {
    this.#assertOpen();
    const waiting: { resolve: (outcome: Outcome) => void; reject: (error: PhxError) => void }[] = [];
    let ended: PhxError | null = null;
    const open = this.#binlogsvr.append as (m: Metadata) => WriteCall;
    const call = open.call(this.#binlogsvr, this.#metadata);
    const end = (error: PhxError): void => {
      if (ended !== null) return;
      ended = error;
      signal.removeEventListener('abort', onAbort);
      for (const { reject } of waiting.splice(0)) reject(error);
    };
    const onAbort = (): void => {
      end(new PhxError('CANCELLED', `append to ${this.address}: cancelled, outcome unknown`));
      call.cancel();
    };
    call.on('data', (outcome) => {
      const first = waiting.shift();
      if (first === undefined) return;
      if (!outcome.accepted && UNKNOWN_OUTCOMES.has(outcome.code)) {
        first.reject(new PhxError(outcome.code as 'TIMEOUT', `append to ${this.address}: ${outcome.reason}`));
      } else {
        first.resolve(outcome);
      }
    });
    call.on('error', (error) => end(fromServiceError(error, `append to ${this.address}`)));
    call.on('end', () => end(new PhxError('UNAVAILABLE', `append to ${this.address}: the server ended the stream`)));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    return {
      append: (value) =>
        new Promise((resolve, reject) => {
          if (ended !== null) return reject(ended);
          if (waiting.length >= APPENDS_WAITING_MAX) {
            return reject(new PhxError('BUSY', `append to ${this.address}: ${waiting.length} appends wait already`));
          }
          waiting.push({ resolve, reject });
          call.write({ value });
        }),
      close: () => {
        end(new PhxError('CANCELLED', `append to ${this.address}: the stream was closed, outcome unknown`));
        call.cancel();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#binlogsvr.close();
  }

  #call<T>(client: Raw, method: string, request: object, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      (client[method] as Unary).call(client, request, this.#metadata, deadline(timeoutMs), (error, reply) => {
        if (error !== null) reject(fromServiceError(error, `${method} at ${this.address}`));
        else resolve(reply as T);
      });
    });
  }

  #assertOpen(): void {
    if (this.#closed) throw new PhxError('UNAVAILABLE', `call ${this.address}: the client is closed`);
  }
}

/** Outcomes an append stream's server cannot know; it says so in order, where an error would end the stream. */
const UNKNOWN_OUTCOMES: ReadonlySet<string> = new Set(['TIMEOUT', 'UNAVAILABLE']);

function deadline(timeoutMs: number): CallOptions {
  return { deadline: Date.now() + timeoutMs };
}
