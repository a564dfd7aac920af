import type { BinlogPosition } from '../../../sync/position.ts';

/** As the server does it: file names as strings, then the position (design 9.9). */
export function reaches(acked: BinlogPosition | null, wanted: BinlogPosition): boolean {
  if (acked === null) return false;
  return acked.file > wanted.file || (acked.file === wanted.file && acked.position >= wanted.position);
}

/**
 * Which commits may return, in the server's books: the greatest position ever acked, by whomever, whether it exists yet or
 * not. One batch waits at a time (LOCK_commit is held meanwhile); those behind it wait for it.
 */
export class SemiSync {
  /** Waiting has been given up for good: SHUTDOWN, or somebody switched it off. Everything is let through. */
  off = false;
  /** Commits that returned after an ack, and without one. */
  acked = 0;
  unacked = 0;
  #reply: BinlogPosition | null = null;
  #wanted: BinlogPosition | null = null;
  #release: (() => void) | null = null;

  /** Commits that wait for an ack now: the leader of a batch. */
  get waiting(): number {
    return this.#release === null ? 0 : 1;
  }

  ack(position: BinlogPosition): void {
    if (!reaches(this.#reply, position)) this.#reply = position;
    this.#look();
  }

  giveUp(): void {
    this.off = true;
    this.#look();
  }

  /** Until `position` is acked: for ever, if nobody does. */
  wait(position: BinlogPosition): Promise<void> {
    return new Promise((resolve) => {
      this.#wanted = position;
      this.#release = resolve;
      this.#look();
    });
  }

  #look(): void {
    const release = this.#release;
    if (release === null || this.#wanted === null) return;
    if (!this.off && !reaches(this.#reply, this.#wanted)) return;
    if (this.off) this.unacked += 1;
    else this.acked += 1;
    this.#release = null;
    release();
  }
}
