import { type InstanceId, instanceId, type NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';

/**
 * How much of the log a node keeps beyond what somebody needs. Too little: a CDC client or a backup that was away finds its
 * place gone. Too much: disk.
 */
export type PurgePolicy = Readonly<{
  /** What is older may go. */
  keepMs: number;
  /** What lies before the newest so many bytes may go, whatever its age. */
  keepBytes: number;
  /** A member that is dead or behind holds the log up to so many bytes; then it is left behind and has to be cloned. */
  capBytes: number;
}>;

const HOUR_MS = 3_600_000;
const GiB = 1024 ** 3;

export const DEFAULT_PURGE: PurgePolicy = { keepMs: 72 * HOUR_MS, keepBytes: 4 * GiB, capBytes: 16 * GiB };

/** `executed`: the node's MySQL has everything up to there durably; null: nobody here has heard. */
export type Need = Readonly<{ node: NodeId; executed: InstanceId | null }>;
/** Somebody reads from `from` on, a clone for example. */
export type Hold = Readonly<{ name: string; from: InstanceId }>;

/** The log may be cut behind certain instances only (0: behind none). Of those: */
export type PurgeFacts = Readonly<{
  /** the one it was cut behind last */
  purged: InstanceId;
  /** the newest with nothing but what is older than keepMs before it */
  aged: InstanceId;
  /** the newest with at least keepBytes behind it */
  sized: InstanceId;
  /** the newest with at least capBytes behind it: 0 while the log is within its cap */
  capped: InstanceId;
  /** Every member that has a MySQL and votes, dead or alive, and learners while they are connected. */
  needs: readonly Need[];
  holds: readonly Hold[];
}>;

export type PurgeDecision = Readonly<{
  /** The log up to here may go. */
  upTo: InstanceId;
  /** What keeps the policy from having its way, in words; '' if nothing. */
  heldBy: string;
  /** Nodes that lack what is gone, or goes now that the log is at its cap. */
  leftBehind: readonly NodeId[];
}>;

/**
 * By age and size, but never past what a member still needs, unless the cap is reached, and never past a hold: holds run out
 * by themselves. A node that is left behind holds nothing any more, until it was cloned.
 */
export function decidePurge({ purged, aged, sized, capped, needs, holds }: PurgeFacts): PurgeDecision {
  const wanted = Math.max(purged, aged, sized, capped);
  const held = holds.reduce((least, hold) => Math.min(least, hold.from - 1), wanted);
  const counted = ruleHolds('purge-keeps-what-is-needed') ? needs : [];
  const alive = counted.filter(({ executed }) => executed === null || executed >= purged);
  const needed = alive.reduce((least, { executed }) => Math.min(least, executed ?? purged), held);
  const upTo = instanceId(Math.max(purged, needed, Math.min(capped, held)));
  const leftBehind = needs.filter(({ executed }) => executed !== null && executed < upTo).map(({ node }) => node);
  const holders =
    upTo >= wanted
      ? []
      : [
          ...holds.filter((hold) => hold.from - 1 < wanted).map((hold) => hold.name),
          ...alive
            .filter(({ executed }) => (executed ?? purged) < wanted)
            .map(({ node, executed }) => `node ${node} ${executed === null ? 'not heard of' : `at ${executed}`}`),
        ];
  return { upTo, heldBy: holders.join(', '), leftBehind };
}
