import type { NodeId } from '../../base/brands.ts';
import { fromWire, toWire, type WireMessage } from '../../binlogsvr/peer-codec.ts';
import {
  type PeerHandler,
  type PeerHello,
  type PeerLink,
  type PeerMessage,
  type PeerTransport,
  valueBytesOf,
} from '../../binlogsvr/peer-transport.ts';
import type { ReplicatedState } from '../../binlogsvr/state-types.ts';
import type { SimNetwork } from './network.ts';
import type { SimProcess } from './process.ts';

/** As in binlogsvr/peers.ts, which this stands for. */
const DIAL_MS = 1000;
const REDIAL_MS_MIN = 100;
const REDIAL_MS_MAX = 1000;
const LET_GO_MS = 1000;
const JOINERS_MAX = 8;

/** One side's end of a connection. */
class End {
  readonly owner: SimPeers;
  readonly peer: NodeId;
  other: End | null = null;
  open = true;
  /** The other side's word, once it passed. */
  hello: PeerHello | null = null;

  constructor(owner: SimPeers, peer: NodeId) {
    this.owner = owner;
    this.peer = peer;
  }
}

type Peer = {
  readonly node: NodeId;
  /** A node that wants to join: forgotten when it goes away without having become a member. */
  joiner: boolean;
  /** The connection this node dialled, and the one the peer dialled; null until its hello passed. */
  out: End | null;
  in: End | null;
  dialling: End | null;
  redialMs: number;
  cancelRedial: (() => void) | null;
  cancelLetGo: (() => void) | null;
  storeId: string;
  reason: string;
};

/**
 * The peers of one node over the simulated network, with the life of a connection as GrpcPeers has it: each node dials every
 * other it knows by configuration, by the log, or because that dialled it to join; a connection carries nothing before both
 * hellos passed; either side notices its end for itself.
 *
 *   idle ──dial──► hello sent ──their hello passes──► up ──ends──► idle (redial in 100..1000 ms)
 *                      └── refused, by either side: told why, and how far its store once was; redial ──┘
 */
export class SimPeers implements PeerTransport {
  readonly node: NodeId;
  readonly #network: SimNetwork;
  readonly #process: SimProcess;
  readonly #peers = new Map<NodeId, Peer>();
  /** Ends of connections others dialled, and own ones, until they are closed. */
  readonly #ends = new Set<End>();
  #handler: PeerHandler | null = null;
  #closed = false;

  constructor(network: SimNetwork, process: SimProcess, node: NodeId, nodes: readonly NodeId[]) {
    this.#network = network;
    this.#process = process;
    this.node = node;
    for (const peer of nodes) if (peer !== node) this.#know(peer, false);
    process.onDeath(() => this.died(false));
  }

