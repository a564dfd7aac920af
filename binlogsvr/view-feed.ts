import type { Clock } from '../base/ports.ts';
import type { View } from '../proto/binlogsvr-types.ts';
import { urgentPart } from './view.ts';

/** Mere progress of the log is told at most this often: it changes with every append. */
const PROGRESS_MS = 20;
/** A subscriber hears at least this often. */
const HEARTBEAT_MS = 500;
/** Streams of views at once. */
export const SUBSCRIBERS_MAX = 256;

export type Subscriber = Readonly<{
  /** False: it cannot take more now; ready() is called when it can. */
  push: (view: View) => boolean;
}>;

type Subscription = { readonly subscriber: Subscriber; blocked: boolean; pending: boolean };

/**
 * Gives subscribers the current view whenever it changes: what somebody may wait for within the same turn of the event
 * loop, how far the log is within PROGRESS_MS, and in any case every HEARTBEAT_MS. Who is slow skips to the newest.
 */
export class ViewFeed {
  readonly #clock: Clock;
  readonly #build: () => View;
  readonly #subscriptions = new Set<Subscription>();
  #checking = false;
  #urgent = '';
  #toldAt = Number.NEGATIVE_INFINITY;
  #cancelTimer: (() => void) | null = null;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, build: () => View) {
    this.#clock = clock;
    this.#build = build;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  /** Something may have changed. */
  touch(): void {
    if (this.#checking || this.#subscriptions.size === 0) return;
    this.#checking = true;
    this.#clock.soon(() => {
      this.#checking = false;
      if (this.#subscriptions.size === 0) return;
      const view = this.#build();
      const urgent = urgentPart(view);
      if (urgent !== this.#urgent) this.#tell(view, urgent);
      else this.#arm(this.#toldAt + PROGRESS_MS);
    });
  }

  add(subscriber: Subscriber): { ready: () => void; remove: () => void } {
    const subscription: Subscription = { subscriber, blocked: false, pending: false };
    this.#subscriptions.add(subscription);
    const view = this.#build();
    this.#push(subscription, view);
    this.#arm(this.#clock.now() + HEARTBEAT_MS);
    return {
      ready: () => {
        subscription.blocked = false;
        if (subscription.pending) this.#push(subscription, this.#build());
      },
      remove: () => {
        this.#subscriptions.delete(subscription);
        if (this.#subscriptions.size === 0) this.close();
      },
    };
  }

  close(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #tell(view: View, urgent = urgentPart(view)): void {
    this.#urgent = urgent;
    this.#toldAt = this.#clock.now();
    for (const subscription of this.#subscriptions) this.#push(subscription, view);
    this.close();
    this.#arm(this.#toldAt + HEARTBEAT_MS);
  }

  #push(subscription: Subscription, view: View): void {
    if (subscription.blocked) {
      subscription.pending = true;
      return;
    }
    subscription.pending = false;
    subscription.blocked = !subscription.subscriber.push(view);
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    this.close();
    this.#timerAt = at;
    this.#cancelTimer = this.#clock.after(Math.max(0, at - this.#clock.now()), () => {
      this.close();
      this.#tell(this.#build());
    });
  }
}
