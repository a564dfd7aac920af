import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { LeaseTimes } from '../base/topology.ts';
import type { BinlogsvrClient } from '../proto/binlogsvr-types.ts';

/** A renewal rests on an answer of mysqld and of its disk that is at most this old. */
export const HEALTH_AGE_MS_MAX = 1_000;
/** Commits that wait, on a store with a majority, must get on within this time (protocol-findings 13). */
export const PROGRESS_MS_MAX = 3_000;

export type Health = Readonly<{
  /** Since mysqld last answered a read. */
  silentMs: number;
  /** Since a block was last written and synced in the datadir, and what the last attempt said. */
  diskMs: number;
  diskError: string;
  /** Commits wait for acks, and since when nothing has been acked or appended although they do. */
  waiting: boolean;
  stuckMs: number;
  quorum: boolean;
}>;

/**
 * Why the lease must not be renewed now, or null. A master that merely lives but does not commit must lose its lease;
 * one whose cluster has no majority must not: nobody else could do better.
 */
export function objection(health: Health): string | null {
  if (health.silentMs > HEALTH_AGE_MS_MAX)
    return `mysqld has not answered a read for ${Math.round(health.silentMs)} ms`;
  if (health.diskMs > HEALTH_AGE_MS_MAX) {
    const why = health.diskError === '' ? '' : ` (${health.diskError})`;
    return `the datadir has not taken a write for ${Math.round(health.diskMs)} ms${why}`;
  }
  if (health.waiting && health.quorum && health.stuckMs > PROGRESS_MS_MAX) {
    return `commits have been waiting for ${Math.round(health.stuckMs)} ms without any progress`;
  }
  return null;
}

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

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /** 0: none. */
  get epoch(): number {
    return this.#epoch;
  }

  get unhealthy(): Readonly<{ reason: string; sinceMs: number }> | null {
    if (this.#unhealthySince === null) return null;
    return { reason: this.#reason, sinceMs: this.#options.clock.now() - this.#unhealthySince };
  }

  /** From now on `epoch` is renewed; the election counts as its first renewal. */
  hold(epoch: number): void {
    if (this.#epoch === epoch) return;
    this.drop();
    this.#epoch = epoch;
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
      if (outcome.accepted) return;
      log.debug('renewal refused', { epoch, code: outcome.code, reason: outcome.reason });
      if (outcome.code === 'WRONG_EPOCH') lost(epoch, outcome.reason);
    } catch (error) {
      if (generation === this.#generation) log.debug('renewal failed', { epoch, reason: reasonOf(error) });
    } finally {
      if (generation === this.#generation) this.#asking = false;
    }
  }
}
