import { crc32 } from 'node:zlib';
import type { InstanceId, MonoMs, NodeId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/ports.ts';
import { decodeBase } from './log-base.ts';
import type { SnapshotAsk, SnapshotPiece } from './peer-transport.ts';

/** A larger one is refused: it is held in memory until it is whole. */
export const SNAPSHOT_BYTES_MAX = 64 * 1024 * 1024;
/** A piece that does not come is asked for again, of the next peer if there is one. */
const RETRY_MS = 500;
/** After so long without a new piece another snapshot is taken instead. */
const STALL_MS = 3000;

export type ReceiverPort = Readonly<{
  log: Logger;
  /** Everything up to here is settled on this node. */
  settled: () => InstanceId;
  peersUp: () => readonly NodeId[];
  ask: (to: NodeId, ask: SnapshotAsk) => void;
}>;

type Transfer = {
  readonly index: InstanceId;
  readonly crc: number;
  readonly total: number;
  readonly pieces: Uint8Array[];
  received: number;
  progressAt: MonoMs;
  from: NodeId;
  askedAt: MonoMs;
};

/**
 * Puts a snapshot together. One piece is under way at a time, so that its sender is never ahead of this node; each is checked, and
 * so is the whole. A transfer that is interrupted goes on where it was, with any peer that has the same snapshot.
 *
 *   idle ──first piece──► receiving ──piece in order──► receiving ... ──last piece, checksum right──► whole (handed out) ──► idle
 *                           │   ▲ └── nothing for RETRY_MS, or a damaged piece: the same offset is asked for again
 *                           │   └──── a newer snapshot, or any other after STALL_MS: from its beginning
 *                           └── the log came another way, or the whole is damaged ──► idle
 */
export class SnapshotReceiver {
  readonly #p: ReceiverPort;
  #transfer: Transfer | null = null;

  constructor(port: ReceiverPort) {
    this.#p = port;
  }

  get receiving(): Readonly<{ index: InstanceId; received: number; total: number }> | null {
    return this.#transfer;
  }

  /** The snapshot, if this piece made it whole. */
  piece(from: NodeId, piece: SnapshotPiece, now: MonoMs): ReturnType<typeof decodeBase> | null {
    const { log, settled, ask } = this.#p;
    const { index, crc, total, offset, data } = piece;
    if (index <= settled()) return null;
    if (crc32(data) !== piece.pieceCrc || offset + data.length > total) {
      log.warn('a piece of a snapshot came damaged', { peer: from, index, offset });
      return null;
    }
    if (total > SNAPSHOT_BYTES_MAX) {
      log.error('snapshot refused: too large', { peer: from, index, total, most: SNAPSHOT_BYTES_MAX });
      return null;
    }
    let transfer = this.#transfer;
    if (transfer?.index !== index || transfer.crc !== crc) {
      if (transfer !== null && index <= transfer.index && now - transfer.progressAt < STALL_MS) return null;
      log.info('receiving a snapshot: what is missing here was purged', { peer: from, index, total });
      transfer = { index, crc, total, pieces: [], received: 0, progressAt: now, from, askedAt: now };
      this.#transfer = transfer;
    }
    if (offset === transfer.received) {
      transfer.pieces.push(data);
      transfer.received += data.length;
      transfer.progressAt = now;
      transfer.from = from;
    } else if (transfer.received > 0) return null; // a piece that came twice
    if (transfer.received < total) {
      transfer.askedAt = now;
      ask(from, { kind: 'snapshotAsk', index, crc, offset: transfer.received });
      return null;
    }
    this.#transfer = null;
    return this.#whole(transfer);
  }

  tick(now: MonoMs): void {
    const transfer = this.#transfer;
    if (transfer === null || now - transfer.askedAt < RETRY_MS) return;
    if (transfer.index <= this.#p.settled()) {
      this.#transfer = null;
      return;
    }
    const { index, crc, received } = transfer;
    const peers = [...this.#p.peersUp()].sort((a, b) => a - b);
    const to = peers.find((peer) => peer > transfer.from) ?? peers[0];
    transfer.askedAt = now;
    if (to === undefined) return;
    transfer.from = to;
    this.#p.ask(to, { kind: 'snapshotAsk', index, crc, offset: received });
  }

  #whole({ index, crc, pieces }: Transfer): ReturnType<typeof decodeBase> | null {
    const bytes = Buffer.concat(pieces);
    try {
      if (crc32(bytes) !== crc) throw new Error('its checksum is wrong');
      const snapshot = decodeBase(bytes);
      if (snapshot.base.appliedIndex === index) return snapshot;
      throw new Error(`it is of ${snapshot.base.appliedIndex}`);
    } catch (error) {
      this.#p.log.error('snapshot dropped', { index, bytes: bytes.length, reason: reasonOf(error) });
      return null;
    }
  }
}
