import type { ErrorCode } from '../base/errors.ts';
import type { GtidSet } from '../mysql/gtid-set.ts';
import type { StreamItem } from '../mysql/transaction-stream.ts';

/** Where the store stands when everything proposed before has been applied. */
export type StoreState = Readonly<{
  /** Accepted appends so far: the next append follows this one. */
  appendSeq: number;
  gtidSet: GtidSet;
  /** The binlog file the log is in, if a master has written one. */
  file: Readonly<{ epoch: number; name: string }> | null;
}>;

export type AppendResult = Readonly<{
  /** Applied: every lower instance is chosen and the apply rule took it (invariant I1). Only then may sync ack. */
  accepted: boolean;
  code: ErrorCode | null;
  reason: string;
  appendSeq: number;
}>;

/** What sync needs of the replicated store; binlogsvr's replica in the same process, or its gRPC client. */
export interface AppendStore {
  /**
   * Waits until nothing older can still be applied and this node may append in `epoch`.
   * @throws PhxError WRONG_EPOCH if `epoch` is over or another node's; NO_QUORUM or TIMEOUT if that cannot be found out now.
   */
  settle(epoch: number): Promise<StoreState>;
  /** Resolves when the append was applied, or refused. Rejects when its outcome is unknown: settle again. */
  append(epoch: number, follows: number, items: readonly StreamItem[]): Promise<AppendResult>;
}
