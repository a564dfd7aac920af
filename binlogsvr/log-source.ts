import type { InstanceId } from '../base/brands.ts';
import type { GtidSet } from '../mysql/gtid-set.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogValue } from './values.ts';

/** What readers of the applied log (dump server, tail comparison) need of the replica. */
export interface LogSource {
  readonly state: ReplicatedState;
  /** Applied values from `from` on, in order; empty if there are none yet. */
  readLog(from: InstanceId, maxBytes: number): Promise<readonly Readonly<{ instance: InstanceId; value: LogValue }>[]>;
  /** Resolves when something beyond `beyond` is applied; rejects with CANCELLED when `signal` fires. */
  waitApplied(beyond: InstanceId, signal: AbortSignal): Promise<void>;
  /** The format description event the file begins with, whether the log still holds it or not. */
  formatDescriptionOf(file: NonNullable<ReplicatedState['file']>): Promise<Uint8Array>;
  /**
   * The newest remembered state whose GTID set lies within `set`: where a reader that has `set` may begin.
   * null: the state the log begins with. @throws PhxError PURGED if transactions outside `set` are gone already
   */
  sampleFor(set: GtidSet | null): Promise<Readonly<{ state: ReplicatedState }>>;
}
