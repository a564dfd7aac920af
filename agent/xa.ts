import { GtidSet } from '../mysql/gtid-set.ts';
import type { View, XaView } from '../proto/binlogsvr-types.ts';
import type { Probe } from './mysqld-admin.ts';

/**
 * XA transactions that are prepared and not resolved. A slave does not log what it replicates, so MySQL would commit or roll
 * them back there without a word to the binlog: to its clients on the read-only port, and to the next master's
 * (protocol-findings 1).
 */

/** What XA RECOVER shows and the log does not, or the other way round, is a divergence once it has been so for this long. */
export const XA_DOUBT_MS = 2_000;
/** Each candidate leaves it to those before it to restart for XA, so long each: readers keep the others meanwhile. */
export const XA_TURN_MS = 5_000;
/** The same of those a master asks to take over, who waits for half of a switchover's 10 s; perhaps it asks one only. */
export const XA_ASKED_TURN_MS = 2_000;

type Prepared = Pick<Probe, 'gtidExecuted' | 'prepared'>;

/**
 * How the XA transactions prepared in mysqld differ from those the log left there. What is gone, somebody resolved: the data is
 * not the log's. What is more was never logged (one that wrote nothing): a restart of mysqld rolls it back.
 */
export type XaDifference = Readonly<{ kind: 'gone' | 'more'; words: string }>;

/**
 * null: none, as far as can be said. `log` is newer than the probe, and holds all it has executed. What mysqld has not executed
 * yet is not expected; what the log has resolved may still be there until the newest step of the log is executed.
 */
export function xaDifference(
  { gtidExecuted, prepared = [] }: Prepared,
  log: XaView | null | undefined,
): XaDifference | null {
  if (!log || (log.prepared.length === 0 && prepared.length === 0)) return null;
  const executed = GtidSet.parse(gtidExecuted);
  const here = new Set(prepared);
  const gone = log.prepared.find(({ xid, gtid }) => !here.has(xid) && executed.contains(gtid));
  if (gone !== undefined) {
    const where = `the log holds XA transaction ${gone.xid} prepared (${gone.gtid}), mysqld does not`;
    return { kind: 'gone', words: `${where}: it was resolved here alone` };
  }
  if (!log.complete || (log.last !== '' && !executed.contains(log.last))) return null;
  const known = new Set(log.prepared.map(({ xid }) => xid));
  const more = prepared.find((xid) => !known.has(xid));
  if (more === undefined) return null;
  return { kind: 'more', words: `mysqld holds XA transaction ${more} prepared, the log does not` };
}

/** A difference, and whether it has lasted. Between executing a step and showing it there is a moment. */
export type XaVerdict = Readonly<{ difference: XaDifference | null; sure: boolean }>;

export class XaJudge {
  #since = 0;
  #verdict: XaVerdict = { difference: null, sure: false };

  get verdict(): XaVerdict {
    return this.#verdict;
  }

  look(difference: XaDifference | null, now: number): void {
    if (difference?.words !== this.#verdict.difference?.words) this.#since = now;
    this.#verdict = { difference, sure: difference !== null && now - this.#since >= XA_DOUBT_MS };
  }
}

/** Why `probe`'s mysqld cannot become master as it runs, in words; null: what becomes of XA transactions there is logged. */
export function xaUnlogged(
  { logsReplicated = false, prepared = [] }: Pick<Probe, 'logsReplicated' | 'prepared'>,
  view: Pick<View, 'xa'>,
): string | null {
  if (logsReplicated) return null;
  const found = new Set([...prepared, ...(view.xa?.prepared ?? []).map(({ xid }) => xid)]);
  if (found.size === 0) return null;
  const [first] = found;
  return `XA transactions are prepared (${first}${found.size > 1 ? ` and ${found.size - 1} more` : ''}), whose end this mysqld would not log`;
}
