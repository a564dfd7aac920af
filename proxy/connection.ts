import { connect, type Socket } from 'node:net';
import type { MonoMs } from '../base/brands.ts';
import { invariant } from '../base/invariant.ts';
import type { Clock } from '../base/ports.ts';
import { encodeRefusal, encodeSessionOver, type RefusalCode } from './client-error.ts';
import type { LeaseGuard } from './lease-guard.ts';
import type { ProxyLimits } from './limits.ts';
import { PacketTracker } from './packet-tracker.ts';
import type { Route } from './router.ts';
import type { Backend } from './view.ts';

/**
 * One client connection, from accept to close.
 *
 *            ┌─ target ──────────────┐           first bytes
 *   waiting ─┤                       ▼ ┌─ of the server ─► spliced ─┐ server ended
 *    ▲  │    └────────────────► opening ─┤                  │        ▼
 *    │  └─ deadline: ERR ─► closing      │                  │     closing ─► closed
 *    └─── not reachable, epoch over ─────┘                  └─ cut, client gone ─► closed
 *
 * A MySQL server speaks first, so until its first bytes the client has seen nothing and another server may be tried; what
 * the client sent too early is kept and sent behind. From then on bytes pass unread, but for the packet headers of the
 * server (packet-tracker.ts).
 */
export type ConnectionState = 'waiting' | 'opening' | 'spliced' | 'closing' | 'closed';

const NEXT: Readonly<Record<ConnectionState, readonly ConnectionState[]>> = {
  waiting: ['opening', 'closing', 'closed'],
  opening: ['waiting', 'spliced', 'closing', 'closed'],
  spliced: ['closing', 'closed'],
  closing: ['closed'],
  closed: [],
};

/** What a client may send before its server has spoken; more stays in the kernel. */
const EARLY_BYTES_MAX = 16 * 1024;
/** Between two tries to reach a backend that is said to be up. */
const RETRY_MS = 100;
/** A read-only connection leaves a slave that accepts but does not greet this long, if there is another. */
const READ_GREETING_MS = 1000;
/** After our last byte was taken by the kernel: how long a client has to close its side. */
const LINGER_MS = 1000;
/** How long a client may take to read what was queued for it when its server ended. */
const FLUSH_MS = 30_000;
/** How long a server may go on answering a client that has closed its side; one that is gone altogether looks the same. */
const HALF_CLOSED_MS = 60_000;
const KEEPALIVE_MS = 30_000;

/** What a connection asks of its port (port.ts). */
export interface ConnectionHost {
  readonly kind: 'rw' | 'ro';
  readonly clock: Clock;
  readonly limits: ProxyLimits;
  readonly guard: LeaseGuard;
  /** Every backend of a worker reads into it; a chunk is copied before the event loop turns. */
  readonly readBuffer: Buffer;
  route(avoid: ReadonlySet<number>): Route;
  /** Lists a connection that has nowhere to go now, to be told by retry(); false when too many wait already. */
  startWait(connection: ProxyConnection): boolean;
  readonly waiting: number;
  /** Closes a server's socket soon, when there is nothing more urgent. */
  discard(backend: Socket): void;
  /** After each change of `connection.state`. */
  moved(connection: ProxyConnection, from: ConnectionState): void;
}

export class ProxyConnection {
  readonly #client: Socket;
  readonly #host: ConnectionHost;
  readonly #tracker = new PacketTracker();
  readonly #acceptedAt: MonoMs;
  #state: ConnectionState = 'waiting';
  #backend: Socket | null = null;
  #target: Backend | null = null;
  #epoch = 0;
  #connected = false;
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #reason = '';
  /** Read-only: slaves tried in vain since the last pause. */
  readonly #avoid = new Set<number>();
  #wasCut = false;
  #cancelDeadline: () => void;
  #cancelTimer: () => void = () => {};

