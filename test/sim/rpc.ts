import { PhxError } from '../../base/errors.ts';
import { Newest } from '../../base/newest.ts';
import type { Prng } from '../../base/prng.ts';
import type { NodeServices } from '../../binlogsvr/node-services.ts';
import { TailComparison } from '../../binlogsvr/tail-compare.ts';
import type { LogValue } from '../../binlogsvr/values.ts';
import type {
  AgentReport,
  BinlogsvrClient,
  LeaseReply,
  MemberChange,
  MemberOutcome,
  NodeStatus,
  Outcome,
  SwitchoverOutcome,
  TailTransaction,
  View,
} from '../../proto/binlogsvr-types.ts';
import type { Kernel } from './kernel.ts';
import type { SimProcess } from './process.ts';
import type { Tally } from './tally.ts';

/** A binlogsvr that answers. */
export type Server = Readonly<{ process: SimProcess; services: NodeServices }>;

/** How a seed's calls are. Chances per call in 1/1000. */
export type RpcProfile = Readonly<{ delayMs: readonly [number, number]; requestLost: number; replyLost: number }>;

/** Whether words get to the server, and its words back, now. */
export type RpcPath = Readonly<{ there: () => boolean; back: () => boolean }>;
const LOCAL: RpcPath = { there: () => true, back: () => true };

/** A call whose connection breaks under it hears of that within this. */
const RESET_MS_MAX = 20;
/** As binlogsvr/rpc-server.ts does: a little is left for the way back. */
const SERVER_SHARE = 0.95;

/** One process's client of a binlogsvr: calls take time, may not arrive, and their answers may get lost after the effect. */
export class SimBinlogsvrClient implements BinlogsvrClient {
  readonly address: string;
  readonly #kernel: Kernel;
  readonly #caller: SimProcess;
  readonly #server: () => Server | null;
  readonly #random: Prng;
  readonly #profile: () => RpcProfile;
  readonly #tally: Tally;
  readonly #path: RpcPath;

  constructor(
    kernel: Kernel,
    caller: SimProcess,
    server: () => Server | null,
    profile: () => RpcProfile,
    tally: Tally,
    path: RpcPath = LOCAL,
  ) {
    this.address = `binlogsvr of ${caller.machine.name}`;
    this.#kernel = kernel;
    this.#caller = caller;
    this.#server = server;
    this.#random = kernel.fork();
    this.#profile = profile;
    this.#tally = tally;
    this.#path = path;
  }

  baseline(gtidSet: string, timeoutMs: number): Promise<Outcome> {
    return this.#call('baseline', timeoutMs, ({ lease }, ms) => lease.baseline(gtidSet, ms));
  }

  stand(gtidExecuted: string, basedOnEpoch: number, timeoutMs: number): Promise<Outcome> {
    return this.#call('stand', timeoutMs, ({ lease }, ms) => lease.stand(gtidExecuted, basedOnEpoch, ms));
  }

  renew(epoch: number, timeoutMs: number): Promise<Outcome> {
    return this.#call('renew', timeoutMs, ({ lease }, ms) => lease.renew(epoch, ms));
  }

  fence(epoch: number, release: boolean, timeoutMs: number): Promise<Outcome> {
    return this.#call(release ? 'release' : 'fence', timeoutMs, ({ lease }, ms) => lease.fence(epoch, release, ms));
  }

  transfer(epoch: number, to: number, timeoutMs: number): Promise<Outcome> {
    return this.#call('transfer', timeoutMs, (services, ms) => services.transfer(epoch, to, ms));
  }

  barrier(timeoutMs: number): Promise<View> {
    return this.#call('barrier', timeoutMs, (services, ms) => services.barrier(ms));
  }

  report(report: AgentReport, timeoutMs: number): Promise<View> {
    return this.#call('report', timeoutMs, (services) => services.report(report));
  }

  lease(timeoutMs: number): Promise<LeaseReply> {
    return this.#call('lease', timeoutMs, (services) => services.leaseReply());
  }

  status(timeoutMs: number): Promise<NodeStatus> {
    return this.#call('status', timeoutMs, (services) => services.status());
  }

  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberOutcome> {
    return this.#call('changeMember', timeoutMs, (services, ms) => services.changeMember(change, ms));
  }

  switchover(to: number, timeoutMs: number): Promise<SwitchoverOutcome> {
    return this.#call('switchover', timeoutMs, (services, ms) => services.switchover(to, ms));
  }

