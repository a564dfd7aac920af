import { join } from 'node:path';
import { ruleHolds } from '../base/rules.ts';
import type { BinlogIndex } from './binlog-index.ts';
import type { Tail } from './tail-scan.ts';

/**
 * Cutting the binlog is a plan on disk, so that a crash at any step is followed by the same steps again:
 *
 *   write plan ─► keep a copy aside ─► new server_uuid ─► note GTIDs ─► index ─► truncate + flag ─► delete files ─► remove plan
 *       │                                   │                  │          │            │
 *       │ from here on the cut is decided:  │                  │          │            └ marks the now last file as not closed, so
 *       │ the log was asked behind a        │                  │          │              that mysqld resolves its prepared ones by it
 *       │ barrier, with the epoch closed    │                  │          └ later files hold Previous_gtids that name what goes
 *       │                                   │                  └ mysqld must not have executed any of them (settle, recovery.ts)
 *       │                                   └ before anything goes: the numbers of what is cut must never be used for
 *       │                                     something else (protocol-findings 10)
 */
export type CutPlan = Readonly<{
  version: 1;
  index: string;
  /** Index lines that stay; the last of them is the file that is cut. */
  keep: readonly string[];
  /** New length of that file; null: it stays as it is (only later files go). */
  length: number | null;
  drop: readonly string[];
  /** null: nothing complete is removed, the server keeps its identity. */
  serverUuid: string | null;
  aside: string | null;
  /** For the log. */
  transactions: number;
  firstGtid: string;
  /** Of all that goes; plans of earlier versions lack it. */
  gtids?: string;
  reason: string;
}>;

/** What to do about a tail the log does not hold. `identity`: what the server is called from then on; when, for a name. */
export function planCut(
  index: BinlogIndex,
  tail: Extract<Tail, { held: false }>,
  { cutDir }: Readonly<{ cutDir: string }>,
  identity: Readonly<{ serverUuid: string; wallMs: number }>,
): CutPlan {
  const wholeFile = tail.offset === 0;
  const keep = index.lines.slice(0, wholeFile ? tail.line : tail.line + 1);
  const drop = index.lines.slice(keep.length);
  const removes = tail.transactions > 0 || !wholeFile;
  const stamp = new Date(identity.wallMs).toISOString().replaceAll(':', '').replaceAll('.', '');
  return {
    version: 1,
    index: index.path,
    keep,
    length: wholeFile ? null : tail.offset,
    drop,
    serverUuid: removes && ruleHolds('numbers-are-never-reused') ? identity.serverUuid : null,
    aside: removes ? join(cutDir, `${stamp}.bin`) : null,
    transactions: tail.transactions,
    firstGtid: tail.firstGtid,
    gtids: tail.gtids.toString(),
    reason: tail.reason,
  };
}
