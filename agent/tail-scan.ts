import { basename } from 'node:path';
import { PhxError } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { BinlogFileScanner, type ScannedTransaction } from '../mysql/binlog-file.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { TailTransaction } from '../proto/binlogsvr-types.ts';
import type { BinlogIndex } from './binlog-index.ts';
import type { LocalBinlog } from './mysqld-server.ts';

/** Transactions compared in one call: bounds the memory a long binlog file takes here. */
const COMPARE_BATCH = 4096;

/** What the store holds of a binlog: see BinlogsvrClient.compareTail. */
export interface TailComparer {
  compareTail(transactions: Iterable<TailTransaction>): Promise<{ matching: number; reason: string }>;
}

/**
 * Where the local binlog and the store part.
 *
 *   binlog.000007   binlog.000008          binlog.000009
 *   [t1 t2 t3]      [t4 │ t5 t6]           [t7]
 *                       ▲ first transaction the store does not hold with this checksum: all from here on goes
 */
export type Tail =
  | Readonly<{ held: true; transactions: number }>
  | Readonly<{
      held: false;
      /** Index into the index's lines, and the offset in that file, of the first byte to go. */
      line: number;
      offset: number;
      /** Complete transactions from there on (across files), and the first of them; '' if there is none. */
      transactions: number;
      firstGtid: string;
      gtids: GtidSet;
      reason: string;
    }>;

/**
 * Reads the local binlog backwards, file by file, until one all of whose transactions the store holds: the log holds a
 * prefix of what this server wrote, so everything before is in it too. A file without a transaction decides nothing.
 * Throws BINLOG_ENCRYPTED, BINLOG_CORRUPT (not a binlog at all), STORE_IO and whatever comparing throws.
 */
export async function findTail(
  index: BinlogIndex,
  binlog: Pick<LocalBinlog, 'read'>,
  store: TailComparer,
): Promise<Tail> {
  let cut = null as Extract<Tail, { held: false }> | null;
  let compared = 0;
  for (let line = index.lines.length - 1; line >= 0; line -= 1) {
    const scan = await scanFile(index.lines[line]!, (name) => binlog.read(index, name), store);
    compared += scan.count;
    if (scan.cutAt === null && scan.unreadable) {
      // mysqld died while it created this file: it would not start with it.
      cut = {
        held: false,
        line,
        offset: 0,
        transactions: cut?.transactions ?? 0,
        firstGtid: cut?.firstGtid ?? '',
        gtids: cut?.gtids ?? GtidSet.EMPTY,
        reason: scan.reason,
      };
      continue;
    }
    if (scan.cutAt !== null) {
      cut = {
        held: false,
        line,
        offset: scan.cutAt,
        transactions: scan.lost + (cut?.transactions ?? 0),
        firstGtid: scan.firstLost === '' ? (cut?.firstGtid ?? '') : scan.firstLost,
        gtids: scan.gtidsLost.union(cut?.gtids ?? GtidSet.EMPTY),
        reason: scan.reason,
      };
    }
    if (scan.held > 0) break;
  }
  return cut ?? { held: true, transactions: compared };
}

type FileScan = {
  /** Complete transactions, those of them held, and those not (all after the first that is not). */
  count: number;
  held: number;
  lost: number;
  firstLost: string;
  gtidsLost: GtidSet;
  /** Offset of the first transaction not held, or of damage; null = keep the whole file. */
  cutAt: number | null;
  /** Not even a format description event. */
  unreadable: boolean;
  reason: string;
};

/** All that the store holds, and nothing else. */
function keptOf(matching: number): number {
  if (!ruleHolds('cut-no-less')) return matching + 1;
  if (!ruleHolds('cut-no-more')) return Math.max(0, matching - 1);
  return matching;
}

async function scanFile(
  line: string,
  read: (line: string) => AsyncIterable<Buffer>,
  store: TailComparer,
): Promise<FileScan> {
  const scan: FileScan = {
    ...{ count: 0, held: 0, lost: 0, firstLost: '', gtidsLost: GtidSet.EMPTY },
    ...{ cutAt: null, unreadable: false, reason: '' },
  };
  const scanner = new BinlogFileScanner();
  let batch: ScannedTransaction[] = [];
  const compare = async (): Promise<void> => {
    const transactions = batch;
    batch = [];
    scan.count += transactions.length;
    let matching = 0;
    let reason = '';
    if (scan.cutAt === null && transactions.length > 0) ({ matching, reason } = await store.compareTail(transactions));
    scan.held += matching;
    const kept = keptOf(matching);
    const first = transactions[kept];
    if (matching === transactions.length || first === undefined) return;
    scan.lost += transactions.length - kept;
    scan.gtidsLost = scan.gtidsLost.union(GtidSet.of(...transactions.slice(kept).map(({ gtid }) => gtid)));
    if (scan.cutAt !== null) return;
    scan.cutAt = first.startOffset;
    scan.firstLost = first.gtid;
    scan.reason = `${first.gtid} is not in the store${reason === '' ? '' : ` (${reason})`}`;
  };

  try {
    for await (const piece of read(line)) {
      for (const transaction of scanner.push(piece)) batch.push(transaction);
      while (batch.length >= COMPARE_BATCH) await compare();
    }
  } catch (error) {
    if (error instanceof PhxError)
      throw new PhxError(error.code, `${basename(line)}: ${error.message}`, { cause: error });
    throw error;
  }
  scanner.end();
  await compare();
  scan.unreadable = scanner.formatDescription === null;
  if (scan.unreadable) scan.reason = `${basename(line)} has no format description`;
  const damage = scanner.corrupt;
  if (damage !== null && !scan.unreadable && scan.cutAt === null) {
    // After an OS crash: what follows was never acknowledged, and mysqld might stop at it. A transaction that merely ends
    // too early is no damage; mysqld rolls that back by itself.
    scan.cutAt = scanner.truncatedAt ?? damage.offset;
    scan.reason = `${basename(line)} is damaged at ${damage.offset}: ${damage.reason}`;
  }
  return scan;
}
