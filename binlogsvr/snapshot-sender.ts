import { crc32 } from 'node:zlib';
import type { NodeId } from '../base/brands.ts';
import { encodeBase } from './log-base.ts';
import type { SnapshotAsk, SnapshotPiece } from './peer-transport.ts';
import type { LogBase } from './store-port.ts';

/** One answer; the next leaves when it is asked for. */
export const SNAPSHOT_PIECE_BYTES = 256 * 1024;

type Encoded = Readonly<{ base: LogBase; bytes: Buffer; crc: number }>;

/**
 * What a peer gets that asks for purged instances: the base of this node's log, piece by piece as it asks for them. Nothing is
 * remembered about the peer: it says itself where it is, and begins anew if the log was purged further meanwhile.
 */
export class SnapshotSender {
  readonly #base: () => LogBase | null;
  readonly #send: (to: NodeId, piece: SnapshotPiece) => void;
  #encoded: Encoded | null = null;

  constructor(base: () => LogBase | null, send: (to: NodeId, piece: SnapshotPiece) => void) {
    this.#base = base;
    this.#send = send;
  }

  /** The first piece. */
  begin(to: NodeId): void {
    this.#piece(to, 0);
  }

  answer(to: NodeId, ask: SnapshotAsk): void {
    const encoded = this.#current();
    const same = encoded?.base.appliedIndex === ask.index && encoded.crc === ask.crc;
    this.#piece(to, same && ask.offset < encoded.bytes.length ? ask.offset : 0);
  }

  #piece(to: NodeId, offset: number): void {
    const encoded = this.#current();
    if (encoded === null) return;
    const { base, bytes, crc } = encoded;
    const data = bytes.subarray(offset, offset + SNAPSHOT_PIECE_BYTES);
    this.#send(to, {
      kind: 'snapshot',
      index: base.appliedIndex,
      crc,
      total: bytes.length,
      offset,
      pieceCrc: crc32(data),
      data,
    });
  }

  #current(): Encoded | null {
    const base = this.#base();
    if (base === null) return null;
    if (this.#encoded?.base !== base) {
      const bytes = encodeBase(base);
      this.#encoded = { base, bytes, crc: crc32(bytes) };
    }
    return this.#encoded;
  }
}
