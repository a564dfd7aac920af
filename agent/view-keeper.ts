import { delay, LinkedAbort } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { AgentReport, BinlogsvrClient, View } from '../proto/binlogsvr-types.ts';

/** binlogsvr says something at least every 500 ms; a view older than this is no view. */
export const VIEW_AGE_MS_MAX = 2_000;
const REPORT_EVERY_MS = 200;
const REPORT_MS_MAX = 1_000;
const RESUBSCRIBE_MS = 100;

export type ViewKeeperOptions = Readonly<{
  client: Pick<BinlogsvrClient, 'report' | 'subscribe'>;
  clock: Clock;
  log: Logger;
  /** What to report now; null: nothing yet. */
  report: () => AgentReport | null;
  /** `turn`: the epoch, its master or whether it is open changed, or the lease is over. */
  changed: (turn: boolean) => void;
}>;

/**
 * The newest view of the local binlogsvr: heard by subscription, and as the answer to each report. A view that shows an
 * older applied index than one before is dropped, so the newest is what the store had at `asOf` or later.
 */
export class ViewKeeper {
  readonly #options: ViewKeeperOptions;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<() => void>();
  #view: View | null = null;
  #heardAt = 0;
  #asOf = 0;
  #reporting: Promise<void> | null = null;
  #cancelTimer: () => void = () => {};
  /** The subscription, and when it last said something. */
  #following: LinkedAbort | null = null;
  #followedAt = 0;

  constructor(options: ViewKeeperOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#follow();
    this.#tick();
  }

  close(): void {
    this.#stop.abort();
    this.#cancelTimer();
    this.#notify();
  }

  /** null while binlogsvr does not answer. */
  get view(): View | null {
    return this.#options.clock.now() - this.#heardAt > VIEW_AGE_MS_MAX ? null : this.#view;
  }

  /** Monotonic ms: the view was asked for then, or later. */
  get asOf(): number {
    return this.#asOf;
  }

  /** Sends a report that is put together from now on; resolves when it was answered or failed. */
  async push(): Promise<void> {
    if (this.#reporting !== null) await this.#reporting;
    await this.#begin();
  }

  /** A view asked for from now on, or UNAVAILABLE. */
  async refresh(): Promise<View> {
    const now = this.#options.clock.now();
    await this.push();
    const view = this.view;
    if (view === null || this.#asOf < now) throw new PhxError('UNAVAILABLE', 'ask binlogsvr: it does not answer');
    return view;
  }

  /** Takes a view from elsewhere (a barrier's answer). */
  accept(view: View, askedAt: number): void {
    const before = this.#view;
    if (before !== null && view.appliedIndex < before.appliedIndex) {
      // Older, or binlogsvr restarted and is still applying; the latter must not blind us for long.
      if (this.#options.clock.now() - this.#heardAt <= VIEW_AGE_MS_MAX) return;
      this.#asOf = 0;
    }
    this.#heardAt = this.#options.clock.now();
    this.#asOf = Math.max(this.#asOf, askedAt);
    this.#view = view;
    this.#notify();
    const turn =
      before === null ||
      before.epoch !== view.epoch ||
      before.master !== view.master ||
      before.open !== view.open ||
      before.takeoverDue !== view.takeoverDue ||
      before.baseline !== view.baseline ||
      before.membership?.takesOver !== view.membership?.takesOver ||
      before.membership?.handOverId !== view.membership?.handOverId ||
      before.sync?.state !== view.sync?.state;
    this.#options.changed(turn);
  }

  /** Resolves with a view that `check` takes, or rejects with TIMEOUT or CANCELLED. */
  until(what: string, check: (view: View) => boolean, timeoutMs: number, signal: AbortSignal): Promise<View> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const view = this.view;
        if (signal.aborted || this.#stop.signal.aborted)
          finish(() => reject(new PhxError('CANCELLED', `${what}: cancelled`)));
        else if (view !== null && check(view)) finish(() => resolve(view));
      };
      const cancelTimer = this.#options.clock.after(timeoutMs, () =>
        finish(() => reject(new PhxError('TIMEOUT', `${what}: not within ${timeoutMs} ms`))),
      );
      const finish = (settle: () => void): void => {
        cancelTimer();
        this.#waiters.delete(look);
        signal.removeEventListener('abort', look);
        settle();
      };
      this.#waiters.add(look);
      signal.addEventListener('abort', look);
      look();
    });
  }

  #notify(): void {
    for (const look of [...this.#waiters]) look();
  }

  #tick(): void {
    if (this.#stop.signal.aborted) return;
    this.#cancelTimer = this.#options.clock.after(REPORT_EVERY_MS, () => this.#tick());
    // A stream that broke unnoticed (a frozen machine) says nothing for ever.
    if (this.#options.clock.now() - this.#followedAt > VIEW_AGE_MS_MAX) this.#following?.abort();
    this.#begin();
  }

  /** One at a time. */
  #begin(): Promise<void> {
    this.#reporting ??= this.#send().finally(() => {
      this.#reporting = null;
    });
    return this.#reporting;
  }

  async #send(): Promise<void> {
    const { client, clock, log, report } = this.#options;
    try {
      const draft = report();
      if (draft === null || this.#stop.signal.aborted) return;
      const askedAt = clock.now();
      this.accept(await client.report(draft, REPORT_MS_MAX), askedAt);
    } catch (error) {
      log.debug('report to binlogsvr failed', { reason: reasonOf(error) });
    }
  }

  async #follow(): Promise<void> {
    const { client, clock, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        using following = new LinkedAbort(signal);
        this.#following = following;
        this.#followedAt = clock.now();
        for await (const view of client.subscribe(following.signal)) {
          this.#followedAt = clock.now();
          this.accept(view, 0);
        }
      } catch (error) {
        if (!signal.aborted) log.debug('subscription to binlogsvr ended', { reason: reasonOf(error) });
      }
      await delay(clock, RESUBSCRIBE_MS, signal).catch(() => {});
    }
  }
}