  start(handler: PeerHandler): void {
    this.#handler = handler;
    this.#network.servers.set(this.node, this);
    for (const peer of this.#peers.values()) this.#dial(peer);
  }

  send(to: NodeId, message: PeerMessage): void {
    const peer = this.#peers.get(to);
    if (peer === undefined || !this.#process.alive) return;
    const bulk = valueBytesOf(message) > 0;
    const end = bulk ? (peer.in ?? peer.out) : (peer.out ?? peer.in);
    if (end === null) return;
    // Both halves of the codec; protobuf between them only adds the name of the one field that is set.
    const wire: WireMessage = { ...toWire(message), body: message.kind };
    this.#network.kernel.trace(`node ${this.node}`, () => `sends to ${to}: ${describeMessage(message)}`);
    this.#carry(end, false, (other) => other.owner.#onMessage(other, wire));
  }

  announce(): void {
    for (const peer of this.#peers.values()) {
      for (const end of [peer.out, peer.in]) if (end !== null) this.#sayHello(end);
    }
  }

  roster({ members, removed }: Pick<ReplicatedState, 'members' | 'removed'>): void {
    if (this.#closed) return;
    for (const { node, address } of members) {
      if (node === this.node) continue;
      const peer = this.#peers.get(node);
      if (peer !== undefined) {
        peer.joiner = false;
        peer.cancelLetGo?.();
        peer.cancelLetGo = null;
      } else if (address !== undefined) this.#dial(this.#know(node, false));
    }
    for (const peer of this.#peers.values()) {
      const isMember = members.some(({ node }) => node === peer.node);
      const wasRemoved = removed.some(
        ({ node, storeId }) => node === peer.node && (storeId === peer.storeId || peer.storeId === ''),
      );
      if (isMember || !wasRemoved || peer.cancelLetGo !== null) continue;
      peer.cancelLetGo = this.#process.clock.after(LET_GO_MS, () =>
        this.#letGo(peer, 'this node was removed from the cluster'),
      );
    }
  }

  #know(node: NodeId, joiner: boolean): Peer {
    const peer: Peer = {
      node,
      joiner,
      out: null,
      in: null,
      dialling: null,
      redialMs: REDIAL_MS_MIN,
      cancelRedial: null,
      cancelLetGo: null,
      storeId: '',
      reason: 'not connected yet',
    };
    this.#peers.set(node, peer);
    return peer;
  }

  /** Not a peer any more; `reason` is told to it if it is still there. */
  #letGo(peer: Peer, reason: string): void {
    if (this.#peers.get(peer.node) !== peer) return;
    this.#peers.delete(peer.node);
    peer.cancelRedial?.();
    peer.cancelLetGo?.();
    this.#network.kernel.trace(`node ${this.node}`, () => `lets node ${peer.node} go: ${reason}`);
    const up = peer.out !== null || peer.in !== null;
    for (const end of [...this.#ends]) if (end.peer === peer.node) this.#refuse(end, reason, end.hello);
    if (up) this.#handler?.onPeerDown(peer.node);
  }

  peers(): readonly PeerLink[] {
    return [...this.#peers.values()].map((peer) => {
      const connected = peer.out !== null || peer.in !== null;
      return { node: peer.node, connected, storeId: peer.storeId, reason: connected ? '' : peer.reason };
    });
  }

  async close(): Promise<void> {
    this.died(false);
  }

  /** Its process is gone: what was under way arrives, the others hear of the end sooner or later. */
  died(silently: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#network.servers.get(this.node) === this) this.#network.servers.delete(this.node);
    for (const end of [...this.#ends]) this.#close(end, silently);
  }

  /** Keepalive: nothing has been heard of that peer for too long. */
  silent(peer: NodeId): void {
    this.#process.deliver(() => {
      for (const end of [...this.#ends]) if (end.peer === peer) this.#end(end, 'silent for too long', false);
    });
  }

  /** A connection is reset by something between the nodes. */
  reset(peer: NodeId): void {
    for (const end of [...this.#ends]) {
      if (end.peer === peer) this.#process.deliver(() => this.#end(end, 'reset', false));
    }
  }

  #dial(peer: Peer): void {
    if (this.#closed || this.#handler === null || peer.out !== null || peer.dialling !== null) return;
    if (this.#peers.get(peer.node) !== peer) return;
    peer.cancelRedial?.();
    peer.cancelRedial = null;
    const end = new End(this, peer.node);
    peer.dialling = end;
    this.#ends.add(end);
    const hello = this.#handler.hello();
    this.#network.carry(
      this.node,
      peer.node,
      true,
      () => {
        const target = this.#network.servers.get(peer.node);
        if (target === undefined) this.#process.deliver(() => this.#end(end, 'connection refused', true));
        else target.#process.deliver(() => target.#onDialled(end, hello));
      },
      () => end.open,
    );
    this.#process.clock.after(DIAL_MS, () => {
      if (peer.dialling === end) this.#end(end, `no answer within ${DIAL_MS} ms`, false);
    });
  }

  #onDialled(dialled: End, hello: PeerHello): void {
    if (this.#closed || !dialled.open) return;
    const peer = this.#peerOf(hello, dialled);
    if (peer === null) return;
    const end = new End(this, peer.node);
    end.other = dialled;
    dialled.other = end;
    this.#ends.add(end);
    if (!this.#onHello(peer, 'in', end, hello)) return;
    this.#sayHello(end);
    // It is there: no reason to wait with the connection the other way.
    peer.redialMs = REDIAL_MS_MIN;
    this.#dial(peer);
  }

  /** Null: a stranger, who is told why. */
  #peerOf(hello: PeerHello, dialled: End): Peer | null {
    const peer = this.#peers.get(hello.node);
    if (peer !== undefined) return peer;
    const joiners = [...this.#peers.values()].filter(({ joiner }) => joiner).length;
    const reason =
      this.#handler?.admit(hello) ??
      (hello.joins === undefined ? `node ${hello.node} is not known to node ${this.node}` : null) ??
      (joiners < JOINERS_MAX ? null : 'too many nodes are joining already');
    if (reason === null) return this.#know(hello.node, true);
    this.#tellRefusal(dialled, reason, hello);
    return null;
  }

  #sayHello(end: End): void {
    const hello = (this.#handler as PeerHandler).hello();
    this.#carry(end, true, (other) => other.owner.#heardHello(other, hello));
  }

  #heardHello(end: End, hello: PeerHello): void {
    const peer = this.#peers.get(end.peer);
    if (peer === undefined) return;
    const side = peer.in === end ? 'in' : 'out';
    if (this.#onHello(peer, side, end, hello)) peer.redialMs = REDIAL_MS_MIN;
  }

  /** Checks a hello; true if it passed. */
  #onHello(peer: Peer, side: 'out' | 'in', end: End, hello: PeerHello): boolean {
    const handler = this.#handler as PeerHandler;
    const reason = handler.admit(hello);
    if (reason !== null) {
      this.#network.kernel.trace(`node ${this.node}`, () => `refuses node ${peer.node}: ${reason}`);
      peer.reason = reason;
      peer.redialMs = REDIAL_MS_MAX;
      this.#refuse(end, reason, hello);
      return false;
    }
    peer.storeId = hello.storeId;
    const known = peer[side];
    if (known === end) {
      end.hello = hello;
      handler.onPeerChanged(hello);
      return true;
    }
    if (side === 'out') peer.dialling = null;
    end.hello = hello;
    peer[side] = end;
    if (known !== null) this.#end(known, 'replaced by a newer connection', false);
    // A connection of the peer's earlier life is dead, though nobody has noticed yet.
    const other = peer[side === 'out' ? 'in' : 'out'];
    if (other !== null && other.hello?.incarnation !== hello.incarnation) this.#end(other, 'peer was restarted', false);
    handler.onPeerUp(hello);
    return true;
  }

  /** Ends a connection with a word to the other side, whose `hello` was the last: why, and what is known of its store. */
  #refuse(end: End, reason: string, hello: PeerHello | null): void {
    const { other } = end;
    this.#end(end, reason, false, other !== null);
    if (other !== null) this.#tellRefusal(other, reason, hello);
  }

  #tellRefusal(other: End, reason: string, hello: PeerHello | null): void {
    const handler = this.#handler as PeerHandler;
    const to = other.owner.node;
    const confirmed = hello === null ? 0 : handler.floors.wentBack(hello);
    const removed = hello !== null && handler.removal.of(hello);
    const tell = (heard: () => void) => () => other.owner.#process.deliver(() => other.open && heard());
    const refused = tell(() => other.owner.#heardRefusal(other, reason, confirmed, removed));
    this.#network.carry(this.node, to, true, refused, () => other.open);
    // It may never arrive: then the other side hears nothing any more.
    const silence = tell(() => other.owner.#end(other, 'silent for too long', false));
    this.#network.tellEnd(this.node, to, true, silence);
  }

  #heardRefusal(end: End, reason: string, confirmed: number, removed: boolean): void {
    this.#handler?.floors.refused(end.peer, confirmed);
    if (removed) this.#handler?.removal.told();
    const peer = this.#peers.get(end.peer);
    if (peer !== undefined) peer.redialMs = REDIAL_MS_MAX;
    this.#end(end, `node ${end.peer} refuses this node: ${reason}`, true, true);
  }

  #onMessage(end: End, wire: WireMessage): void {
    if (end.hello === null) return; // its hello has not passed
    const message = fromWire(wire);
    if (message !== null) this.#handler?.onMessage(end.peer, end.hello.storeId, message);
  }

  /** This side gives the connection up, or hears that the other did. `told`: the other side hears of it another way. */
  #end(end: End, reason: string, refused: boolean, told = false): void {
    if (!end.open) return;
    if (told) this.#forget(end);
    else this.#close(end, false);
    const peer = this.#peers.get(end.peer);
    if (peer === undefined) return;
    const wasDialled = peer.dialling === end || peer.out === end;
    const wasUp = peer.out === end || peer.in === end;
    if (peer.dialling === end) peer.dialling = null;
    if (peer.out === end) peer.out = null;
    if (peer.in === end) peer.in = null;
    if (wasUp || refused) peer.reason = reason;
    if (wasUp && peer.out === null && peer.in === null && !this.#closed) {
      this.#handler?.onPeerDown(peer.node);
      if (peer.joiner) this.#letGo(peer, 'it went away before it was a member');
    }
    if (this.#peers.get(peer.node) !== peer) return;
    if (wasDialled && !this.#closed && peer.cancelRedial === null) {
      peer.cancelRedial = this.#process.clock.after(peer.redialMs, () => {
        peer.cancelRedial = null;
        this.#dial(peer);
      });
      peer.redialMs = Math.min(REDIAL_MS_MAX, peer.redialMs * 2);
    }
  }

  #forget(end: End): void {
    end.open = false;
    this.#ends.delete(end);
  }

  #close(end: End, silently: boolean): void {
    this.#forget(end);
    const { other } = end;
    if (other === null) return;
    this.#network.tellEnd(this.node, end.peer, silently, () => {
      other.owner.#process.deliver(() => other.owner.#end(other, 'closed by the peer', false));
    });
  }

  #carry(end: End, reliable: boolean, deliver: (other: End) => void): void {
    this.#network.carry(
      this.node,
      end.peer,
      reliable,
      () => {
        const { other } = end;
        if (other?.open) other.owner.#process.deliver(() => other.open && deliver(other));
      },
      () => end.other?.open ?? false,
    );
  }
}

export function describeMessage(message: PeerMessage): string {
  switch (message.kind) {
    case 'accept':
      return `accept ballot ${message.ballot} instances ${message.entries.map((e) => e.instance).join(',')} chosen ${message.chosenUpTo}`;
    case 'learned':
      return `learned ${message.entries.map((e) => e.instance).join(',')} chosen ${message.chosenUpTo}`;
    case 'promise':
      return `promise ballot ${message.ballot} chosen ${message.chosenUpTo} accepted ${message.accepted.map((e) => `${e.instance}@${e.ballot}`).join(',')}`;
    default:
      return JSON.stringify(message);
  }
}
