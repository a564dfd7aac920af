import type { Clock } from '../base/ports.ts';

/** Between attempts of something that failed; doubles up to the bound. */
const RETRY_MS = 250;
const RETRY_MS_MAX = 1_000;
/** Of what starts a process. */
const RETRY_START_MS_MAX = 5_000;

/** The pause behind the attempt before which `failures` had failed. */
export function retryMs(failures: number, starts: boolean): number {
  return Math.min(RETRY_MS * 2 ** Math.min(failures, 8), starts ? RETRY_START_MS_MAX : RETRY_MS_MAX);
}

/**
 * How the agent's loop rests between two looks: until its time is over or it is roused. After a failure only *news* (an exit, a turn
 * of the view, a stop) ends the rest early: the agent's own questions are answered all the time.
 */
export class Rest {
  readonly #clock: Clock;
  #wake: () => void = () => {};
  /** Roused since the last rest ended. */
  #roused = false;
  #news = false;
  #onlyNews = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  rouse(news = false): void {
    this.#roused = true;
    this.#news ||= news;
    if (news || !this.#onlyNews) this.#wake();
  }

  /** At once if somebody roused meanwhile. */
  async sleep(ms: number): Promise<void> {
    await this.#until(ms, this.#roused);
  }

  /** After a failure. */
  async pause(ms: number): Promise<void> {
    this.#onlyNews = true;
    await this.#until(ms, this.#news);
    this.#onlyNews = false;
  }

  async #until(ms: number, awake: boolean): Promise<void> {
    if (!awake) {
      await new Promise<void>((resolve) => {
        const cancel = this.#clock.after(ms, resolve);
        this.#wake = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#roused = false;
    this.#news = false;
    this.#wake = () => {};
  }
}
