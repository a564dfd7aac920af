import type { Clock, Logger } from '../base/ports.ts';
import type { NodeAddress } from '../base/topology.ts';
import { LeaseGuard } from './lease-guard.ts';
import type { ProxyLimits } from './limits.ts';
import { type PortStats, ProxyPort } from './port.ts';
import { NO_VIEW, type ProxyView } from './view.ts';

/** One chunk of a server's bytes; mysqld itself writes 16 KiB at a time. */
const READ_BUFFER_BYTES = 64 * 1024;
const LEASE_WATCH_MS = 250;

export type ProxyWorkerOptions = Readonly<{
  self: NodeAddress;
  /** Port 0 takes a free one (tests). */
  listen: Readonly<{ host: string; rw: number; ro: number }>;
  limits: ProxyLimits;
  /** fastClock in production: it is read once per chunk. */
  clock: Clock;
  log: Logger;
}>;

export type ProxyStats = Readonly<{ view: ProxyView; rw: PortStats; ro: PortStats }>;

/** The listeners of one worker process. It knows nothing of gRPC: views come over IPC from the supervisor's feed. */
export class ProxyWorker implements AsyncDisposable {
  readonly #guard: LeaseGuard;
  readonly #rw: ProxyPort;
  readonly #ro: ProxyPort;
  readonly #limits: ProxyLimits;
  readonly #clock: Clock;
  #view: ProxyView = NO_VIEW;
  #rwPort = 0;
  #roPort = 0;
  #cancelWatch: () => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: Omit<ProxyWorkerOptions, 'listen'>) {
    const { limits, clock, log } = options;
    this.#guard = new LeaseGuard(clock);
    this.#limits = limits;
    this.#clock = clock;
    const common = { guard: this.#guard, readBuffer: Buffer.allocUnsafeSlow(READ_BUFFER_BYTES), limits, clock, log };
    this.#rw = new ProxyPort({ kind: 'rw', ...common });
    this.#ro = new ProxyPort({ kind: 'ro', ...common });
  }

  async listen(listen: ProxyWorkerOptions['listen']): Promise<void> {
    try {
      this.#rwPort = await this.#rw.listen(listen.host, listen.rw);
      this.#roPort = await this.#ro.listen(listen.host, listen.ro);
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#watchLease();
  }

  get ports(): Readonly<{ rw: number; ro: number }> {
    return { rw: this.#rwPort, ro: this.#roPort };
  }

  get stats(): ProxyStats {
    return { view: this.#view, rw: this.#rw.stats, ro: this.#ro.stats };
  }

  /** The guard goes first: while sessions are being cut, none of them may forward what it reads. */
  setView(view: ProxyView): void {
    if (view.seq < this.#view.seq) return;
    this.#view = view;
    this.#guard.setView(view);
    this.#rw.setView(view);
    this.#ro.setView(view);
  }

  /**
   * A lease bound that ran out without a word (the supervisor is gone, or this node is alone): the guard stops results at
   * once; idle sessions get `leaseLostMs` for the holder to be heard again, then they are closed so that pools look elsewhere.
   */
  #watchLease(): void {
    this.#cancelWatch = this.#clock.after(LEASE_WATCH_MS, () => {
      if (this.#guard.pastMs() > this.#limits.leaseLostMs) {
        this.#rw.cutEverything('the lease of the master was not confirmed for too long');
      }
      this.#watchLease();
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#cancelWatch();
    await Promise.all([this.#rw.close(), this.#ro.close()]);
  }
}

/** Rejects with PORT_IN_USE; nothing is left listening then. */
export async function startProxyWorker(options: ProxyWorkerOptions): Promise<ProxyWorker> {
  const worker = new ProxyWorker(options);
  await worker.listen(options.listen);
  return worker;
}
