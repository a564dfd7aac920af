import type { GtidSet } from '../mysql/gtid-set.ts';
import type { AgentReport } from '../proto/binlogsvr-types.ts';

/** Longer lists of what is missing are cut: it is for people to read. */
const MISSING_CHARS_MAX = 200;

/**
 * Why the node's MySQL cannot follow the log any more, in words; '' if it can. `purged`: the GTIDs of what the log does not
 * hold. Before an agent has looked into its mysqld nothing is said.
 */
export function needsClone(report: AgentReport | null, executed: GtidSet, purged: GtidSet): string {
  if (report === null || purged.isSubsetOf(executed)) return '';
  const looked = report.gtidExecuted !== '' || report.role === 'replica' || report.role === 'master';
  if (!looked) return '';
  const missing = purged.subtract(executed).toString();
  const text = missing.length > MISSING_CHARS_MAX ? `${missing.slice(0, MISSING_CHARS_MAX)}...` : missing;
  return `this node's MySQL lacks transactions the log no longer holds: ${text}`;
}
