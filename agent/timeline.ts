import type { MonoMs } from '../base/brands.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { TurnAccount } from '../proto/binlogsvr-types.ts';

/** Changes of master remembered, for status. */
export const TURNS_MAX = 16;
/** Who writes nothing for so long after a promotion says nothing about it any more. */
const FIRST_WRITE_MS_MAX = 60_000;

/**
 * What a change of master consists of, as this node saw it: each in one log line, the last ones in every report. Times are
 * milliseconds of this node's clock since its first mark.
 *
 *   former   mysqld gone ─► reaped ─► released
 *            asked ─► closing ─► closed ─► drained ─► transferred            (switchover; or undone)
 *   next     released | expired ─► fenced ─► (restarts for XA ─►) caught up ─► elected ─► detached ─► synced ─► promoted ─► first write
 *            asked ─► elected ─► …                                           (switchover)
 */
export class Timeline {
  /** Of this node as the master that was, and as the one that comes. */
  readonly former: Track;
  readonly next: Track;
  readonly #clock: Clock;
  readonly #log: Logger;
  #kept: readonly Kept[] = [];
  #accounts: readonly TurnAccount[] = [];
  /** The promotion whose first write is waited for, and the appends there were before it. */
  #awaits: Readonly<{ turn: Kept; appendSeq: number }> | null = null;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
    const keep = (turn: Kept): void => this.#keep(turn);
    this.former = new Track('former', clock, log, keep);
    this.next = new Track('next', clock, log, keep);
  }

  /** Oldest first. */
  get accounts(): readonly TurnAccount[] {
    return this.#accounts;
  }

  /** The epoch was closed: by its holder, or because its lease is over. */
  closed(): void {
    this.next.mark(this.next.has('expired') ? 'fenced' : 'released');
  }

  /** To take over from a master that asks for it, or not any more; `given`: because it did. */
  agreed(agreed: boolean, given: boolean): void {
    if (agreed) this.next.mark('asked');
    else if (!given) this.next.reset();
  }

  /** Opened for writes with so many appends in the log: the next one is the first write. */
  promoted(appendSeq: number): void {
    const turn = this.#kept.at(-1);
    this.#awaits = turn?.account.side === 'next' ? { turn, appendSeq } : null;
  }

  /** The log has so many appends. */
  appended(appendSeq: number): void {
    const awaits = this.#awaits;
    if (awaits === null || appendSeq <= awaits.appendSeq) return;
    this.#awaits = null;
    const { turn } = awaits;
    const ms = Math.round(this.#clock.now() - turn.began);
    if (ms > FIRST_WRITE_MS_MAX) return;
    const account = { ...turn.account, marks: [...turn.account.marks, { name: 'first write', ms }] };
    this.#log.info('first write', { epoch: account.epoch, msSinceDetected: ms });
    this.#kept = this.#kept.map((each) => (each === turn ? { ...turn, account } : each));
    this.#accounts = this.#kept.map((each) => each.account);
  }

  #keep(turn: Kept): void {
    this.#kept = [...this.#kept, turn].slice(-TURNS_MAX);
    this.#accounts = this.#kept.map((each) => each.account);
  }
}

type Kept = Readonly<{ account: TurnAccount; began: MonoMs }>;

/** One side of one change of master at a time. */
class Track {
  readonly #side: TurnAccount['side'];
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #keep: (turn: Kept) => void;
  #began: MonoMs | null = null;
  #beganWall = 0;
  #marks = new Map<string, number>();

  constructor(side: TurnAccount['side'], clock: Clock, log: Logger, keep: (turn: Kept) => void) {
    this.#side = side;
    this.#clock = clock;
    this.#log = log;
    this.#keep = keep;
  }

  /** The first mark begins it; a repeated one keeps its first time. */
  mark(name: string): void {
    const now = this.#clock.now();
    if (this.#began === null) {
      this.#began = now;
      this.#beganWall = this.#clock.wall();
    }
    if (!this.#marks.has(name)) this.#marks.set(name, Math.round(now - this.#began));
  }

  has(name: string): boolean {
    return this.#marks.has(name);
  }

  /** `epoch`: the one that begins with it. `end`: what came of it, in words. */
  finish(epoch: number, end: string): void {
    if (this.#began === null) return;
    const kind = this.#marks.has('asked') ? 'switchover' : 'failover';
    const marks = [...this.#marks].map(([name, ms]) => ({ name, ms }));
    this.#log.info(`timeline of a ${kind}`, {
      side: this.#side,
      epoch,
      end,
      msSinceDetected: Object.fromEntries(this.#marks),
    });
    this.#keep({ account: { kind, side: this.#side, epoch, atWall: this.#beganWall, marks, end }, began: this.#began });
    this.reset();
  }

  reset(): void {
    this.#began = null;
    this.#marks = new Map();
  }
}
