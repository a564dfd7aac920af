import { type MonoMs, monoMs } from '../../base/brands.ts';
import type { Clock } from '../../base/ports.ts';
import type { Kernel } from './kernel.ts';

/** Wall clocks of all machines begin here. */
const WALL_START_MS = 1_760_000_000_000;
/** A monotonic clock does not begin at 0, nor at the same time on two machines. */
const MONO_START_MS_MAX = 1_000_000;

/**
 * The clocks of one machine, shared by its processes.
 *
 *   true time ──rate (drift)──► monotonic; stands still while the machine is suspended
 *            └──────── + jumps ──► wall; goes on while the machine is suspended
 */
export class Machine {
  readonly name: string;
  readonly kernel: Kernel;
  /** Monotonic ms per true ms. */
  readonly rate: number;
  readonly #monoStart: number;
  #wallOffset = WALL_START_MS;
  /** The last suspend, by true time, and what those before it took. */
  #suspendFrom = 0;
  #suspendUntil = 0;
  #suspendedMs = 0;

  /** `drift`: by how much of itself the clock is too fast (negative: too slow), e.g. 200e-6. */
  constructor(kernel: Kernel, name: string, drift = 0) {
    this.kernel = kernel;
    this.name = name;
    this.rate = 1 + drift;
    this.#monoStart = kernel.random.below(MONO_START_MS_MAX);
  }

  monotonic(): number {
    const { now } = this.kernel;
    const suspended = this.#suspendedMs + Math.min(now, this.#suspendUntil) - this.#suspendFrom;
    return this.#monoStart + (now - suspended) * this.rate;
  }

  wall(): number {
    return this.#wallOffset + this.kernel.now * this.rate;
  }

  /** Somebody, or NTP, sets the wall clock. */
  jumpWall(ms: number): void {
    this.kernel.trace(this.name, () => `wall clock jumps by ${ms} ms`);
    this.#wallOffset += ms;
  }

  /** The monotonic clock stands still for `ms`. The caller freezes the machine's processes. */
  suspend(ms: number): void {
    const { now } = this.kernel;
    if (now < this.#suspendUntil) return;
    this.kernel.trace(this.name, () => `suspended for ${Math.round(ms)} ms`);
    this.#suspendedMs += this.#suspendUntil - this.#suspendFrom;
    this.#suspendFrom = now;
    this.#suspendUntil = now + ms;
  }
}

/** What the world has in mind for one operation of a process's port. */
export type IoFate = Readonly<{ crash: 'never' | 'before' | 'after'; extraMs: number }>;
const NO_FATE: IoFate = { crash: 'never', extraMs: 0 };

/**
 * One operating-system process.
 *
 *   running ──freeze──► frozen ──thaw: what arrived meanwhile is handed in, in order──► running
 *      └──────────kill───────┴──► dead: timers never fire, promises of ports never settle
 */
export class SimProcess {
  readonly name: string;
  readonly machine: Machine;
  readonly clock: Clock;
  /** Asked before every operation of a port; null: nothing happens. */
  fate: ((what: string) => IoFate) | null = null;
  readonly #kernel: Kernel;
  readonly #deathListeners = new Set<() => void>();
  readonly #startedAt: number;
  #alive = true;
  /** True time of the thaw; not frozen if not after now. */
  #frozenUntil = 0;
  #held: (() => void)[] = [];

  constructor(kernel: Kernel, name: string, machine: Machine) {
    this.#kernel = kernel;
    this.name = name;
    this.machine = machine;
    this.#startedAt = kernel.now;
    this.clock = {
      now: (): MonoMs => {
        kernel.looked(name);
        return monoMs(machine.monotonic());
      },
      wall: () => Math.floor(machine.wall()),
      after: (ms, fire) => this.#after(ms, fire),
      soon: (fire) => {
        kernel.at(0, () => this.deliver(fire));
      },
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#alive && this.#frozenUntil > this.#kernel.now;
  }

  get ageMs(): number {
    return this.#kernel.now - this.#startedAt;
  }

  /** Hands something in from outside: now, after the thaw, or never. Its errors are the process's. */
  deliver(fire: () => void): void {
    if (!this.#alive) return;
    if (this.frozen) this.#held.push(fire);
    else fire();
  }

  /**
   * An operation of a port: about `ms` of true time later `effect` happens in the world, and the process hears of it. The
   * process may die before or after the effect; then the promise never settles, while the effect may have happened.
   */
  io<T>(what: string, ms: number, effect: () => T | Promise<T>): Promise<T> {
    if (!this.#alive) return new Promise(() => {});
    const fate = this.fate?.(what) ?? NO_FATE;
    return new Promise<T>((resolve, reject) => {
      this.#kernel.at(ms + fate.extraMs, () => {
        if (!this.#alive) return;
        if (fate.crash === 'before') {
          this.kill(`before ${what}`);
          return;
        }
        Promise.try(effect).then(
          (value) => {
            if (fate.crash === 'after') this.kill(`after ${what}`);
            this.deliver(() => resolve(value));
          },
          (error: unknown) => this.deliver(() => reject(error)),
        );
      });
    });
  }

  /** SIGKILL: it does nothing any more, from this very moment. */
  kill(why = 'killed'): void {
    if (!this.#alive) return;
    this.#kernel.trace(this.name, () => `dies: ${why}`);
    this.#alive = false;
    this.#held = [];
    for (const listener of this.#deathListeners) listener();
    this.#deathListeners.clear();
  }

  /** It gets no CPU for `ms` of true time (SIGSTOP, a long pause): time and the world go on without it. */
  freeze(ms: number): void {
    if (!this.#alive) return;
    const until = this.#kernel.now + ms;
    if (until <= this.#frozenUntil) return;
    this.#kernel.trace(this.name, () => `frozen for ${Math.round(ms)} ms`);
    this.#frozenUntil = until;
    this.#kernel.at(ms, () => this.#thaw());
  }

  /** Called at the moment of death, by whoever has to notice. */
  onDeath(listener: () => void): () => void {
    if (this.#alive) this.#deathListeners.add(listener);
    return () => this.#deathListeners.delete(listener);
  }

  #after(ms: number, fire: () => void): () => void {
    let cancelled = false;
    const { machine } = this;
    const due = machine.monotonic() + ms;
    const arm = (left: number): (() => void) =>
      this.#kernel.at(left / machine.rate, () => {
        if (!this.#alive || cancelled) return;
        // A suspend put it off: a monotonic clock stood still meanwhile.
        const missing = due - machine.monotonic();
        if (missing > 0.001) {
          cancel = arm(missing);
          return;
        }
        this.deliver(() => {
          if (!cancelled) fire();
        });
      });
    let cancel = arm(ms);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  /** One by one, as separate events: each is a turn of the process's event loop. */
  #thaw(): void {
    if (!this.#alive || this.frozen) return;
    const held = this.#held;
    this.#held = [];
    if (held.length > 0) this.#kernel.trace(this.name, () => `thawed, ${held.length} events held`);
    for (const fire of held) this.#kernel.at(0, () => this.deliver(fire));
  }
}
