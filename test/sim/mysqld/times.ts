import type { Random } from '../../../base/ports.ts';

/** How long things take, in ms of true time, drawn anew each time. A world replaces what it wants slow. */
export type MysqldTimes = Readonly<{
  /** From exec to the first login. */
  start: () => number;
  /** Reading and executing a statement. */
  statement: () => number;
  /** One way over the local socket. */
  net: () => number;
  flush: () => number;
  sync: () => number;
  commit: () => number;
  /** Applying one transaction on a replica: its lag. */
  apply: () => number;
  /** From SIGKILL to the end of the process, and from there to the word of its parent. */
  kill: () => number;
  reap: () => number;
  /** The ack receiver looks at a new stream only after this (sync.ts: up to 1 s if it polls another one). */
  ackPoll: () => number;
  /** What was sent on a connection its sender closed is lost. */
  drop: () => boolean;
}>;

export function usualTimes(random: Random): MysqldTimes {
  const between = (from: number, to: number) => (): number => from + (random.below(1_000) / 1_000) * (to - from);
  return {
    start: between(50, 400),
    statement: between(0.05, 0.3),
    net: between(0.02, 0.1),
    flush: between(0.05, 0.2),
    sync: between(0.2, 1),
    commit: () => 0.02,
    apply: between(0.1, 2),
    kill: between(0.5, 5),
    reap: between(0.5, 3),
    ackPoll: () => (random.below(4) === 0 ? random.below(1_000) : 0.05),
    drop: () => random.below(2) === 0,
  };
}
