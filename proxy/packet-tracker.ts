import { CAPABILITY } from '../mysql/capabilities.ts';

const HEADER_BYTES = 4;
/** With any of these what follows the handshake is not plain packets. */
const OPAQUE = CAPABILITY.SSL | CAPABILITY.COMPRESS | CAPABILITY.ZSTD_COMPRESSION_ALGORITHM;

/**
 * Knows whether a spliced session is plain MySQL at a point where a packet of ours may be put in front of the client.
 *
 * Walks the packet headers of the server's bytes (a few ns each) and looks at the capability flags of the client's first
 * packet; whatever it does not understand makes the session opaque for good, which only means a close without a word.
 */
export class PacketTracker {
  #opaque = false;
  #authenticated = false;
  /** Bytes of the current server packet still to come. */
  #bodyLeft = 0;
  /** Bytes of a header cut by the end of a chunk, and the length collected from them. */
  #headerSeen = 0;
  #headerLength = 0;
  #serverSpokeLast = false;

  get opaque(): boolean {
    return this.#opaque;
  }

  fromServer(chunk: Buffer): void {
    if (this.#opaque) return;
    this.#serverSpokeLast = true;
    const end = chunk.length;
    let at = 0;
    while (at < end) {
      if (this.#bodyLeft > 0) {
        const skipped = Math.min(this.#bodyLeft, end - at);
        this.#bodyLeft -= skipped;
        at += skipped;
      } else if (this.#headerSeen === 0 && end - at >= HEADER_BYTES) {
        const next = at + HEADER_BYTES + (chunk[at]! | (chunk[at + 1]! << 8) | (chunk[at + 2]! << 16));
        this.#bodyLeft = Math.max(0, next - end);
        at = Math.min(next, end);
      } else {
        if (this.#headerSeen < 3) this.#headerLength |= chunk[at]! << (8 * this.#headerSeen);
        this.#headerSeen += 1;
        at += 1;
        if (this.#headerSeen === HEADER_BYTES) {
          this.#bodyLeft = this.#headerLength;
          this.#headerSeen = 0;
          this.#headerLength = 0;
        }
      }
    }
  }

  fromClient(chunk: Buffer): void {
    this.#serverSpokeLast = false;
    if (this.#authenticated || this.#opaque) return;
    // The first packet: handshake response or SSL request, `length u24 | sequence | capabilities u32 | ...`.
    this.#authenticated = true;
    const plain =
      chunk.length >= HEADER_BYTES + 32 &&
      chunk[3] === 1 &&
      (chunk.readUInt32LE(4) & CAPABILITY.PROTOCOL_41) !== 0 &&
      (chunk.readUInt32LE(4) & OPAQUE) === 0;
    if (!plain) this.#opaque = true;
  }

  /**
   * The client may get an error packet now: nothing of a packet is under way, and the server spoke last, so no request is
   * unanswered. (A request in flight must hear a lost connection: a COMMIT's outcome is then unknown, not a failure.)
   */
  mayInterject(): boolean {
    return (
      !this.#opaque && this.#authenticated && this.#serverSpokeLast && this.#bodyLeft === 0 && this.#headerSeen === 0
    );
  }
}
