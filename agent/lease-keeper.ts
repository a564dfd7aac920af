import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { BinlogsvrClient } from '../proto/binlogsvr-types.ts';
import { type Health, objection } from './health.ts';

export type LeaseKeeperOptions = Readonly<{
  client: Pick<BinlogsvrClient, 'renew'>;
  clock: Clock;
  log: Logger;
  lease: LeaseTimes;
  health: () => Health;
  /** The log refuses the epoch: it is over. */
  lost: (epoch: number, reason: string) => void;
}>;

/** Renews the lease of one epoch at a time, every `renewMs`, beside whatever else the agent does. */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  #epoch = 0;
  #generation = 0;
  #asking = false;
  #unhealthySince: MonoMs | null = null;
  #reason = '';
  /** The last renewal the log took (the election counts as one), and what came of the last one it did not take. */
  #renewedAt: MonoMs;
  #failure = '';

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
    this.#renewedAt = options.clock.now();
  }

  /** 0: none. */
  get epoch(): number {
    return this.#epoch;
  }

  get unhealthy(): Readonly<{ reason: string; sinceMs: number }> | null {
    if (this.#unhealthySince === null) return null;
    return { reason: this.#reason, sinceMs: this.#options.clock.now() - this.#unhealthySince };
  }

  /** Renewals do not come back, though they are asked for: since when, and why; null while they do. */
  get unanswered(): Readonly<{ reason: string; sinceMs: number }> | null {
    const sinceMs = this.#options.clock.now() - this.#renewedAt;
    if (this.#epoch === 0 || sinceMs <= this.#options.lease.leaseMs) return null;
    return { reason: this.#failure === '' ? 'no answer' : this.#failure, sinceMs };
  }

  /** From now on `epoch` is renewed; the election counts as its first renewal. */
  hold(epoch: number): void {
    if (this.#epoch === epoch) return;
    this.drop();
    this.#epoch = epoch;
    this.#renewedAt = this.#options.clock.now();
    this.#failure = '';
    this.#tick(this.#generation);
  }

  drop(): void {
    this.#epoch = 0;
    this.#generation += 1;
    this.#asking = false;
    this.#unhealthySince = null;
  }

  #tick(generation: number): void {
    if (generation !== this.#generation) return;
    const { clock, lease, log } = this.#options;
    clock.after(lease.renewMs, () => this.#tick(generation));
    const reason = objection(this.#options.health());
    if (reason !== null) {
      if (this.#unhealthySince === null) log.warn('lease not renewed', { epoch: this.#epoch, reason });
      this.#unhealthySince ??= clock.now();
      this.#reason = reason;
      return;
    }
    if (this.#unhealthySince !== null) log.info('lease renewed again', { epoch: this.#epoch });
    this.#unhealthySince = null;
    if (!this.#asking) void this.#renew(this.#epoch, generation);
  }

  async #renew(epoch: number, generation: number): Promise<void> {
    const { client, lease, log, lost } = this.#options;
    this.#asking = true;
    try {
      const outcome = await client.renew(epoch, lease.leaseMs);
      if (generation !== this.#generation) return;
      if (outcome.accepted) {
        this.#renewedAt = this.#options.clock.now();
        return;
      }
      this.#failure = outcome.reason;
      log.debug('renewal refused', { epoch, code: outcome.code, reason: outcome.reason });
      if (outcome.code === 'WRONG_EPOCH') lost(epoch, outcome.reason);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#failure = reasonOf(error);
      log.debug('renewal failed', { epoch, reason: this.#failure });
    } finally {
      if (generation === this.#generation) this.#asking = false;
    }
  }
}
