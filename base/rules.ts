/**
 * The rules the cluster's promises rest on, by name. Each is written down at the one line of production code that holds
 * it, as `ruleHolds('its-name')`, so that a reader finds the line from the rule and the rule from the line. All hold, always:
 * only a test may switch one off, to see that the checkers and scripts notice (test/script/README.md).
 */
export const RULES = {
  majority: 'a value is chosen, a ballot won, by more than half of the voters',
  'accept-needs-promise': 'an acceptor accepts nothing below the ballot it promised',
  'ack-after-fsync': 'a promise or an accepted leaves only when the record it rests on is on disk',
  'apply-in-order': 'a value is applied, and so acknowledged, only when every lower instance is chosen',
  'append-needs-epoch': 'an append counts only in the open epoch it was made under',
  'stand-needs-all-executed': 'a node stands only with all the log holds executed by its MySQL',
  'lease-from-proposal': 'the holder counts its lease from before it proposed, and only what it proposed itself',
  'cut-no-less': 'the cut of a binlog leaves no transaction the log does not hold',
  'cut-no-more': 'the cut of a binlog takes no transaction the log holds',
  'forgetful-store-does-not-vote': 'a store that is not the acceptor bound for its node learns but does not vote',
  'phase1-after-membership':
    'a ballot holds only for the voters it was won with: after a change of them phase 1 runs again',
  'change-held-by-new-majority':
    'nothing is proposed under new voters before a majority of them holds the change itself',
} as const satisfies Readonly<Record<string, string>>;

export type Rule = keyof typeof RULES;

const off = new Set<Rule>();
let allHold = true;

/** True, unless a test switched the rule off. */
export function ruleHolds(rule: Rule): boolean {
  return allHold || !off.has(rule);
}

/** Tests only. Returns what switches exactly these on again; the whole process is concerned until then. */
export function switchOff(...rules: readonly Rule[]): () => void {
  const fresh = rules.filter((rule) => !off.has(rule));
  for (const rule of fresh) off.add(rule);
  allHold = off.size === 0;
  return () => {
    for (const rule of fresh) off.delete(rule);
    allHold = off.size === 0;
  };
}
