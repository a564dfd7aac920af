import type { NodeId } from '../base/brands.ts';
import type { Progress, SuccessorAsk, SuccessorSays } from './peer-transport.ts';
import type { Applied, ReplicatedState } from './state-types.ts';

/** Who wants to hear of a replica: each on*() returns the way to hear no more. */
export class ReplicaEvents {
  readonly #applied = new Set<(applied: Applied, state: ReplicatedState) => void>();
  readonly #installed = new Set<(state: ReplicatedState) => void>();
  readonly #change = new Set<() => void>();

  readonly #succession = new Set<(from: NodeId, message: SuccessorAsk | SuccessorSays) => void>();
  readonly #progress = new Set<(from: NodeId, message: Progress) => void>();

  /** Called for each applied value, in order, before its proposal resolves. */
  onApplied(listener: (applied: Applied, state: ReplicatedState) => void): () => void {
    return added(this.#applied, listener);
  }

  /** Called when a snapshot took the place of values that are never applied here. */
  onInstalled(listener: (state: ReplicatedState) => void): () => void {
    return added(this.#installed, listener);
  }

  /** Something a view shows may have changed. Called often: coalesce. */
  onChange(listener: () => void): () => void {
    return added(this.#change, listener);
  }

  /** What peers say of a planned hand-over. */
  onSuccession(listener: (from: NodeId, message: SuccessorAsk | SuccessorSays) => void): () => void {
    return added(this.#succession, listener);
  }

  succession(from: NodeId, message: SuccessorAsk | SuccessorSays): void {
    for (const listener of this.#succession) listener(from, message);
  }

  /** What a peer says of how far its MySQL is. */
  onProgress(listener: (from: NodeId, message: Progress) => void): () => void {
    return added(this.#progress, listener);
  }

  progress(from: NodeId, message: Progress): void {
    for (const listener of this.#progress) listener(from, message);
  }

  applied(applied: Applied, state: ReplicatedState): void {
    for (const listener of this.#applied) listener(applied, state);
  }

  installed(state: ReplicatedState): void {
    for (const listener of this.#installed) listener(state);
  }

  changed(): void {
    for (const listener of this.#change) listener();
  }
}

function added<T>(set: Set<T>, listener: T): () => void {
  set.add(listener);
  return () => set.delete(listener);
}
