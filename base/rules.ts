/**
 * The rules the cluster's promises rest on, by name. Each is written down at the one line of production code that holds
 * it, as `ruleHolds('its-name')`, so that a reader finds the line from the rule and the rule from the line. All hold, always:
 * only a test may switch one off, to see that the checkers and scripts notice (test/script/README.md).
 */
export const RULES = {
  // Paxos.
  majority: 'a value is chosen, a ballot won, by more than half of the voters',
  'accept-needs-promise': 'an acceptor accepts nothing below the ballot it promised',
  'ack-after-fsync': 'a promise or an accepted leaves only when the record it rests on is on disk',
  'found-is-on-disk':
    'what a store finds when it is opened is on disk before anybody hears of it: the process before may have died between write and fsync',
  'apply-in-order': 'a value is applied, and so acknowledged, only when every lower instance is chosen',
  'own-above-found': 'a new leader puts its own values only above the highest accepted one it found',
  'change-travels-alone': 'a change of the voters is proposed with nothing under way before, beside or behind it',
  'phase1-after-membership':
    'a ballot holds only for the voters it was won with: after a change of them phase 1 runs again',
  'change-held-by-new-majority':
    'nothing is proposed under new voters before a majority of them holds the change itself',
  'lease-forbids-strangers': 'while a lease runs an acceptor promises nothing to anyone but its holder',
  'announced-at-once':
    'with nothing left under way the leader tells what is chosen without waiting for its next message',
  'renewal-never-waits': 'lease values have a window of their own beside bulk',
  'bulk-leaves-the-disk-free': 'bulk under way is no more than the disk syncs in a tenth of a second',
  // Who is an acceptor.
  'forgetful-store-does-not-vote': 'a store that is not the acceptor bound for its node learns but does not vote',
  'hole-is-amnesia': 'a store whose records are not numbered without a gap has forgotten, and says so',
  'store-that-went-back-is-refused': 'a store that has less on disk than it once confirmed is not talked to',
  'change-counts-once-applied':
    'a change of the voters counts on every node, for all that follows, once it is applied there',
  'change-names-configuration': 'of two changes of one configuration of the members one is refused',
  'bad-value-needs-majority':
    'a bad value is replaced by an accepted one only if a majority of its voters said what they accepted',
  // The apply rule.
  'append-needs-epoch': 'an append counts only in the open epoch it was made under',
  'elect-needs-closed-epoch': 'an election follows the current epoch, and only once that is closed',
  'successor-executed-all': 'whoever becomes master names an index at or beyond the last completed transaction',
  'newer-mysql-waits': 'no node is elected whose MySQL is of a newer series than that of a voter that is alive',
  'chunks-do-not-count': 'an unfinished transaction makes nobody ineligible',
  'fence-names-epoch': 'a fence closes the epoch it names and no other',
  'closed-epoch-takes-nothing': 'a closed epoch takes no append, no chunk and no renewal',
  // What is kept of the log.
  'purge-keeps-what-is-needed':
    "nothing is purged that a member's MySQL does not hold durably, as long as the log is within its cap",
  'purge-keeps-unresolved-xa': 'nothing is purged from the oldest XA transaction on that is prepared and unresolved',
  // The lease.
  'lease-names-proposer': 'two processes that propose the same renewal propose two leases, each with its own clock',
  'lease-from-proposal': 'the holder counts its lease from before it proposed, and only what it proposed itself',
  'only-the-holder-states-its-lease':
    'reads rest on what the holder says of its own lease, never on what others learned',
  'first-sighting-counts': 'a lease value seen again makes nobody wait anew',
  'takeover-from-accepting': 'a takeover waits from the first accepting of a renewal, not only from learning it',
  'lease-age-is-told': 'promises and catch-up say how old a renewal is, so that a newcomer does not wait for it again',
  // Agent and MySQL.
  'stand-needs-all-executed': 'a node stands only with all the log holds executed by its MySQL',
  'promote-needs-all-executed': 'whoever was elected opens for writes only with exactly what the log holds executed',
  'stand-logs-xa':
    'while XA transactions are prepared only a mysqld stands, or takes over, that will log what becomes of them',
  'promote-logs-xa': 'whoever was elected opens for writes only if it will log what becomes of XA transactions',
  'xa-prepared-as-logged': 'a replica whose MySQL holds other XA transactions prepared than the log is out of service',
  'logged-is-flushed': 'a replica that logs what it replicates flushes its redo at each commit',
  'only-who-stood-promotes': 'an election that this mysqld did not stand for, or that was chosen late, is given back',
  'founder-is-empty':
    'the first value of a log is proposed only by a node whose MySQL holds nothing, or just what it was adopted with',
  'extra-behind-barrier': 'what MySQL has executed is called extra only by a store that knows all that was chosen',
  'never-the-last-copy': "a node's data is replaced only while somebody else is known to have all of it",
  'former-master-stays-offline':
    'a former master takes readers only once every bound of its lease has run out, at every proxy',
  'release-after-closing': 'the epoch of a live mysqld is given back only with every session on it closed',
  'transfer-after-closing':
    'an epoch is handed over only with every session on its mysqld closed, none to be opened, and nothing under way',
  'no-way-back-from-a-transfer':
    'a master that may have handed over, whatever it heard of that, does not open its mysqld again',
  'release-after-reap': 'a lease is given back only once mysqld is dead and reaped',
  'cut-waits-for-the-lock': 'nothing is cut while any process holds the lock of the data directory',
  'cut-behind-fence': 'a tail is cut only behind a barrier, with every epoch of its own closed',
  'numbers-are-never-reused': 'a server that lost transactions to a cut gets a new name, and so new GTIDs',
  'number-is-not-content': 'a transaction is held by the log only if its checksum is that of the log as well',
  'cut-is-rolled-back': 'a server that has executed what was cut from its binlog does not serve',
  'cut-no-less': 'the cut of a binlog leaves no transaction the log does not hold',
  'cut-no-more': 'the cut of a binlog takes no transaction the log holds',
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
