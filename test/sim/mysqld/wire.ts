import type { Kernel } from '../kernel.ts';
import type { SimProcess } from '../process.ts';

/** One direction of a socket: in order, each piece a while after it was sent; nothing arrives after `cut`. */
export class Wire {
  readonly #kernel: Kernel;
  readonly #to: SimProcess;
  readonly #delay: () => number;
  #last = 0;
  #cut = false;

  constructor(kernel: Kernel, to: SimProcess, delay: () => number) {
    this.#kernel = kernel;
    this.#to = to;
    this.#delay = delay;
  }

  send(fire: () => void): void {
    if (this.#cut) return;
    this.#last = Math.max(this.#last, this.#kernel.now + this.#delay());
    this.#kernel.at(this.#last - this.#kernel.now, () => {
      if (!this.#cut) this.#to.deliver(fire);
    });
  }

  cut(): void {
    this.#cut = true;
  }
}
