import type { Client, Metadata, Server, ServiceError } from '@grpc/grpc-js';
import { type NodeId, nodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/ports.ts';
import type { NodeAddress, Security } from '../base/topology.ts';
import { authMetadata, authorised, CHANNEL_OPTIONS, channelCredentials, serviceClass } from '../proto/rpc-channel.ts';
import { toServiceError, UNAUTHENTICATED } from '../proto/rpc-errors.ts';
import { addressToPlain } from './member-codec.ts';
import { fromWire, helloFromWire, toWire, type WireHello, type WireMessage } from './peer-codec.ts';
import { type FrameCall, PeerStream } from './peer-stream.ts';
import {
  type PeerHandler,
  type PeerHello,
  type PeerLink,
  type PeerMessage,
  type PeerTransport,
  valueBytesOf,
} from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';

const PROTOCOL = '1';
/** A dial without a hello is dropped after this and begun anew: a SYN into a black hole is repeated ever more rarely. */
const DIAL_MS = 1000;
/** A refusal said last has this long to leave before the connection is dropped. */
const LINGER_MS = 100;
const LOGGED_REASONS_MAX = 16;
/** A removed node is let go after this: it should hear of its removal first. */
const LET_GO_MS = 1000;
/** Nodes connected that are no members yet. */
const JOINERS_MAX = 8;
const REDIAL_MS_MIN = 100;
const REDIAL_MS_MAX = 1000;
/** Messages with less value bytes than this go ahead of bulk, so that a renewal does not wait behind appends. */
const SMALL_BYTES_MAX = 512;

type DialAddress = Pick<NodeAddress, 'id' | 'host' | 'rpc'>;

export type GrpcPeersOptions = Readonly<{
  cluster: string;
  /** Digest of what all nodes must agree on. */
  checksum: Uint8Array;
  self: DialAddress;
  /** Known by configuration; the log adds to them. */
  nodes: readonly DialAddress[];
  security: Security;
  log: Logger;
}>;

type ExchangeCall = FrameCall & { cancel(): void };
type ExchangeClient = Client & { exchange(metadata: Metadata): ExchangeCall };
type ServerCall = FrameCall & {
  metadata: Metadata;
  emit(event: 'error', error: Partial<ServiceError>): boolean;
  getPeer(): string;
};

/** One side of a pair's two streams. */
type Side = { stream: PeerStream; hello: PeerHello };

type Peer = {
  address: DialAddress;
  /** A node that wants to join: forgotten when it goes away without having become a member. */
  joiner: boolean;
  /** The stream this node dialled, and the one the peer dialled; null until its hello passed. */
  out: Side | null;
  in: Side | null;
  dialling: PeerStream | null;
  redialMs: number;
  redialTimer: NodeJS.Timeout | null;
  letGoTimer: NodeJS.Timeout | null;
  storeId: string;
  reason: string;
  /** Refusals logged since it was last connected. */
  readonly logged: Set<string>;
};

/**
 * The peers of one node over gRPC: each node dials every other and keeps one stream each way. Bulk goes on the server
 * side of the stream its receiver dialled, all else on the client side of the own one; with one stream up it carries all.
 *
 *   idle ──dial──► hello sent ──their hello passes──► up ──stream ends──► idle (redial in 100..1000 ms)
 *                      └── refused, by either side: told in `reason`, redial ──┘
 */
export class GrpcPeers implements PeerTransport {
  readonly #o: GrpcPeersOptions;
  readonly #peers = new Map<NodeId, Peer>();
  /** Streams dialled by others whose hello has not passed. */
  readonly #strangers = new Set<PeerStream>();
  #handler: PeerHandler | null = null;
  #closed = false;

  constructor(options: GrpcPeersOptions) {
    this.#o = options;
    for (const address of options.nodes) {
      if (address.id === options.self.id) continue;
      this.#know(address, false);
    }
  }

  register(server: Server): void {
    server.addService(serviceClass('paxos.proto', 'Peer').service, {
      exchange: (call: ServerCall) => this.#onDialled(call),
    });
  }

  start(handler: PeerHandler): void {
    this.#handler = handler;
    for (const peer of this.#peers.values()) this.#dial(peer);
  }

  send(to: NodeId, message: PeerMessage): void {
    const peer = this.#peers.get(to);
    if (peer === undefined || (peer.out === null && peer.in === null)) return;
    const valueBytes = valueBytesOf(message);
    const bulk = valueBytes > 0;
    const side = bulk ? (peer.in ?? peer.out) : (peer.out ?? peer.in);
    side?.stream.send(toWire(message), valueBytes, valueBytes > SMALL_BYTES_MAX);
  }

  announce(): void {
    for (const { out, in: dialled } of this.#peers.values()) {
      out?.stream.hello(this.#hello());
      dialled?.stream.hello(this.#hello());
    }
  }

  roster({ members, removed }: Pick<ReplicatedState, 'members' | 'removed'>): void {
    for (const { node, address } of members) {
      if (node === this.#o.self.id) continue;
      const peer = this.#peers.get(node);
      if (peer !== undefined) {
        peer.joiner = false;
        // It was removed and came back: who reads all of that at once must not let a member go.
        if (peer.letGoTimer !== null) clearTimeout(peer.letGoTimer);
        peer.letGoTimer = null;
      }
      if (address === undefined) continue;
      const { host, rpc } = address;
      if (peer === undefined) this.#dial(this.#know({ id: node, host, rpc }, false));
      else peer.address = { id: node, host, rpc };
    }
    for (const peer of this.#peers.values()) {
      const isMember = members.some(({ node }) => node === peer.address.id);
      // One that is only configured here and was never met is not dialled for ever either; to join again it dials.
      const wasRemoved = removed.some(
        ({ node, storeId }) => node === peer.address.id && (storeId === peer.storeId || peer.storeId === ''),
      );
      if (isMember || !wasRemoved || peer.letGoTimer !== null) continue;
      peer.letGoTimer = setTimeout(() => this.#letGo(peer, 'this node was removed from the cluster'), LET_GO_MS);
    }
  }

  #know(address: DialAddress, joiner: boolean): Peer {
    const peer: Peer = {
      address,
      joiner,
      out: null,
      in: null,
      dialling: null,
      redialMs: REDIAL_MS_MIN,
      redialTimer: null,
      letGoTimer: null,
      storeId: '',
      reason: 'not connected yet',
      logged: new Set(),
    };
    this.#peers.set(address.id, peer);
    return peer;
  }

  /** Not a peer any more; `reason` is told to it if it is still there. */
  #letGo(peer: Peer, reason: string): void {
    if (this.#peers.get(peer.address.id) !== peer) return;
    this.#peers.delete(peer.address.id);
    this.#quiet(peer);
    this.#o.log.info('peer let go', { peer: peer.address.id, reason });
    for (const side of [peer.out, peer.in]) side?.stream.close(this.#farewell(reason, side.hello));
    peer.dialling?.destroy(reason);
  }

  #quiet(peer: Peer): void {
    if (peer.redialTimer !== null) clearTimeout(peer.redialTimer);
    if (peer.letGoTimer !== null) clearTimeout(peer.letGoTimer);
    peer.letGoTimer = null;
    peer.redialTimer = null;
  }

  peers(): readonly PeerLink[] {
    return [...this.#peers.values()].map((peer) => ({
      node: peer.address.id,
      connected: peer.out !== null || peer.in !== null,
      storeId: peer.storeId,
      reason: peer.out !== null || peer.in !== null ? '' : peer.reason,
    }));
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const peer of this.#peers.values()) {
      this.#quiet(peer);
      for (const stream of [peer.out?.stream, peer.in?.stream, peer.dialling]) stream?.destroy('this node is closing');
    }
    for (const stream of this.#strangers) stream.destroy('this node is closing');
  }

  #dial(peer: Peer): void {
    if (this.#closed || this.#handler === null || peer.out !== null || peer.dialling !== null) return;
    if (peer.redialTimer !== null) clearTimeout(peer.redialTimer);
    peer.redialTimer = null;
    const { address } = peer;
    const Exchange = serviceClass('paxos.proto', 'Peer');
    const client = new Exchange(
      `${address.host}:${address.rpc}`,
      channelCredentials(this.#o.security),
      CHANNEL_OPTIONS,
    ) as unknown as ExchangeClient;
    const call = client.exchange(authMetadata(this.#o.security));
    const destroy = (): void => {
      call.cancel();
      client.close();
    };
    let told = false;
    const stream = new PeerStream(call, destroy, {
      onHello: (wire) => {
        clearTimeout(timer);
        told = true;
        if (this.#onHello(peer, 'out', stream, wire)) peer.redialMs = REDIAL_MS_MIN;
      },
      onMessages: (messages) => this.#onMessages(peer, peer.out, stream, messages),
      onEnd: (reason) => {
        clearTimeout(timer);
        setTimeout(destroy, LINGER_MS).unref();
        if (peer.dialling === stream) peer.dialling = null;
        if (!told) peer.reason = reason;
        this.#onEnd(peer, 'out', stream, reason);
        this.#redial(peer);
      },
    });
    const timer = setTimeout(() => stream.destroy(`no answer within ${DIAL_MS} ms`), DIAL_MS);
    peer.dialling = stream;
    stream.hello(this.#hello());
  }

  #redial(peer: Peer): void {
    if (this.#closed || peer.redialTimer !== null || this.#peers.get(peer.address.id) !== peer) return;
    peer.redialTimer = setTimeout(() => {
      peer.redialTimer = null;
      this.#dial(peer);
    }, peer.redialMs);
    peer.redialMs = Math.min(REDIAL_MS_MAX, peer.redialMs * 2);
  }

  /** A peer, or somebody else, dialled this node. */
  #onDialled(call: ServerCall): void {
    if (!authorised(call.metadata, this.#o.security)) {
      this.#o.log.warn('refused a peer without the cluster secret', { peer: call.getPeer() });
      call.on('error', () => {});
      call.emit('error', toServiceError(UNAUTHENTICATED));
      return;
    }
    if (this.#closed || this.#handler === null) {
      call.end();
      return;
    }
    let peer: Peer | null = null;
    const stream = new PeerStream(
      call,
      () => call.emit('error', toServiceError(new PhxError('UNAVAILABLE', 'dropped'))),
      {
        onHello: (wire) => {
          clearTimeout(timer);
          this.#strangers.delete(stream);
          peer ??= this.#peerOf(wire, stream);
          if (peer === null) return;
          const first = peer.in?.stream !== stream;
          if (!this.#onHello(peer, 'in', stream, wire) || !first) return;
          stream.hello(this.#hello());
          // It is there: no reason to wait with the stream the other way.
          peer.redialMs = REDIAL_MS_MIN;
          this.#dial(peer);
        },
        onMessages: (messages) => {
          if (peer !== null) this.#onMessages(peer, peer.in, stream, messages);
        },
        onEnd: (reason) => {
          clearTimeout(timer);
          this.#strangers.delete(stream);
          if (peer !== null) this.#onEnd(peer, 'in', stream, reason);
        },
      },
    );
    this.#strangers.add(stream);
    const timer = setTimeout(() => stream.destroy(`no hello within ${DIAL_MS} ms`), DIAL_MS);
  }

  #peerOf(wire: WireHello, stream: PeerStream): Peer | null {
    const peer = this.#peers.get(wire.node as NodeId);
    if (peer !== undefined) return peer;
    const reason = this.#objectionToStranger(wire);
    const { joins } = helloFromWire(wire);
    if (reason === null && joins !== undefined) {
      const { host, rpc } = joins;
      return this.#know({ id: nodeId(wire.node), host, rpc }, true);
    }
    this.#o.log.warn('refused a peer', { reason });
    stream.close(this.#farewell(reason ?? 'unknown', helloFromWire(wire)));
    return null;
  }

  /** Null: a node that may join. */
  #objectionToStranger(wire: WireHello): string | null {
    const { self } = this.#o;
    if (wire.node === self.id) return `node id ${wire.node} is this node's own`;
    const hello = helloFromWire(wire);
    const objection = this.#handler?.admit(hello) ?? null;
    if (objection !== null) return objection;
    if (hello.joins === undefined)
      return `node ${wire.node} is not known to node ${self.id}: not in its configuration, no member by the log`;
    const joiners = [...this.#peers.values()].filter(({ joiner }) => joiner).length;
    return joiners < JOINERS_MAX ? null : `${JOINERS_MAX} nodes are joining already`;
  }

  /** Checks a hello; true if it passed. */
  #onHello(peer: Peer, side: 'out' | 'in', stream: PeerStream, wire: WireHello): boolean {
    const handler = this.#handler as PeerHandler;
    if (wire.refused !== '') {
      handler.floors.refused(peer.address.id, wire.confirmed);
      if (wire.removed === true && wire.cluster === this.#o.cluster) handler.removal.told();
      this.#refused(peer, `node ${peer.address.id} refuses this node: ${wire.refused}`);
      stream.destroy(peer.reason);
      return false;
    }
    const hello = helloFromWire(wire);
    const reason = this.#objection(peer, wire) ?? handler.admit(hello);
    if (reason !== null) {
      this.#refused(peer, reason);
      stream.close(this.#farewell(reason, hello));
      return false;
    }
    peer.storeId = hello.storeId;
    peer.logged.clear();
    const known = peer[side];
    if (known?.stream === stream) {
      known.hello = hello;
      handler.onPeerChanged(hello);
      return true;
    }
    if (side === 'out') peer.dialling = null;
    peer[side] = { stream, hello };
    known?.stream.destroy('replaced by a newer stream');
    // A stream of the peer's earlier life is dead, though nobody has noticed yet.
    const other = peer[side === 'out' ? 'in' : 'out'];
    if (other !== null && other.hello.incarnation !== hello.incarnation) {
      other.stream.destroy('the peer was restarted');
    }
    this.#o.log.info('peer connected', { peer: peer.address.id, side, storeId: hello.storeId });
    handler.onPeerUp(hello);
    return true;
  }

  #objection(peer: Peer, wire: WireHello): string | null {
    const { cluster, checksum } = this.#o;
    if (wire.protocol !== PROTOCOL) return `node ${wire.node} speaks protocol ${wire.protocol}, not ${PROTOCOL}`;
    if (wire.cluster !== cluster) return `node ${wire.node} belongs to cluster ${wire.cluster}, not ${cluster}`;
    if (wire.node !== peer.address.id) return `node ${wire.node} answers at the address of node ${peer.address.id}`;
    if (Buffer.compare(wire.checksum, checksum) !== 0) {
      return `the configuration of node ${wire.node} differs in what all nodes must agree on`;
    }
    return null;
  }

  #refused(peer: Peer, reason: string): void {
    // Both ends refuse, each in its own words, once a second: each is logged once until the peer is connected.
    if (!peer.logged.has(reason)) {
      if (peer.logged.size >= LOGGED_REASONS_MAX) peer.logged.clear();
      peer.logged.add(reason);
      this.#o.log.warn('peer refused', { peer: peer.address.id, reason });
    }
    peer.reason = reason;
    peer.redialMs = REDIAL_MS_MAX;
  }

  #onMessages(peer: Peer, side: Side | null, stream: PeerStream, messages: readonly WireMessage[]): void {
    if (side === null || side.stream !== stream) return; // its hello has not passed
    for (const wire of messages) {
      let message: PeerMessage | null;
      try {
        message = fromWire(wire);
      } catch (error) {
        stream.destroy(`bad message: ${reasonOf(error)}`);
        return;
      }
      if (message !== null) this.#handler?.onMessage(peer.address.id, side.hello.storeId, message);
    }
  }

  #onEnd(peer: Peer, side: 'out' | 'in', stream: PeerStream, reason: string): void {
    const was = peer[side];
    if (was?.stream === stream) {
      peer[side] = null;
      peer.reason = reason;
      this.#o.log.info('peer stream ended', { peer: peer.address.id, side, reason });
      if (peer.out !== null || peer.in !== null || this.#closed) return;
      this.#handler?.onPeerDown(peer.address.id);
      if (peer.joiner) this.#letGo(peer, 'it went away before it was a member');
    }
  }

  /** The last words to a node that is refused. */
  #farewell(refused: string, to: PeerHello): WireHello {
    const handler = this.#handler as PeerHandler;
    return { ...this.#hello(), refused, confirmed: handler.floors.wentBack(to), removed: handler.removal.of(to) };
  }

  #hello(): WireHello {
    const hello = (this.#handler as PeerHandler).hello();
    return {
      cluster: this.#o.cluster,
      checksum: this.#o.checksum,
      node: hello.node,
      storeId: hello.storeId,
      durableSeq: hello.durableSeq,
      chosenUpTo: hello.chosenUpTo,
      empty: hello.empty,
      protocol: PROTOCOL,
      refused: '',
      confirmed: 0,
      removed: false,
      founders: hello.founders.map(({ node, storeId }) => ({ node, storeId })),
      incarnation: hello.incarnation,
      ...(hello.leaseAge === null ? {} : { leaseAge: hello.leaseAge }),
      ...(hello.runs === undefined ? {} : { runs: hello.runs }),
      ...(hello.joins === undefined ? {} : { joins: addressToPlain(hello.joins) }),
    };
  }
}
