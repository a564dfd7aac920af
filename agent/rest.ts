import type { Clock } from '../base/ports.ts';

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
