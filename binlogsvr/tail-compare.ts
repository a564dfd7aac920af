import { type InstanceId, instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { LogSource } from './log-source.ts';
import { apply } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';

/** What one answer reads from the log at a time. */
const READ_BYTES = 4 * 1024 * 1024;
/** Transactions of the log passed over while looking for one of the local binlog's. */
const PASSED_MAX = 1_000_000;

export type LocalTransaction = Readonly<{ gtid: string; crc: number; replicated?: boolean }>;
export type Comparison = Readonly<{ matching: number; reason: string }>;

/**
 * Compares a local binlog with the log, transaction by transaction: a number is not content, so the checksum must be
 * equal too (protocol-findings 10). Walks the log once, beginning at the newest sample that lacks the first local
 * transaction; what already lies in that sample is held but its checksum is not looked up again. What a replica logged that it
 * got from the log (agent/xa.ts) has other bytes there, and the content the log gave it.
 */
export class TailComparison {
  readonly #source: LogSource;
  readonly #passed = new Map<string, number>();
  #begun: GtidSet | null = null;
  #walk: ReplicatedState | null = null;
  #matching = 0;
  #ended: string | null = null;

  constructor(source: LogSource) {
    this.#source = source;
  }

  get result(): Comparison {
    return { matching: this.#matching, reason: this.#ended ?? '' };
  }

  /** False once a transaction was found that the log does not hold: the rest need not be asked. */
  async next(local: LocalTransaction): Promise<boolean> {
    if (this.#ended !== null) return false;
    const reason = await this.#differs(local);
    if (reason === null) this.#matching += 1;
    else this.#ended = reason;
    return reason === null;
  }

  async #differs({ gtid, crc, replicated }: LocalTransaction): Promise<string | null> {
    const now = this.#source.state;
    if (!now.gtidSet.contains(gtid)) return `${gtid} is not in the log`;
    if (replicated) return null;
    if (now.baseline !== null && GtidSet.parse(now.baseline.gtidSet).contains(gtid)) return null;
    if (this.#walk === null) {
      const sample = await this.#source.sampleFor(now.gtidSet.subtract(GtidSet.of(gtid)));
      this.#walk = sample.state;
      this.#begun = sample.state.gtidSet;
    }
    if (this.#begun?.contains(gtid)) return null;
    const logged = this.#passed.get(gtid) ?? (await this.#find(gtid));
    this.#passed.delete(gtid);
    return logged === crc || !ruleHolds('number-is-not-content')
      ? null
      : `${gtid} has checksum ${hex(crc)} here and ${hex(logged)} in the log`;
  }

  /** Walks on until `gtid`, which the log is known to hold. */
  async #find(gtid: string): Promise<number> {
    for (;;) {
      const walk = this.#walk as ReplicatedState;
      const from: InstanceId = instanceId(walk.appliedIndex + 1);
      const entries = await this.#source.readLog(from, READ_BYTES);
      if (entries[0]?.instance !== from) {
        throw new PhxError('UNAVAILABLE', `compare binlog tail: the log cannot be read at instance ${from}`);
      }
      let state = walk;
      for (const { instance, value } of entries) {
        const step = apply(state, instance, value);
        state = step.state;
        for (const { gtid: passed, crc } of step.applied.transactions) this.#passed.set(passed, crc);
      }
      this.#walk = state;
      const found = this.#passed.get(gtid);
      if (found !== undefined) return found;
      if (this.#passed.size > PASSED_MAX) {
        throw new PhxError('TOO_LARGE', `compare binlog tail: ${gtid} not found within ${PASSED_MAX} transactions`);
      }
    }
  }
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