  /** Not of the interface: a scripted master's append. */
  propose(value: LogValue, timeoutMs: number): Promise<Outcome> {
    return this.#call('append', timeoutMs, async ({ replica, lease }, ms) => {
      try {
        return lease.appliedOutcome(await replica.propose(value, 'data', ms));
      } catch (error) {
        return lease.refusal(error);
      }
    });
  }

  compareTail(
    transactions: Iterable<TailTransaction>,
    timeoutMs: number,
  ): Promise<{ matching: number; reason: string }> {
    return this.#call('compareTail', timeoutMs, async ({ replica }) => {
      const comparison = new TailComparison(replica);
      for (const transaction of transactions) if (!(await comparison.next(transaction))) break;
      return comparison.result;
    });
  }

  async *subscribe(signal: AbortSignal): AsyncGenerator<View, void, undefined> {
    const newest = new Newest<View>();
    const end = (reason: string): void =>
      newest.end(new PhxError('UNAVAILABLE', `subscribe to ${this.address}: ${reason}`));
    let stop: () => void = () => {};
    let lastAt = 0;
    this.#kernel.at(this.#delay(), () => {
      const server = this.#path.there() ? this.#server() : null;
      if (server === null || !server.process.alive) {
        this.#kernel.at(this.#delay(), () => this.#caller.deliver(() => end('nobody listens')));
        return;
      }
      server.process.deliver(() => {
        if (signal.aborted || !this.#caller.alive) return;
        const push = (view: View): boolean => {
          lastAt = Math.max(lastAt, this.#kernel.now + this.#delay());
          if (!this.#path.back()) return true;
          this.#kernel.at(lastAt - this.#kernel.now, () => {
            this.#caller.deliver(() => newest.push(view));
          });
          return true;
        };
        const { remove } = server.services.feed.add({ push });
        const forget = server.process.onDeath(() => {
          this.#kernel.at(this.#delay(), () => this.#caller.deliver(() => end('the server ended the stream')));
        });
        const unwatch = this.#caller.onDeath(() => remove());
        stop = () => {
          forget();
          unwatch();
          remove();
        };
      });
    });
    yield* newest.read(signal, () => stop());
  }

  appendStream(): never {
    throw new Error('the simulated sync appends within its process');
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #call<T>(what: string, timeoutMs: number, work: (services: NodeServices, ms: number) => Promise<T> | T): Promise<T> {
    const { requestLost, replyLost } = this.#profile();
    return new Promise<T>((resolve, reject) => {
      let settled = false;
      let forget: () => void = () => {};
      const settle = (act: () => void): void => {
        if (settled) return;
        settled = true;
        cancelTimer();
        forget();
        act();
      };
      const fail = (code: 'TIMEOUT' | 'UNAVAILABLE', reason: string): void =>
        settle(() => reject(new PhxError(code, `${what} at ${this.address}: ${reason}`)));
      const cancelTimer = this.#caller.clock.after(timeoutMs, () =>
        fail('TIMEOUT', `no answer within ${timeoutMs} ms`),
      );
      const broken = (): void => {
        this.#kernel.at(this.#random.below(RESET_MS_MAX), () =>
          this.#caller.deliver(() => fail('UNAVAILABLE', 'the connection broke')),
        );
      };
      const answer = (act: () => void): void => {
        if (this.#drawn(replyLost)) {
          this.#tally.add('answer of a call lost');
          broken();
          return;
        }
        if (this.#path.back()) this.#kernel.at(this.#delay(), () => this.#caller.deliver(() => settle(act)));
      };
      if (this.#drawn(requestLost)) {
        this.#tally.add('call lost');
        broken();
        return;
      }
      this.#kernel.at(this.#delay(), () => {
        if (!this.#path.there()) return;
        const server = this.#server();
        if (server === null || !server.process.alive) {
          broken();
          return;
        }
        forget = server.process.onDeath(broken);
        server.process.deliver(() => {
          Promise.try(() => work(server.services, timeoutMs * SERVER_SHARE)).then(
            (value) => answer(() => resolve(value)),
            (error: unknown) => answer(() => reject(error)),
          );
        });
      });
    });
  }

  #drawn(perThousand: number): boolean {
    return perThousand > 0 && this.#random.below(1000) < perThousand;
  }

  #delay(): number {
    const [from, to] = this.#profile().delayMs;
    return from + ((to - from) * this.#random.below(1000)) / 1000;
  }
}
