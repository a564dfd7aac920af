import { type InstanceId, instanceId, type MonoMs } from '../base/brands.ts';
import type { GtidSet } from '../mysql/gtid-set.ts';
import type { Applied, ReplicatedState } from './state-types.ts';
import { oldestXa } from './unresolved-xa.ts';

/** Appends remembered until executed; beyond it every second one is forgotten and progress is seen in coarser steps. */
export const TRACKED_MAX = 8192;

/**
 * The log's GTIDs after some append; covers the instances from `from` on. Sets share what they have in common. `forgets`: where
 * the oldest XA transaction begins that is prepared there and unresolved.
 */
type Mark = { from: InstanceId; readonly set: GtidSet; at: MonoMs; readonly forgets: InstanceId | null };

const forgottenBy = ({ xa }: ReplicatedState): InstanceId | null => oldestXa(xa)?.from ?? null;

/** How far the local mysqld has executed what is applied here, from the agent's reports. */
export class ExecutedTracker {
  #marks: Mark[] = [];
  #state: ReplicatedState;
  #executed: GtidSet | null = null;
  /** Of the last mark that was executed. */
  #forgets: InstanceId | null = null;

  /** What happened before the start counts as applied now. */
  constructor(state: ReplicatedState, now: MonoMs) {
    this.#state = state;
    this.#restart(now);
  }

  applied(applied: Applied, state: ReplicatedState, now: MonoMs): void {
    this.#state = state;
    if (applied.value.kind === 'baseline' && applied.accepted) this.#restart(now);
    if (applied.transactions.length === 0) return;
    this.#marks.push({ from: applied.instance, set: state.gtidSet, at: now, forgets: forgottenBy(state) });
    if (this.#marks.length > TRACKED_MAX) this.#thin();
  }

  /** A snapshot took the log from where it was applied to here: all of that is executed once its GTIDs are. */
  installed(state: ReplicatedState, now: MonoMs): void {
    const from = instanceId(this.#state.appliedIndex + 1);
    this.#state = state;
    this.#marks.push({ from, set: state.gtidSet, at: now, forgets: forgottenBy(state) });
  }

  executed(set: GtidSet, now: MonoMs): void {
    // A crash can take a slave back to an earlier, consistent set.
    if (this.#executed !== null && !this.#executed.isSubsetOf(set)) this.#restart(now);
    this.#executed = set;
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#marks[middle] as Mark).set.isSubsetOf(set)) low = middle + 1;
      else high = middle;
    }
    const done = this.#marks.splice(0, low).at(-1);
    if (done !== undefined) this.#forgets = done.forgets;
  }

  /** The largest applied index up to which every transaction is executed. */
  get executedIndex(): InstanceId {
    const first = this.#marks[0];
    return first === undefined ? this.#state.appliedIndex : instanceId(first.from - 1);
  }

  /** The same without what mysqld forgets when it is restarted: XA transactions it holds prepared. */
  get lastingIndex(): InstanceId {
    const { executedIndex } = this;
    return this.#forgets === null ? executedIndex : instanceId(Math.min(executedIndex, this.#forgets - 1));
  }

  /** Age of the oldest applied append that is not executed; 0 if there is none. */
  lagMs(now: MonoMs): number {
    const first = this.#marks[0];
    return first === undefined ? 0 : Math.max(0, now - first.at);
  }

  #restart(now: MonoMs): void {
    const { gtidSet } = this.#state;
    this.#forgets = null;
    this.#marks = gtidSet.isEmpty
      ? []
      : [{ from: instanceId(1), set: gtidSet, at: now, forgets: forgottenBy(this.#state) }];
  }

  #thin(): void {
    const kept: Mark[] = [];
    for (let i = 0; i < this.#marks.length; i += 2) {
      const first = this.#marks[i] as Mark;
      const second = this.#marks[i + 1];
      if (second === undefined) kept.push(first);
      else kept.push({ from: first.from, set: second.set, at: first.at, forgets: second.forgets });
    }
    this.#marks = kept;
  }
}
