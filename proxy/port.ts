import { createServer, type Server, type Socket } from 'node:net';
import { PhxError } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { encodeRefusal, encodeSessionOver } from './client-error.ts';
import { type ConnectionHost, type ConnectionState, ProxyConnection } from './connection.ts';
import type { LeaseGuard } from './lease-guard.ts';
import type { ProxyLimits } from './limits.ts';
import { type Route, routeRead, routeWrite } from './router.ts';
import { NO_VIEW, type ProxyView } from './view.ts';

const BACKLOG = 4096;
const KEEPALIVE_MS = 30_000;
/** Sockets that are being told "too many connections"; further ones are closed without a word. */
const REFUSING_MAX = 1000;
const REFUSE_LINGER_MS = 1000;
/** Cutting many sessions, only those reached within this time are told why: an error packet doubles the cost of a close. */
const FAREWELL_MS = 80;
const DISCARD_SLICE = 200;

export type PortStats = Readonly<{
  /** Connections now, in whatever state. */
  connections: number;
  waiting: number;
  /** Connections with a server, by node. */
  sessions: Readonly<Record<number, number>>;
  accepted: number;
  refused: number;
  cut: number;
}>;

export type PortOptions = Readonly<{
  kind: 'rw' | 'ro';
  guard: LeaseGuard;
  readBuffer: Buffer;
  limits: ProxyLimits;
  clock: Clock;
  log: Logger;
}>;

/** One listener and its connections. */
export class ProxyPort implements ConnectionHost {
  readonly kind: 'rw' | 'ro';
  readonly clock: Clock;
  readonly limits: ProxyLimits;
  readonly guard: LeaseGuard;
  readonly readBuffer: Buffer;
  readonly #log: Logger;
  readonly #server: Server;
  readonly #connections = new Set<ProxyConnection>();
  /** In the order they came. */
  readonly #waiting = new Set<ProxyConnection>();
  /** Opening or spliced, by the node they go to: the registry views are checked against. */
  readonly #sessions = new Map<number, Set<ProxyConnection>>();
  readonly #refusing = new Set<Socket>();
  /** At most one per session that was cut. */
  readonly #discarded: Socket[] = [];
  #view: ProxyView = NO_VIEW;
  #accepted = 0;
  #refused = 0;
  #cut = 0;

