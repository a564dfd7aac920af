import type { MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { XaView } from '../proto/binlogsvr-types.ts';
import type { MysqldFacts, Relation } from './decide.ts';
import type { Channel, MysqldAdmin, Probe } from './mysqld-admin.ts';
import { XaJudge, xaDifference } from './xa.ts';

const PROBE_EVERY_MS = 200;
/** While somebody waits for the next answer (an election, a promotion). */
const PROBE_HURRIED_MS = 20;
const LOGIN_MS_MAX = 500;

/** What the watch should look at beside the probe; the agent sets it with the role. */
export type WatchMode = Readonly<{ channel: boolean; logins: boolean; hurried: boolean }>;

type Watched = {
  readonly pid: number;
  condemned: boolean;
  openedFor: number;
  lastAnswer: MonoMs;
  probe: Probe | null;
  channel: Channel | null;
  waitingSince: MonoMs | null;
  loginBlockedSince: MonoMs | null;
  /** GTIDs it no longer counts as executed. */
  lost: string;
  /** When what it has executed last changed, or the wait for that began anew. */
  advancedAt: MonoMs;
  /** What moves while commits get through, and when it last did. */
  progress: string;
  progressAt: MonoMs;
  readonly xa: XaJudge;
};

/** Probes the mysqld that runs, again and again, and remembers what follows from the answers together. */
export class MysqldWatch {
  readonly #admin: MysqldAdmin;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #changed: () => void;
  #watched: Watched | null = null;
  #mode: WatchMode = { channel: false, logins: false, hurried: false };
  #cancelTimer: () => void = () => {};
  #probing: Promise<Probe | null> | null = null;
  #quiet = false;
  #closed = false;
  readonly #relate = relater();

  constructor(options: Readonly<{ admin: MysqldAdmin; clock: Clock; log: Logger; changed: () => void }>) {
    this.#admin = options.admin;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#changed = options.changed;
  }

  /** `pid` runs; it was started just now, or is adopted. */
  begin(pid: number, openedFor: number): void {
    const now = this.#clock.now();
    this.#watched = {
      pid,
      condemned: false,
      openedFor,
      lastAnswer: now,
      probe: null,
      channel: null,
      waitingSince: null,
      loginBlockedSince: null,
      lost: '',
      advancedAt: now,
      progress: '',
      progressAt: now,
      xa: new XaJudge(),
    };
    this.#quiet = false;
    this.#schedule(0);
  }

  /** It ended. */
  end(): void {
    this.#watched = null;
    this.#cancelTimer();
    this.#admin.reset();
  }

  close(): void {
    this.#closed = true;
    this.end();
  }

  /** It is going to be killed: nothing it says counts any more. */
  condemn(): void {
    if (this.#watched !== null) this.#watched.condemned = true;
  }

  /** Something was done about a mysqld that does not get on: it gets its time again. */
  excuse(): void {
    if (this.#watched !== null) this.#watched.advancedAt = this.#clock.now();
  }

  opened(epoch: number): void {
    if (this.#watched !== null) this.#watched.openedFor = epoch;
  }

  tune(mode: WatchMode): void {
    const hurry = mode.hurried && !this.#mode.hurried;
    this.#mode = mode;
    if (hurry) this.#schedule(0);
  }

  /** The epoch the mysqld that runs was opened for writes in since its binlog file began; 0: none. */
  get openedFor(): number {
    return this.#watched?.openedFor ?? 0;
  }

  get pid(): number | null {
    return this.#watched?.pid ?? null;
  }

  get probe(): Probe | null {
    return this.#watched?.probe ?? null;
  }

  get channel(): Channel | null {
    return this.#watched?.channel ?? null;
  }

  get silentMs(): number {
    return this.#watched === null ? 0 : this.#clock.now() - this.#watched.lastAnswer;
  }

  /** How long commits have been waiting while nothing was acked or, by `appendSeq`, appended. */
  stuckMs(appendSeq: number): number {
    const watched = this.#watched;
    if (watched === null || watched.probe === null) return 0;
    const progress = `${watched.probe.semiSync.acked} ${appendSeq}`;
    if (progress !== watched.progress || watched.probe.semiSync.waiting === 0) {
      watched.progress = progress;
      watched.progressAt = this.#clock.now();
    }
    return this.#clock.now() - watched.progressAt;
  }

  /** `storeSet` and `xa` as the store had them at `storeSetAsOf`. */
  facts(storeSet: string | null, storeSetAsOf: number, xa?: XaView | null): MysqldFacts {
    const watched = this.#watched;
    if (watched === null) return { state: 'none' };
    const now = this.#clock.now();
    const { probe } = watched;
    const { relation, extra } =
      probe === null || storeSet === null ? UNKNOWN : this.#relate(probe.gtidExecuted, storeSet);
    const judged = probe !== null && storeSetAsOf >= probe.answeredAt;
    if (judged && relation !== 'extra') watched.xa.look(xaDifference(probe, xa), now);
    return {
      state: 'running',
      pid: watched.pid,
      condemned: watched.condemned,
      probe,
      channel: watched.channel,
      silentMs: now - watched.lastAnswer,
      relation,
      extra,
      judged,
      waitingMs: watched.waitingSince === null ? 0 : Math.max(1, now - watched.waitingSince),
      loginBlockedMs: watched.loginBlockedSince === null ? 0 : now - watched.loginBlockedSince,
      openedFor: watched.openedFor,
      lost: watched.lost,
      stalledMs: relation === 'behind' ? now - watched.advancedAt : 0,
      xa: watched.xa.verdict,
    };
  }

  /** A probe that begins now (or is about to): null when it is not answered. */
  async probeNow(): Promise<Probe | null> {
    if (this.#probing !== null) await this.#probing;
    return await this.#probe();
  }

  #schedule(ms: number): void {
    this.#cancelTimer();
    if (this.#closed) return;
    this.#cancelTimer = this.#clock.after(ms, () => void this.#probe());
  }

  #probe(): Promise<Probe | null> {
    this.#probing ??= this.#ask().finally(() => {
      this.#probing = null;
      if (this.#watched !== null) this.#schedule(this.#mode.hurried ? PROBE_HURRIED_MS : PROBE_EVERY_MS);
    });
    return this.#probing;
  }

  async #ask(): Promise<Probe | null> {
    const watched = this.#watched;
    if (watched === null) return null;
    try {
      const [probe, channel] = await Promise.all([
        this.#admin.probe(),
        this.#mode.channel ? this.#admin.channel().catch(() => watched.channel) : null,
      ]);
      watched.lost ||= lostBetween(watched.probe?.gtidExecuted ?? '', probe.gtidExecuted);
      if (watched.probe?.gtidExecuted !== probe.gtidExecuted) watched.advancedAt = this.#clock.now();
      watched.probe = probe;
      watched.channel = channel;
      watched.lastAnswer = this.#clock.now();
      watched.waitingSince = probe.semiSync.waiting > 0 ? (watched.waitingSince ?? probe.answeredAt) : null;
      this.#quiet = false;
      if (this.#mode.logins && probe.semiSync.waiting > 0) void this.#tryLogin(watched);
      else watched.loginBlockedSince = null;
      if (watched === this.#watched) this.#changed();
      return probe;
    } catch (error) {
      if (!this.#quiet && watched === this.#watched) {
        this.#quiet = true; // once per silence
        this.#log.warn('mysqld does not answer a probe', { mysqld: watched.pid, reason: reasonOf(error) });
      }
      if (watched === this.#watched) this.#changed();
      return null;
    }
  }

  async #tryLogin(watched: Watched): Promise<void> {
    const began = this.#clock.now();
    if (await this.#admin.canLogIn(LOGIN_MS_MAX)) watched.loginBlockedSince = null;
    else watched.loginBlockedSince ??= began;
  }
}

const UNKNOWN: Readonly<{ relation: Relation; extra: string }> = { relation: 'unknown', extra: '' };

/** Compares two sets, parsing again only what changed. */
function relater(): (executed: string, store: string) => Readonly<{ relation: Relation; extra: string }> {
  let last = { executed: '', store: '', result: { relation: 'equal' as Relation, extra: '' } };
  return (executed, store) => {
    if (executed !== last.executed || store !== last.store) last = { executed, store, result: relate(executed, store) };
    return last.result;
  };
}

/** A set only grows while its server runs, unless somebody resets it (RESET BINARY LOGS AND GTIDS). */
function lostBetween(before: string, after: string): string {
  return before === after || before === '' ? '' : GtidSet.parse(before).subtract(GtidSet.parse(after)).toString();
}

export function relate(executed: string, store: string): Readonly<{ relation: Relation; extra: string }> {
  const ours = GtidSet.parse(executed);
  const theirs = GtidSet.parse(store);
  if (!ours.isSubsetOf(theirs)) return { relation: 'extra', extra: ours.subtract(theirs).toString() };
  return { relation: theirs.isSubsetOf(ours) ? 'equal' : 'behind', extra: '' };
}
