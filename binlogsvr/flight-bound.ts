import { MAX_IN_FLIGHT_BYTES } from './paxos/bounds.ts';

/** Under these it does not pay: a disk syncs so much in about the time it takes to sync anything. */
export const FLIGHT_BYTES_MIN = 256 * 1024;
export const FLIGHT_BYTES_MAX = MAX_IN_FLIGHT_BYTES;
/** A renewal waits about so long for the bulk before it, at most. */
export const QUEUE_MS = 100;
/** Smaller batches say nothing: what they took is the fsync, or a hiccup. */
const BULK_BYTES = 64 * 1024;
const RECENT_MAX = 8;

/** A synced write: bytes of values, and how long it took. */
export type SyncedBatch = Readonly<{ bytes: number; ms: number }>;
export type FlightBound = Readonly<{ bytesMax: number; recent: readonly SyncedBatch[] }>;

export const FLIGHT_START: FlightBound = { bytesMax: FLIGHT_BYTES_MAX, recent: [] };

/**
 * How many bytes of bulk may be under way, so that what the disk still has to sync takes about QUEUE_MS: measured bytes per
 * ms x QUEUE_MS, between the bounds. Pure. It is the leader's own disk that is measured: nodes of a cluster are alike.
 *
 * A batch counts if it is a fair part of the bound, or took so long that a renewal behind it would have waited. The bound
 * follows only a change that matters, down at once and up by doubling: one fast batch must not undo what slow ones showed.
 */
export function afterBatch({ bytesMax, recent }: FlightBound, batch: SyncedBatch): FlightBound {
  const telling = batch.bytes >= BULK_BYTES && (batch.bytes * 4 >= bytesMax || batch.ms * 2 > QUEUE_MS);
  if (!telling) return { bytesMax, recent };
  const seen = [...recent, batch].slice(-RECENT_MAX);
  let bytes = 0;
  let ms = 0;
  for (const each of seen) {
    bytes += each.bytes;
    ms += each.ms;
  }
  const target = ms <= 0 ? FLIGHT_BYTES_MAX : Math.round((bytes / ms) * QUEUE_MS);
  return { bytesMax: follow(bytesMax, target), recent: seen };
}

function follow(bytesMax: number, target: number): number {
  if (target < bytesMax * 0.75) return Math.max(FLIGHT_BYTES_MIN, target);
  if (target > bytesMax * 1.5) return Math.min(FLIGHT_BYTES_MAX, target, bytesMax * 2);
  return bytesMax;
}
