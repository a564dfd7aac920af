import { type InstanceId, instanceId, type MonoMs, NO_INSTANCE, type NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import type { PurgeStatus } from '../proto/binlogsvr-types.ts';
import { kindOf } from './membership.ts';
import type { Needs } from './peer-transport.ts';
import { decidePurge, type Hold, type Need, type PurgeDecision, type PurgePolicy } from './purge-policy.ts';
import { stateFromJson } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import { firstRetained, type LogStore, type Sample } from './store-port.ts';
import { oldestXa } from './unresolved-xa.ts';
import type { UpkeepPace } from './upkeep-pace.ts';

/** Between two slices of reclaimed space, for those who write. */
const SLICE_MS = 200;
/** Holds at once; more are refused. */
export const HOLDS_MAX = 16;
/** A hold that is not renewed ends after this. */
export const HOLD_MS_MAX = 3_600_000;

export type PurgerPort = Readonly<{
  self: NodeId;
  clock: Clock;
  log: Logger;
  store: LogStore;
  policy: PurgePolicy;
  pace: UpkeepPace;
  state: () => ReplicatedState;
  /** Up to here a saved state was handed to the store. */
  savedIndex: () => InstanceId;
  peersUp: () => readonly NodeId[];
  send: (to: NodeId, needs: Needs) => void;
  formatDescriptionOf: (file: NonNullable<ReplicatedState['file']>) => Promise<Uint8Array>;
  failed: (error: unknown) => void;
}>;

/** Keeps the log from being purged from `from` on, until it is released or not renewed for HOLD_MS_MAX. */
export type PurgeHold = Readonly<{ renew(): void; release(): void }>;

/**
 * Purges the log of this node by purge-policy.ts and gives the space back in slices. Every node tells the others how much of the
 * log its own MySQL holds durably; each purges by itself, so that one that was just restarted may keep more for a while.
 */
export class Purger {
  readonly #p: PurgerPort;
  readonly #heard = new Map<NodeId, InstanceId | null>();
  readonly #own: DurableIndex;
  readonly #holds = new Map<object, Hold & { until: number }>();
  #decision: PurgeDecision = { upTo: NO_INSTANCE, heldBy: '', leftBehind: [] };
  #bytes = 0;
  #toldAt: number = Number.NEGATIVE_INFINITY;
  #decidedAt: number;
  #slicedAt = 0;
  /** Something may be left below the first retained instance. */
  #reclaim = true;
  #busy: Promise<void> | null = null;

  constructor(port: PurgerPort) {
    this.#p = port;
    this.#own = new DurableIndex(port.pace);
    this.#decidedAt = port.clock.now();
  }

  /** How much of the log the local MySQL has executed; null: there is no MySQL. Until the first call nothing is known. */
  executed(index: InstanceId | null): void {
    this.#own.note(index, this.#p.clock.now());
  }

  heard(from: NodeId, { executed }: Needs): void {
    this.#heard.set(from, executed);
  }

  /** The first instance of the log that is still here. */
  get firstRetained(): InstanceId {
    return firstRetained(this.#p.store.base);
  }

  /** @throws PhxError PURGED if `from` is gone already, BUSY */
  hold(name: string, from: InstanceId): PurgeHold {
    const { clock, store } = this.#p;
    if (from < firstRetained(store.base)) {
      throw new PhxError('PURGED', `hold log for ${name}: it begins at ${firstRetained(store.base)}, not at ${from}`);
    }
    if (this.#holds.size >= HOLDS_MAX) throw new PhxError('BUSY', `hold log for ${name}: ${HOLDS_MAX} others hold it`);
    const key = {};
    const renew = (): void => {
      this.#holds.set(key, { name, from, until: clock.now() + HOLD_MS_MAX });
    };
    renew();
    return { renew, release: () => void this.#holds.delete(key) };
  }

  tick(now: MonoMs): void {
    const { peersUp, send, pace } = this.#p;
    if (now - this.#toldAt >= pace.needsMs) {
      this.#toldAt = now;
      const executed = this.#own.at(now);
      if (executed !== undefined) for (const peer of peersUp()) send(peer, { kind: 'needs', executed });
    }
    if (this.#busy !== null) return;
    if (now - this.#decidedAt >= pace.purgeMs) {
      this.#decidedAt = now;
      this.#work(() => this.#decide(now));
    } else if (this.#reclaim && now - this.#slicedAt >= SLICE_MS) {
      this.#slicedAt = now;
      this.#work(async () => {
        this.#reclaim = await this.#p.store.reclaim();
      });
    }
  }

  status(): PurgeStatus {
    const { store, policy, clock } = this.#p;
    return {
      firstRetained: firstRetained(store.base),
      bytes: this.#bytes,
      ...policy,
      heldBy: this.#decision.heldBy,
      leftBehind: this.#decision.leftBehind,
      needs: this.#needs(clock.now()).flatMap(({ node, executed }) => (executed === null ? [] : [{ node, executed }])),
    };
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.#reclaim = false;
    await this.#busy;
  }

  #work(work: () => Promise<void>): void {
    this.#busy = work()
      .catch((error: unknown) => {
        if (error instanceof PhxError && error.code === 'STORE_IO') this.#p.failed(error);
        else this.#p.log.error('purge failed', { reason: reasonOf(error) });
      })
      .finally(() => {
        this.#busy = null;
      });
  }

  /** Witnesses need nothing; a learner that is away is nobody's promise. */
  #needs(now: MonoMs): readonly Need[] {
    const { self, state, peersUp } = this.#p;
    const up = new Set(peersUp());
    const needs: Need[] = [];
    for (const member of state().members) {
      const { node } = member;
      if (kindOf(member) === 'witness') continue;
      if (kindOf(member) === 'learner' && node !== self && !up.has(node)) continue;
      const executed = node === self ? this.#own.at(now) : this.#heard.get(node);
      if (executed !== null) needs.push({ node, executed: executed ?? null });
    }
    return needs;
  }

  async #decide(now: MonoMs): Promise<void> {
    const { clock, store, policy, pace, savedIndex, log } = this.#p;
    const from = firstRetained(store.base);
    this.#bytes = await store.bytesFrom(from);
    for (const [key, hold] of this.#holds) if (hold.until <= now) this.#holds.delete(key);
    const last = savedIndex() - pace.purgeMargin;
    if (last < from) return;
    const agedBefore = clock.wall() - policy.keepMs;
    const has =
      (bytes: number) =>
      async ({ instance }: Sample): Promise<boolean> =>
        (await store.bytesFrom(instance)) >= bytes;
    const cut = async (holds: (sample: Sample) => Promise<boolean> | boolean): Promise<InstanceId> =>
      instanceId(((await this.#newestSample(from + 1, last + 1, holds))?.instance ?? 1) - 1);
    const decision = decidePurge({
      purged: instanceId(from - 1),
      aged: await cut(({ wallMs }) => wallMs !== undefined && wallMs <= agedBefore),
      sized: this.#bytes > policy.keepBytes ? await cut(has(policy.keepBytes)) : NO_INSTANCE,
      capped: this.#bytes > policy.capBytes ? await cut(has(policy.capBytes)) : NO_INSTANCE,
      needs: this.#needs(now),
      holds: [...this.#holds.values(), ...this.#heldByXa()],
    });
    const left = decision.leftBehind.filter((node) => !this.#decision.leftBehind.includes(node));
    if (left.length > 0) {
      log.warn('the log reached its cap: nodes are left behind and have to be cloned', {
        nodes: left,
        upTo: decision.upTo,
      });
    }
    this.#decision = decision;
    const sample = await store.sampleAtOrBelow(instanceId(decision.upTo + 1));
    if (sample === null || sample.instance <= from) return;
    await this.#purge(sample);
  }

  /**
   * A slave's MySQL that restarts has forgotten what was prepared, with its GTID, and gets it from the log again: beyond any
   * cap, as the client may have been told that it is prepared.
   */
  #heldByXa(): readonly Hold[] {
    const oldest = ruleHolds('purge-keeps-unresolved-xa') ? oldestXa(this.#p.state().xa) : null;
    return oldest === null
      ? []
      : [{ name: `XA transaction ${oldest.xid}, prepared and unresolved`, from: oldest.from }];
  }

  async #purge({ instance, json }: Sample): Promise<void> {
    const { store, log, formatDescriptionOf } = this.#p;
    const { file } = stateFromJson(json);
    const event = file === null ? new Uint8Array(0) : await formatDescriptionOf(file);
    const appliedIndex = instanceId(instance - 1);
    await store.purge({ appliedIndex, json, formatDescription: Buffer.from(event).toString('base64') });
    this.#bytes = await store.bytesFrom(instance);
    log.info('log purged', { upTo: appliedIndex, bytes: this.#bytes });
    this.#reclaim = true;
  }

  /** The newest sample within [low, high] for which `holds` is true, which gets false but once along the log. */
  async #newestSample(
    low: number,
    high: number,
    holds: (sample: Sample) => Promise<boolean> | boolean,
  ): Promise<Sample | null> {
    let best: Sample | null = null;
    while (low <= high) {
      const middle = Math.floor((low + high) / 2);
      const sample = await this.#p.store.sampleAtOrBelow(instanceId(middle));
      if (sample === null || sample.instance < low) low = middle + 1;
      else if (await holds(sample)) {
        best = sample;
        low = middle + 1;
      } else high = sample.instance - 1;
    }
    return best;
  }
}

/** What the MySQL had executed `durableMs` ago and has not lost since. */
class DurableIndex {
  readonly #pace: UpkeepPace;
  #seen: { at: MonoMs; index: InstanceId }[] = [];
  #durable: InstanceId | null | undefined;

  constructor(pace: UpkeepPace) {
    this.#pace = pace;
  }

  note(index: InstanceId | null, now: MonoMs): void {
    const newest = this.#seen.at(-1);
    if (index === null) {
      this.#seen = [];
      this.#durable = null;
      return;
    }
    // A machine that crashed takes its MySQL back.
    if (newest !== undefined && index < newest.index) this.#seen = [];
    if (this.#durable === null) this.#durable = undefined;
    else if (this.#durable !== undefined && index < this.#durable) this.#durable = index;
    if (this.#seen.length === 0 || (newest !== undefined && now - newest.at >= this.#pace.needsMs))
      this.#seen.push({ at: now, index });
  }

  /** undefined: never told; null: there is no MySQL. */
  at(now: MonoMs): InstanceId | null | undefined {
    while (this.#seen.length > 0 && now - (this.#seen[0] as { at: MonoMs }).at >= this.#pace.durableMs) {
      this.#durable = (this.#seen.shift() as { index: InstanceId }).index;
    }
    return this.#durable;
  }
}
