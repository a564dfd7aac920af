import type { NodeId } from '../../base/brands.ts';
import type { Prng } from '../../base/prng.ts';
import type { Kernel } from './kernel.ts';
import type { SimPeers } from './peers.ts';
import type { Tally } from './tally.ts';

/** How a seed's network is. Chances are per message, in 1/1000. */
export type NetworkProfile = Readonly<{
  /** One way, from..to. */
  delayMs: readonly [number, number];
  lossChance: number;
  duplicateChance: number;
  /** Messages that may be overtaken: they take up to `lateMsMax` longer. */
  lateChance: number;
  lateMsMax: number;
}>;

/** Messages a blocked direction keeps, as TCP does, to deliver when it is open again. */
const HELD_MAX = 64;
/** Keepalive (proto/rpc-channel.ts): after this long without an answer a connection is given up, by each side for itself. */
const KEEPALIVE_MS: readonly [number, number] = [1000, 2000];
/** A connection reset is heard of after this. */
const RESET_MS_MAX = 20;

type Held = Readonly<{ deliver: () => void; stillWanted: () => boolean }>;

/** Carries what nodes say to each other, or does not. Blocked directions are of node pairs, one way each. */
export class SimNetwork {
  readonly kernel: Kernel;
  readonly random: Prng;
  readonly tally: Tally;
  /** The live binlogsvr of each node. */
  readonly servers = new Map<NodeId, SimPeers>();
  readonly #blocked = new Map<string, Held[]>();
  /** When the last message of a direction arrives: what is not late stays in order. */
  readonly #lastAt = new Map<string, number>();
  #profile: NetworkProfile;

  constructor(kernel: Kernel, profile: NetworkProfile, tally: Tally) {
    this.kernel = kernel;
    this.random = kernel.fork();
    this.#profile = profile;
    this.tally = tally;
  }

  isBlocked(from: NodeId, to: NodeId): boolean {
    return this.#blocked.has(wayOf(from, to));
  }

  /** Nothing gets from one to the other any more; connections between them are given up after a while. */
  block(from: NodeId, to: NodeId): void {
    const way = wayOf(from, to);
    if (this.#blocked.has(way)) return;
    const held: Held[] = [];
    this.#blocked.set(way, held);
    for (const [node, other] of [
      [from, to],
      [to, from],
    ] as const) {
      this.kernel.at(this.#between(KEEPALIVE_MS), () => {
        if (this.#blocked.get(way) === held) this.servers.get(node)?.silent(other);
      });
    }
  }

  unblock(from: NodeId, to: NodeId): void {
    const held = this.#blocked.get(wayOf(from, to));
    this.#blocked.delete(wayOf(from, to));
    for (const { deliver, stillWanted } of held ?? []) {
      this.kernel.at(this.#between([0.1, 200]), () => {
        if (stillWanted()) deliver();
      });
    }
  }

  /** All ways open, nothing lost, doubled or late from now on. */
  heal(): void {
    for (const way of [...this.#blocked.keys()]) {
      const [from, to] = way.split('>').map(Number) as [NodeId, NodeId];
      this.unblock(from, to);
    }
    this.#profile = { ...this.#profile, lossChance: 0, duplicateChance: 0, lateChance: 0 };
  }

  /** `reliable`: it is part of a connection (a hello, an end), which loses nothing but by ending. */
  carry(from: NodeId, to: NodeId, reliable: boolean, deliver: () => void, stillWanted: () => boolean): void {
    const { random, tally } = this;
    const p = this.#profile;
    const held = this.#blocked.get(wayOf(from, to));
    if (held !== undefined) {
      if (held.length < HELD_MAX) held.push({ deliver, stillWanted });
      return;
    }
    if (!reliable && random.below(1000) < p.lossChance) {
      tally.add('message lost');
      return;
    }
    let copies = 1;
    if (!reliable && random.below(1000) < p.duplicateChance) {
      tally.add('message doubled');
      copies = 2;
    }
    for (; copies > 0; copies -= 1) {
      const late = !reliable && random.below(1000) < p.lateChance;
      if (late) tally.add('message late');
      const way = wayOf(from, to);
      const delay = this.#between(p.delayMs) + (late ? random.below(p.lateMsMax) : 0);
      let at = this.kernel.now + delay;
      if (!late) {
        at = Math.max(at, this.#lastAt.get(way) ?? 0);
        this.#lastAt.set(way, at);
      }
      this.kernel.at(at - this.kernel.now, () => {
        if (!stillWanted()) return;
        // Cut off while it was under way.
        const now = this.#blocked.get(way);
        if (now === undefined) deliver();
        else if (now.length < HELD_MAX) now.push({ deliver, stillWanted });
      });
    }
  }

  /** The other side of a connection hears that it ended: soon, by a reset; or, if that cannot arrive, by silence. */
  tellEnd(from: NodeId, to: NodeId, silently: boolean, heard: () => void): void {
    const soon = !silently && !this.isBlocked(from, to);
    this.kernel.at(soon ? this.#between([0.05, RESET_MS_MAX]) : this.#between(KEEPALIVE_MS), heard);
  }

  #between([from, to]: readonly [number, number]): number {
    return from + ((to - from) * this.random.below(10_000)) / 10_000;
  }
}

const wayOf = (from: NodeId, to: NodeId): string => `${from}>${to}`;
