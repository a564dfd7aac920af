import { epochOf, type InstanceId, instanceId, nodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import { formatDescriptionIn, type LogFile } from '../../binlogsvr/applied-log.ts';
import type { LogSource } from '../../binlogsvr/log-source.ts';
import { apply, initialState } from '../../binlogsvr/state-machine.ts';
import type { Applied, ReplicatedState } from '../../binlogsvr/state-types.ts';
import { decodeValue, encodeValue } from '../../binlogsvr/value-codec.ts';
import type { LogValue } from '../../binlogsvr/values.ts';
import type { GtidSet } from '../../mysql/gtid-set.ts';
import type { StreamItem } from '../../mysql/transaction-stream.ts';
import type { AppendResult, AppendStore, StoreState } from '../../sync/ports.ts';

/** A log of one: the production state machine and codec without consensus, for tests of what stands around it. */
export class MemoryLog implements LogSource, AppendStore {
  state: ReplicatedState = initialState();
  readonly values: Uint8Array[] = [];
  /** While set, appends wait here before they are applied. */
  gate: Promise<void> | null = null;
  #samples: ReplicatedState[] = [this.state];
  #waiters: (() => void)[] = [];

  /** A log whose node 1 is master of epoch 1, whose data began with `gtidSet`. */
  static elected(gtidSet = ''): MemoryLog {
    const log = new MemoryLog();
    log.apply({ kind: 'baseline', node: nodeId(1), gtidSet, members: [{ node: nodeId(1), storeId: 's1' }] });
    log.apply({ kind: 'elect', node: nodeId(1), basedOnEpoch: epochOf(0), executedUpTo: instanceId(1) });
    return log;
  }

  apply(value: LogValue): Applied {
    const bytes = encodeValue(value);
    this.values.push(bytes);
    const { state, applied } = apply(this.state, instanceId(this.values.length), decodeValue(bytes));
    this.state = state;
    this.#samples.push(state);
    for (const wake of this.#waiters.splice(0)) wake();
    return applied;
  }

  async settle(epoch: number): Promise<StoreState> {
    if (this.state.epoch !== epoch || !this.state.open) throw new PhxError('WRONG_EPOCH', `epoch ${epoch} is over`);
    return { appendSeq: this.state.appendSeq, gtidSet: this.state.gtidSet, file: this.state.file };
  }

  async append(epoch: number, follows: number, items: readonly StreamItem[]): Promise<AppendResult> {
    if (this.gate !== null) await this.gate;
    const applied = this.apply({ kind: 'append', epoch: epochOf(epoch), follows, items });
    return { accepted: applied.accepted, code: applied.code, reason: applied.reason, appendSeq: this.state.appendSeq };
  }

  async readLog(from: InstanceId, maxBytes: number): Promise<readonly { instance: InstanceId; value: LogValue }[]> {
    const out: { instance: InstanceId; value: LogValue }[] = [];
    let bytes = 0;
    for (let i = from as number; i <= this.values.length && (out.length === 0 || bytes < maxBytes); i += 1) {
      const value = this.values[i - 1] as Uint8Array;
      bytes += value.length;
      out.push({ instance: instanceId(i), value: decodeValue(value) });
    }
    return out;
  }

  waitApplied(beyond: InstanceId, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.state.appliedIndex > beyond) return resolve();
      signal.addEventListener('abort', () => reject(new PhxError('CANCELLED', 'wait cancelled')), { once: true });
      this.#waiters.push(resolve);
    });
  }

  async formatDescriptionOf(file: LogFile): Promise<Uint8Array> {
    return formatDescriptionIn((await this.readLog(file.instance, 1))[0], file);
  }

  async sampleFor(set: GtidSet | null): Promise<{ state: ReplicatedState }> {
    if (set === null) return { state: initialState() };
    return { state: this.#samples.findLast((state) => state.gtidSet.isSubsetOf(set)) ?? initialState() };
  }
}
