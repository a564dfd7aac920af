import type {
  Metadata,
  Server,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceError,
  sendUnaryData,
} from '@grpc/grpc-js';
import { PhxError } from '../base/errors.ts';
import type { Security } from '../base/topology.ts';
import type {
  AgentReport,
  LeaseReply,
  MemberChange,
  Outcome,
  TailTransaction,
  View,
} from '../proto/binlogsvr-types.ts';
import { authorised, serviceClass } from '../proto/rpc-channel.ts';
import { toServiceError, UNAUTHENTICATED } from '../proto/rpc-errors.ts';
import type { NodeServices } from './node-services.ts';
import type { Replica } from './replica.ts';
import { TailComparison } from './tail-compare.ts';
import { SUBSCRIBERS_MAX, type ViewFeed } from './view-feed.ts';

/** Appends of one stream under way; beyond it the stream is not read. */
const APPENDS_IN_FLIGHT_MAX = 128;
/** For calls whose client named no deadline. */
const CALL_MS_MAX = 30_000;
/** Batches of a tail comparison waiting to be compared; beyond it the stream is not read. */
const COMPARE_BATCHES_MAX = 8;

type Unary<Request> = ServerUnaryCall<Request, unknown>;

/** The services of proto/binlogsvr.proto, for this node's components and for status. Every call shows the cluster's secret. */
export function registerRpc(server: Server, services: NodeServices, security: Security): void {
  const { replica, lease } = services;
  const unary =
    <Request, Reply>(answer: (request: Request, timeoutMs: number) => Promise<Reply> | Reply) =>
    (call: Unary<Request>, done: sendUnaryData<unknown>): void => {
      if (!authorised(call.metadata, security)) {
        done(toServiceError(UNAUTHENTICATED));
        return;
      }
      Promise.try(() => answer(call.request, timeLeft(call.getDeadline()))).then(
        (reply) => done(null, reply),
        (error: unknown) => done(toServiceError(error)),
      );
    };
  const streaming =
    <Call extends { metadata: Metadata; emit(event: 'error', error: Partial<ServiceError>): boolean }>(
      serve: (call: Call) => void,
    ) =>
    (call: Call): void => {
      if (authorised(call.metadata, security)) serve(call);
      else call.emit('error', toServiceError(UNAUTHENTICATED));
    };
  server.addService(serviceClass('binlogsvr.proto', 'Binlogsvr').service, {
    baseline: unary(({ gtidSet }: { gtidSet: string }, ms) => lease.baseline(gtidSet, ms)),
    stand: unary(({ gtidExecuted, basedOnEpoch }: { gtidExecuted: string; basedOnEpoch: number }, ms) =>
      lease.stand(gtidExecuted, basedOnEpoch, ms),
    ),
    renew: unary(({ epoch }: { epoch: number }, ms) => lease.renew(epoch, ms)),
    fence: unary(({ epoch, release }: { epoch: number; release: boolean }, ms) => lease.fence(epoch, release, ms)),
    transfer: unary(({ epoch, to }: { epoch: number; to: number }, ms) => services.transfer(epoch, to, ms)),
    barrier: unary(({ timeoutMs }: { timeoutMs: number }, ms) =>
      services.barrier(timeoutMs > 0 ? Math.min(timeoutMs, ms) : ms),
    ),
    report: unary((report: AgentReport) => services.report(report)),
    lease: unary((): LeaseReply => services.leaseReply()),
    append: streaming((call: ServerDuplexStream<{ value: Uint8Array }, Outcome>) => serveAppends(call, services)),
    compareTail: (
      call: ServerReadableStream<{ transactions: TailTransaction[] }, unknown>,
      done: sendUnaryData<unknown>,
    ): void => {
      if (authorised(call.metadata, security)) serveComparison(call, done, replica);
      else done(toServiceError(UNAUTHENTICATED));
    },
    subscribe: streaming((call: ServerWritableStream<object, View>) => serveViews(call, services.feed)),
  });
  server.addService(serviceClass('binlogsvr.proto', 'Admin').service, {
    status: unary(() => services.status()),
    finalizeUpgrade: unary((_: object, ms) => services.finalizeUpgrade(ms)),
    switchover: unary(({ to, timeoutMs }: { to: number; timeoutMs: number }, ms) =>
      services.switchover(to, Math.min(timeoutMs, ms)),
    ),
    changeMember: unary((change: MemberChange, ms) => services.changeMember(change, ms)),
  });
}