  /** `client` was accepted with allowHalfOpen and noDelay. */
  constructor(client: Socket, host: ConnectionHost) {
    this.#client = client;
    this.#host = host;
    this.#acceptedAt = host.clock.now();
    this.#cancelDeadline = host.clock.after(this.#waitMs, () => this.#onDeadline());
    client.on('data', (chunk: Buffer) => this.#onClientData(chunk));
    client.on('end', () => this.#onClientEnd());
    client.on('drain', () => this.#backend?.resume());
    client.on('error', () => {}); // 'close' follows
    client.on('close', () => this.#finish());
    this.#tryOpen();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Where it is connected or connecting to, 0 = nowhere. */
  get node(): number {
    return this.#target?.node ?? 0;
  }

  /** The epoch its target was chosen under. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Its session was ended by cut(). */
  get wasCut(): boolean {
    return this.#wasCut;
  }

  /** Something changed: look again for a target. */
  retry(): void {
    if (this.#state === 'waiting') this.#tryOpen();
  }

  /**
   * The server this session talks to may no longer be talked to. The client gets `farewell` (an error packet) where that is
   * possible (idle, plain text), else it only sees its connection closed; nothing queued is waited for.
   */
  cut(reason: string, farewell: Buffer | null): void {
    if (this.#state === 'opening') {
      this.#openFailed(reason);
      return;
    }
    if (this.#state !== 'spliced') return;
    this.#wasCut = true;
    if (farewell !== null && this.#client.writableLength === 0 && this.#tracker.mayInterject()) {
      // What the kernel does not take at once is not worth waiting for: the client has not been reading.
      this.#client.write(farewell);
    }
    // Clients first: of thousands of sessions each waits for the ones before it. No byte of `backend` passes from here on.
    const backend = this.#backend;
    this.#backend = null;
    if (backend !== null) this.#host.discard(backend);
    this.#finish();
  }

  /** Without a word, whatever its state. */
  close(): void {
    this.#finish();
  }

  get #waitMs(): number {
    const { limits, kind } = this.#host;
    return kind === 'rw' ? limits.writeWaitMs : limits.readWaitMs;
  }

  #move(to: ConnectionState): void {
    invariant(NEXT[this.#state].includes(to), `proxy connection ${this.#state} -> ${to}`);
    this.#cancelTimer();
    const from = this.#state;
    this.#state = to;
    this.#host.moved(this, from);
  }

  // --- finding a server

  #tryOpen(): void {
    const route = this.#host.route(this.#avoid);
    if (route.kind === 'target') {
      this.#open(route.target, route.epoch);
      return;
    }
    // All slaves were tried in vain: a pause, then all over again. The failed try is the more telling reason.
    const pause = this.#avoid.size > 0;
    this.#avoid.clear();
    this.#wait(pause ? this.#reason : route.reason, pause);
  }

  /** Until the next view, or with `pause` for a moment. */
  #wait(reason: string, pause: boolean): void {
    const { clock, limits } = this.#host;
    this.#reason = reason;
    if (!this.#host.startWait(this)) {
      this.#refuse('TOO_MANY_WAITING', `${limits.waitingMax} connections wait already: ${reason}`);
      return;
    }
    this.#cancelTimer();
    // The more wait, the less often each tries: at most about a thousand attempts a second, whatever the number.
    if (pause) this.#cancelTimer = clock.after(RETRY_MS + this.#host.waiting, () => this.#tryOpen());
  }

  #open(target: Backend, epoch: number): void {
    const { clock, limits, readBuffer } = this.#host;
    this.#target = target;
    this.#epoch = epoch;
    this.#connected = false;
    this.#move('opening');
    const backend: Socket = connect({
      host: target.host,
      port: target.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
      allowHalfOpen: true,
      onread: {
        buffer: readBuffer,
        callback: (length) => this.#backend === backend && this.#onServerData(backend, length),
      },
    });
    this.#backend = backend;
    let why = 'it closed the connection without a word';
    backend.on('connect', () => {
      if (this.#backend !== backend || this.#state !== 'opening') return;
      this.#connected = true;
      this.#cancelTimer();
      if (this.#host.kind === 'ro') {
        this.#cancelTimer = clock.after(READ_GREETING_MS, () => this.#onSlowGreeting(target));
      }
    });
    backend.on('drain', () => this.#client.resume());
    backend.on('error', (error) => {
      why = error.message;
    });
    const over = (): void => {
      if (this.#backend !== backend) return;
      if (this.#state === 'opening') this.#openFailed(`mysqld of node ${target.node}: ${why}`);
      else if (this.#state === 'spliced') this.#serverEnded();
    };
    backend.on('end', over);
    backend.on('close', over);
    this.#cancelTimer = clock.after(limits.backendConnectMs, () => {
      this.#openFailed(`mysqld of node ${target.node} does not answer at ${target.host}:${target.port}`);
    });
  }

  /** A server that is merely slow is worth waiting for, unless another one may be quicker. */
  #onSlowGreeting(target: Backend): void {
    const others = new Set(this.#avoid).add(target.node);
    if (this.#host.route(others).kind === 'target') this.#openFailed(`mysqld of node ${target.node} does not greet`);
  }

  #openFailed(reason: string): void {
    const node = this.node;
    this.#dropBackend();
    this.#move('waiting'); // while `node` still tells the registry where it was
    this.#target = null;
    if (this.#host.kind === 'ro') {
      this.#reason = reason;
      this.#avoid.add(node);
      this.#tryOpen();
    } else {
      this.#wait(reason, true);
    }
  }

  #onDeadline(): void {
    const { clock, limits, kind } = this.#host;
    const waitedMs = Math.round(clock.now() - this.#acceptedAt);
    if (this.#state === 'opening' && this.#connected) {
      const leftMs = limits.greetingMs - waitedMs;
      if (leftMs > 0) {
        this.#cancelDeadline = clock.after(leftMs, () => this.#onDeadline());
        return;
      }
      this.#refuse(
        'BACKEND_DOWN',
        `mysqld of node ${this.node} accepted the connection but did not greet in ${waitedMs} ms`,
      );
      return;
    }
    if (this.#state !== 'waiting' && this.#state !== 'opening') return;
    const what = kind === 'rw' ? 'no master' : 'no healthy slave';
    this.#refuse(kind === 'rw' ? 'NO_MASTER' : 'NO_SLAVE', `${what} within ${waitedMs} ms: ${this.#reason}`);
  }

  /** Says why and closes; only before the client has seen anything. */
  #refuse(code: RefusalCode, reason: string): void {
    this.#dropBackend();
    this.#move('closing');
    this.#early = [];
    this.#client.end(encodeRefusal(code, reason));
    this.#client.resume(); // unread bytes would turn our close into a reset, and the client would not see the error
    this.#cancelTimer = this.#host.clock.after(LINGER_MS, () => this.#finish());
  }

  // --- the splice

  #onServerData(backend: Socket, length: number): boolean {
    const { guard, readBuffer, kind } = this.#host;
    // I5: the clock is looked at after the bytes were read from the master's socket, for each chunk.
    if (kind === 'rw' && !guard.mayForward(this.#epoch)) {
      const reason = `the lease of node ${this.node} (epoch ${this.#epoch}) is not confirmed`;
      this.cut(reason, encodeSessionOver(reason));
      return false;
    }
    const chunk = Buffer.allocUnsafe(length);
    readBuffer.copy(chunk, 0, 0, length);
    if (this.#state === 'opening') this.#begin(backend);
    this.#tracker.fromServer(chunk);
    if (!this.#client.write(chunk)) backend.pause(); // until the client's 'drain'
    return true;
  }

  #begin(backend: Socket): void {
    this.#move('spliced');
    this.#cancelDeadline();
    for (const chunk of this.#early) {
      this.#tracker.fromClient(chunk);
      backend.write(chunk);
    }
    this.#early = [];
    this.#client.resume();
  }

  #onClientData(chunk: Buffer): void {
    if (this.#state === 'spliced') {
      this.#tracker.fromClient(chunk);
      if (this.#backend?.write(chunk) === false) this.#client.pause(); // until the backend's 'drain'
    } else if (this.#state === 'waiting' || this.#state === 'opening') {
      this.#early.push(chunk);
      this.#earlyBytes += chunk.length;
      if (this.#earlyBytes > EARLY_BYTES_MAX) this.#client.pause();
    }
  }

  #onClientEnd(): void {
    // Half-closed: what it asked before is still answered. Before the greeting there is nothing to answer: it has left.
    if (this.#state === 'spliced') {
      this.#backend?.end();
      this.#cancelTimer = this.#host.clock.after(HALF_CLOSED_MS, () => this.#finish());
    } else if (this.#state !== 'closing') this.#finish();
  }

  /** mysqld closed or died: everything it had sent goes out, then the client sees the end of the stream. */
  #serverEnded(): void {
    const { clock } = this.#host;
    this.#dropBackend();
    this.#move('closing');
    this.#cancelTimer = clock.after(FLUSH_MS, () => this.#finish());
    this.#client.end(() => {
      if (this.#state !== 'closing') return;
      this.#cancelTimer();
      this.#cancelTimer = clock.after(LINGER_MS, () => this.#finish());
    });
    this.#client.resume(); // to notice its end; bytes for a server that is gone are dropped
  }

  #dropBackend(): void {
    const backend = this.#backend;
    this.#backend = null;
    backend?.destroy();
  }

  /** Closes both sides at once. Idempotent. */
  #finish(): void {
    if (this.#state === 'closed') return;
    this.#move('closed');
    this.#cancelDeadline();
    this.#early = [];
    this.#client.destroy();
    this.#dropBackend();
  }
}
