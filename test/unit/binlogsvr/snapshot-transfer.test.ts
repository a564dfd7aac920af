import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { instanceId, monoMs, type NodeId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { Prng } from '../../../base/prng.ts';
import type { SnapshotAsk, SnapshotPiece } from '../../../binlogsvr/peer-transport.ts';
import { SnapshotReceiver } from '../../../binlogsvr/snapshot-receiver.ts';
import { SNAPSHOT_PIECE_BYTES, SnapshotSender } from '../../../binlogsvr/snapshot-sender.ts';
import { initialState, stateToJson } from '../../../binlogsvr/state-machine.ts';
import type { LogBase } from '../../../binlogsvr/store-port.ts';

const NODE1 = nodeId(1);
const NODE2 = nodeId(2);

/** Five pieces or so. */
function bigBase(index: number, bytes = 1_000_000): LogBase {
  const state = { ...initialState(), appliedIndex: instanceId(index), baseline: { node: NODE1, gtidSet: '' } };
  const formatDescription = Buffer.from(new Prng(index).bytes(bytes)).toString('base64');
  return { appliedIndex: instanceId(index), json: stateToJson(state), formatDescription };
}

/** Two senders and a receiver; what is sent waits in `wire` until it is handed on. */
class Link {
  now = 0;
  settled = 0;
  readonly bases = new Map<NodeId, LogBase>();
  readonly up = new Set<NodeId>([NODE1, NODE2]);
  pieces: { from: NodeId; piece: SnapshotPiece }[] = [];
  asks: { to: NodeId; ask: SnapshotAsk }[] = [];
  readonly senders = new Map(
    [NODE1, NODE2].map((node) => [
      node,
      new SnapshotSender(
        () => this.bases.get(node) ?? null,
        (_, piece) => this.pieces.push({ from: node, piece }),
      ),
    ]),
  );
  readonly receiver = new SnapshotReceiver({
    log: silentLogger,
    settled: () => instanceId(this.settled),
    peersUp: () => [...this.up],
    ask: (to, ask) => this.asks.push({ to, ask }),
  });

  /** Hands pieces and asks on until nothing moves; `tamper` may change a piece or drop it. */
  run(tamper: (piece: SnapshotPiece) => SnapshotPiece | null = (piece) => piece): LogBase | null {
    for (;;) {
      const next = this.pieces.shift();
      if (next !== undefined) {
        const piece = tamper(next.piece);
        const whole = piece === null ? null : this.receiver.piece(next.from, piece, monoMs(this.now));
        expect(this.asks.length).toBeLessThan(2); // one piece under way
        if (whole !== null) return whole.base;
        continue;
      }
      const asked = this.asks.shift();
      if (asked === undefined) return null;
      this.senders.get(asked.to)?.answer(nodeId(3), asked.ask);
    }
  }

  tick(ms: number): void {
    this.now += ms;
    this.receiver.tick(monoMs(this.now));
  }
}

function begun(): { link: Link; base: LogBase } {
  const link = new Link();
  const base = bigBase(500);
  link.bases.set(NODE1, base);
  link.senders.get(NODE1)?.begin(nodeId(3));
  return { link, base };
}

describe('a snapshot transfer', () => {
  test('comes in bounded pieces, one at a time', () => {
    const { link, base } = begun();
    const sizes: number[] = [];
    const got = link.run((piece) => {
      sizes.push(piece.data.length);
      return piece;
    });
    expect(got).toEqual(base);
    expect(sizes.length).toBeGreaterThan(4);
    expect(Math.max(...sizes)).toBe(SNAPSHOT_PIECE_BYTES);
  });

  test('goes on where it was, with the next peer that has the same', () => {
    const { link, base } = begun();
    link.bases.set(NODE2, base);
    let handed = 0;
    expect(link.run((piece) => (++handed <= 3 ? piece : null))).toBeNull();
    link.up.delete(NODE1);
    link.tick(600);
    expect(link.asks).toEqual([{ to: NODE2, ask: expect.objectContaining({ offset: 3 * SNAPSHOT_PIECE_BYTES }) }]);
    const offsets: number[] = [];
    const got = link.run((piece) => {
      offsets.push(piece.offset);
      return piece;
    });
    expect(got).toEqual(base);
    expect(offsets[0]).toBe(3 * SNAPSHOT_PIECE_BYTES);
  });

  test('a damaged piece is asked for again; a damaged whole is begun anew', () => {
    const { link, base } = begun();
    let flipped = false;
    const flip = (piece: SnapshotPiece): SnapshotPiece => {
      if (flipped || piece.offset === 0) return piece;
      flipped = true;
      const data = Buffer.from(piece.data);
      data[7] = (data[7] as number) ^ 0x20;
      return { ...piece, data };
    };
    expect(link.run(flip)).toBeNull();
    link.tick(600); // node 2 has none
    expect(link.run()).toBeNull();
    link.tick(600);
    expect(link.run()).toEqual(base);

    // A piece that was damaged before its sender looked at it has a right checksum of its own.
    const again = begun();
    const damage = (piece: SnapshotPiece): SnapshotPiece => {
      if (piece.offset === 0) return piece;
      const data = Buffer.from(piece.data);
      data[7] = (data[7] as number) ^ 0x20;
      return { ...piece, data, pieceCrc: crc32(data) };
    };
    expect(again.link.run(damage)).toBeNull();
    expect(again.link.receiver.receiving).toBeNull();
    again.link.senders.get(NODE1)?.begin(nodeId(3));
    expect(again.link.run()).toEqual(again.base);
  });

  test('the sender purged further: the newer one is taken from its beginning', () => {
    const { link } = begun();
    let handed = 0;
    link.run((piece) => (++handed <= 2 ? piece : null));
    const newer = bigBase(900);
    link.bases.set(NODE1, newer);
    link.up.delete(NODE2);
    link.tick(600);
    expect(link.run()).toEqual(newer);
  });

  test('an older one is taken only when nothing else comes any more', () => {
    const { link } = begun();
    const older = bigBase(400);
    let handed = 0;
    link.run((piece) => (++handed <= 2 ? piece : null));
    link.bases.set(NODE2, older);
    link.up.delete(NODE1);
    link.tick(600);
    expect(link.run()).toBeNull();
    expect(link.receiver.receiving?.index).toBe(500);
    link.tick(3000);
    expect(link.run()).toEqual(older);
  });

  test('is given up when the log comes another way, and refused when too large', () => {
    const { link } = begun();
    link.run((piece) => (piece.offset === 0 ? piece : null));
    link.settled = 600;
    link.tick(600);
    expect(link.receiver.receiving).toBeNull();
    expect(link.asks).toEqual([]);
    const large = begun().link;
    expect(large.run((piece) => ({ ...piece, total: 2 ** 30 }))).toBeNull();
    expect(large.receiver.receiving).toBeNull();
  });
});