/** Appends are proposed as they come and answered in their order, each when it is applied. */
function serveAppends(call: ServerDuplexStream<{ value: Uint8Array }, Outcome>, services: NodeServices): void {
  let answers: Promise<void> = Promise.resolve();
  let inFlight = 0;
  let open = true;
  call.on('data', ({ value }: { value: Uint8Array }) => {
    const outcome = services.append(value);
    outcome.catch(() => {}); // its turn to be told comes below
    inFlight += 1;
    if (inFlight >= APPENDS_IN_FLIGHT_MAX) call.pause();
    answers = answers.then(async () => {
      const answer = await outcome.catch((error: unknown) => unknownOutcome(error));
      inFlight -= 1;
      if (open) call.write(answer);
      if (inFlight < APPENDS_IN_FLIGHT_MAX) call.resume();
    });
  });
  const close = (): void => {
    open = false;
  };
  call.on('cancelled', close);
  call.on('error', close);
  call.on('end', () => {
    void answers.then(() => call.end());
  });
}

function unknownOutcome(error: unknown): Outcome {
  const code = error instanceof PhxError ? error.code : 'UNAVAILABLE';
  const reason = error instanceof Error ? error.message : String(error);
  return { accepted: false, code, reason, instance: 0, epoch: 0, appendSeq: 0 };
}

function serveViews(call: ServerWritableStream<object, View>, feed: ViewFeed): void {
  if (feed.size >= SUBSCRIBERS_MAX) {
    call.emit('error', toServiceError(new PhxError('BUSY', `subscribe: ${SUBSCRIBERS_MAX} streams are open already`)));
    return;
  }
  const { ready, remove } = feed.add({ push: (view) => call.write(view) });
  call.on('drain', ready);
  call.on('cancelled', remove);
  call.on('error', remove);
  call.on('close', remove);
}

function serveComparison(
  call: ServerReadableStream<{ transactions: TailTransaction[] }, unknown>,
  done: sendUnaryData<unknown>,
  replica: Replica,
): void {
  const comparison = new TailComparison(replica);
  let waiting = 0;
  let finished = false;
  let work: Promise<void> = Promise.resolve();
  const finish = (error: unknown): void => {
    if (finished) return;
    finished = true;
    if (error === null) done(null, comparison.result);
    else done(toServiceError(error));
  };
  call.on('data', ({ transactions }: { transactions: TailTransaction[] }) => {
    waiting += 1;
    if (waiting >= COMPARE_BATCHES_MAX) call.pause();
    work = work.then(async () => {
      for (const transaction of transactions) {
        if (finished) return;
        if (!(await comparison.next(transaction))) finish(null);
      }
      waiting -= 1;
      if (waiting < COMPARE_BATCHES_MAX) call.resume();
    });
    work.catch(finish);
  });
  call.on('end', () => {
    work.then(() => finish(null), finish);
  });
  call.on('cancelled', () => {
    finished = true;
  });
}

/** Milliseconds until a gRPC deadline (wall clock), within CALL_MS_MAX; a little is left for the way back. */
function timeLeft(deadline: Date | number): number {
  const at = typeof deadline === 'number' ? deadline : deadline.getTime();
  const left = Number.isFinite(at) ? at - Date.now() : CALL_MS_MAX;
  return Math.min(CALL_MS_MAX, Math.max(0, left * 0.95));
}
