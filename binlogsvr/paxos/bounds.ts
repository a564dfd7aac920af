/** What the core may hold or send at most, and how long it waits before it says something again. */
export type PaxosBounds = Readonly<{
  /**
   * Own proposals under way in the data lane, and their bytes at most (fewer on a slow disk: the input `flight`); one value of
   * any size always fits into an empty lane.
   */
  inFlightInstances: number;
  inFlightBytes: number;
  /** Further proposals for lease values, so that a renewal never waits behind bulk (protocol-findings 28). */
  inFlightLease: number;
  /** An acceptor ignores proposals further than this above its last chosen instance: it has to learn first. */
  aheadInstances: number;
  /** Bytes of values held above the last chosen instance; the next instance in order always fits. */
  aheadBytes: number;
  /** Learned values not on disk yet; more are asked for only below this. */
  learnPendingBytes: number;
  /** Entries merged into one accept message. */
  acceptBytes: number;
}>;

const MiB = 1024 * 1024;

export const MAX_IN_FLIGHT_INSTANCES = 64;
export const MAX_IN_FLIGHT_BYTES = 8 * MiB;
export const MAX_IN_FLIGHT_LEASE = 8;
export const ACCEPT_MESSAGE_BYTES_MAX = 4 * MiB;

/** A follower may be two full windows behind its leader without having to learn. */
export const DEFAULT_BOUNDS: PaxosBounds = {
  inFlightInstances: MAX_IN_FLIGHT_INSTANCES,
  inFlightBytes: MAX_IN_FLIGHT_BYTES,
  inFlightLease: MAX_IN_FLIGHT_LEASE,
  aheadInstances: 256,
  aheadBytes: 32 * MiB,
  learnPendingBytes: 16 * MiB,
  acceptBytes: ACCEPT_MESSAGE_BYTES_MAX,
};

/** An unanswered prepare or accept is sent again after this, doubling for accepts up to the maximum. */
export const RESEND_MS = 200;
export const RESEND_MS_MAX = 1600;
/** An unanswered learn goes to another peer after this. */
export const LEARN_RETRY_MS = 300;
/** Every node tells its peers this often how far it is. */
export const HINT_MS = 1000;
/** A campaign that cannot learn what it has to is given up: a new phase 1 may find another way. */
export const CATCH_UP_STALL_MS = 1000;