  constructor(options: PortOptions) {
    this.kind = options.kind;
    this.clock = options.clock;
    this.limits = options.limits;
    this.guard = options.guard;
    this.readBuffer = options.readBuffer;
    this.#log = options.log;
    this.#server = createServer(
      // Half-open: a client that has sent its last request still gets the answer.
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS },
      (socket) => this.#accept(socket),
    );
  }

  /** Binds; the port number it got. Other workers of the node listen on the same one. Rejects with PORT_IN_USE. */
  listen(host: string, port: number): Promise<number> {
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const inUse = cause.code === 'EADDRINUSE';
        reject(
          new PhxError(inUse ? 'PORT_IN_USE' : 'CONFIG_INVALID', `listen on ${host}:${port}: ${cause.message}`, {
            cause,
            hint: inUse ? 'end the program that holds the port, or configure another one' : 'check the address',
          }),
        );
      });
      server.listen({ host, port, backlog: BACKLOG, reusePort: true }, () => {
        server.removeAllListeners('error');
        // accept() fails when descriptors run out: the client is dropped by the kernel, the listener lives on.
        server.on('error', (error) => this.#log.error('accept failed', { port: this.kind, reason: error.message }));
        const address = server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  /** Ends sessions the new view forbids, then lets those that wait look again. */
  setView(view: ProxyView): void {
    const before = this.#view;
    this.#view = view;
    if (this.kind === 'rw') {
      if (view.epoch !== before.epoch || view.closedEpoch !== before.closedEpoch) this.#cutFormerMasters();
    } else if (view.elected !== 0) {
      // Its mysqld takes writes now or soon; what is connected here was promised a read-only one.
      this.#cutAll(this.#sessions.get(view.elected), `node ${view.elected} becomes master (epoch ${view.epoch})`);
    }
    for (const connection of [...this.#waiting]) connection.retry();
  }

  #cutFormerMasters(): void {
    const { epoch, closedEpoch, reason } = this.#view;
    for (const sessions of this.#sessions.values()) {
      const over = [...sessions].filter((session) => session.epoch !== epoch || session.epoch <= closedEpoch);
      const why = closedEpoch >= epoch ? reason : `epoch ${epoch} began`;
      this.#cutAll(over, over.length === 0 ? '' : `node ${over[0]?.node} is no longer master: ${why}`);
    }
  }

  /** All of them: the lease bound passed long ago and nobody said a word. */
  cutEverything(reason: string): void {
    for (const sessions of this.#sessions.values()) this.#cutAll(sessions, reason);
  }

  #cutAll(sessions: Iterable<ProxyConnection> | undefined, reason: string): void {
    const targets = [...(sessions ?? [])];
    if (targets.length === 0) return;
    const farewell = encodeSessionOver(reason);
    const startedAt = this.clock.now();
    for (const session of targets) {
      const inTime = this.clock.now() - startedAt < FAREWELL_MS;
      session.cut(reason, inTime ? farewell : null);
    }
    const tookMs = Math.round(this.clock.now() - startedAt);
    this.#log.info('sessions cut', { port: this.kind, sessions: targets.length, reason, tookMs });
  }

  discard(backend: Socket): void {
    this.#discarded.push(backend);
    if (this.#discarded.length === 1) setImmediate(() => this.#destroyDiscarded());
  }

  /** In slices, so that clients which come back meanwhile are served. */
  #destroyDiscarded(): void {
    for (const backend of this.#discarded.splice(-DISCARD_SLICE)) backend.destroy();
    if (this.#discarded.length > 0) setImmediate(() => this.#destroyDiscarded());
  }

  // --- ConnectionHost

  route(avoid: ReadonlySet<number>): Route {
    if (this.kind === 'rw') return routeWrite(this.#view, this.clock.now(), this.clock.wall());
    return routeRead(this.#view, this.limits.lagMsMax, (node) => this.#sessions.get(node)?.size ?? 0, avoid);
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  startWait(connection: ProxyConnection): boolean {
    if (!this.#waiting.has(connection) && this.#waiting.size >= this.limits.waitingMax) return false;
    this.#waiting.add(connection);
    return true;
  }

  moved(connection: ProxyConnection, from: ConnectionState): void {
    const { state } = connection;
    if (from === 'waiting') this.#waiting.delete(connection);
    if (state === 'opening') {
      let sessions = this.#sessions.get(connection.node);
      if (sessions === undefined) {
        sessions = new Set();
        this.#sessions.set(connection.node, sessions);
      }
      sessions.add(connection);
    } else if (from === 'opening' && state !== 'spliced') {
      this.#forget(connection);
    } else if (from === 'spliced') {
      this.#forget(connection);
    }
    if (state === 'closing' && from !== 'spliced') this.#refused += 1;
    if (state === 'closed') {
      this.#connections.delete(connection);
      if (connection.wasCut) this.#cut += 1;
    }
  }

  #forget(connection: ProxyConnection): void {
    this.#sessions.get(connection.node)?.delete(connection);
  }

  // --- clients

  #accept(socket: Socket): void {
    this.#accepted += 1;
    if (this.#connections.size >= this.limits.connectionsMax) {
      this.#refuse(socket);
      return;
    }
    const connection = new ProxyConnection(socket, this);
    if (connection.state !== 'closed') this.#connections.add(connection);
  }

  #refuse(socket: Socket): void {
    this.#refused += 1;
    if (this.#refusing.size >= REFUSING_MAX) {
      socket.destroy();
      return;
    }
    this.#refusing.add(socket);
    const cancel = this.clock.after(REFUSE_LINGER_MS, () => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => {
      cancel();
      this.#refusing.delete(socket);
    });
    socket.resume();
    const most = this.limits.connectionsMax;
    socket.end(encodeRefusal('TOO_MANY_CONNECTIONS', `too many connections (${most} on this port)`));
  }

  get stats(): PortStats {
    const sessions: Record<number, number> = {};
    for (const [node, set] of this.#sessions) if (set.size > 0) sessions[node] = set.size;
    return {
      connections: this.#connections.size,
      waiting: this.#waiting.size,
      sessions,
      accepted: this.#accepted,
      refused: this.#refused,
      cut: this.#cut,
    };
  }

  /** Stops listening and ends every connection. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of [...this.#connections]) connection.close();
    for (const socket of [...this.#refusing, ...this.#discarded.splice(0)]) socket.destroy();
    return closed;
  }
}
