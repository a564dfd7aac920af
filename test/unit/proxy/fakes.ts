import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import type { NodeAddress } from '../../../base/topology.ts';
import { encodePacket } from '../../../mysql/packet.ts';
import type { AgentReport, View } from '../../../proto/binlogsvr-types.ts';
import { fastClock } from '../../../proxy/fast-clock.ts';
import { DEFAULT_PROXY_LIMITS, type ProxyLimits } from '../../../proxy/limits.ts';
import { NO_VIEW, type ProxyView } from '../../../proxy/view.ts';
import { type ProxyWorker, startProxyWorker } from '../../../proxy/worker.ts';
import { replicaReport } from '../../support/agent-report.ts';

export function nodes(count: number): readonly NodeAddress[] {
  return Array.from({ length: count }, (_, i) => ({
    id: nodeId(i + 1),
    host: '127.0.0.1',
    rw: 54321 + 10 * i,
    ro: 54322 + 10 * i,
    dump: 6000 + 10 * i,
    rpc: 17000 + 10 * i,
    mysql: 11111 + 10 * i,
    http: 18080 + 10 * i,
  }));
}

const AGENT = replicaReport({ servingReads: false });

type ViewFacts = Partial<Omit<View, 'agent'>> & { node: number; agent?: Partial<AgentReport> | null };

/** A report with everything not said filled in: open, founded, with a quorum, no agent. */
export function view(facts: ViewFacts): View {
  return {
    epoch: 0,
    master: 0,
    open: true,
    renewal: 0,
    appliedIndex: 0,
    chosenIndex: 0,
    appendSeq: 0,
    gtidSet: '',
    baseline: true,
    voting: true,
    votingReason: '',
    takeoverDue: false,
    takeoverInMs: 0,
    leaseRemainingMs: 0,
    leader: false,
    agentAlive: true,
    sync: null,
    quorum: true,
    lagMs: 0,
    needsClone: '',
    ...facts,
    agent: facts.agent === undefined || facts.agent === null ? null : { ...AGENT, ...facts.agent },
  };
}

/** What every fake server says first, one packet, and what a plain-text client answers. */
export const GREETING = encodePacket(Buffer.from('\x0afake greeting'), 0);
export const LOGIN = encodePacket(
  // capabilities: PROTOCOL_41 | SECURE_CONNECTION; max packet, charset, filler, user
  Buffer.concat([Buffer.from([0x00, 0x82, 0, 0, 0, 0, 0, 1, 255]), Buffer.alloc(23), Buffer.from('user\0\0')]),
  1,
);
export const OK = encodePacket(Buffer.from([0, 0, 0, 2, 0, 0, 0]), 2);

/** A TCP server in mysqld's place: greets, then does as told with each socket. */
export class FakeBackend {
  readonly sockets = new Set<Socket>();
  readonly #server: Server;
  readonly port: number;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async start(onSocket: (socket: Socket) => void = () => {}, greeting: Buffer | null = GREETING) {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 });
    await once(server, 'listening');
    const backend = new FakeBackend(server, (server.address() as AddressInfo).port);
    server.on('connection', (socket) => {
      backend.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => backend.sockets.delete(socket));
      if (greeting !== null) socket.write(greeting);
      onSocket(socket);
      if (socket.listenerCount('data') === 0) socket.resume();
      socket.on('end', () => socket.end());
    });
    return backend;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A socket that remembers what came. */
export class Client {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  ended = false;
  closed = false;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    this.socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    this.socket.on('error', () => {});
    this.socket.on('end', () => {
      this.ended = true;
      this.socket.end();
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
  }

  /** Resolves once `bytes` came in all. */
  async read(bytes: number): Promise<Buffer> {
    await until(() => this.received.length >= bytes || this.closed, `${bytes} bytes`);
    if (this.received.length < bytes) throw new Error(`closed after ${this.received.length} of ${bytes} bytes`);
    return this.received.subarray(0, bytes);
  }

  async end(): Promise<void> {
    await until(() => this.closed, 'the connection to be closed');
  }

  /** The message of an ERR packet that is the newest thing received. */
  get error(): { sequence: number; errno: number; text: string } {
    const at = this.received.lastIndexOf(0xff);
    if (at < 4) throw new Error(`no error packet in ${this.received.toString('hex')}`);
    const packet = this.received.subarray(at - 4);
    return { sequence: packet[3]!, errno: packet.readUInt16LE(5), text: packet.subarray(7).toString() };
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Polls a condition of real sockets; fails with `what` after `ms`. */
export async function until(condition: () => boolean, what: string, ms = 15_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`still waiting for ${what} after ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A worker on free ports with a view to be changed. */
export class TestWorker {
  readonly worker: ProxyWorker;
  #view: ProxyView = NO_VIEW;

  private constructor(worker: ProxyWorker) {
    this.worker = worker;
  }

  static async start(limits: Partial<ProxyLimits> = {}) {
    return new TestWorker(
      await startProxyWorker({
        self: nodes(1)[0]!,
        listen: { host: '127.0.0.1', rw: 0, ro: 0 },
        limits: { ...DEFAULT_PROXY_LIMITS, ...limits },
        clock: fastClock,
        log: silentLogger,
      }),
    );
  }

  rw(): Client {
    return new Client(this.worker.ports.rw);
  }

  ro(): Client {
    return new Client(this.worker.ports.ro);
  }

  set(change: Partial<ProxyView>): void {
    this.#view = { ...this.#view, ...change, seq: this.#view.seq + 1 };
    this.worker.setView(this.#view);
  }

  /** `node` is master of `epoch`, with its lease running for `leaseMs`. */
  master(node: number, port: number, epoch: number, leaseMs = 60_000): void {
    const master = { node, host: '127.0.0.1', port };
    this.set({ epoch, elected: node, closedEpoch: epoch - 1, master, reason: '', ...leaseFor(leaseMs) });
  }

  fenced(epoch: number): void {
    const reason = `epoch ${epoch} is fenced; waiting for an election`;
    this.set({ epoch, elected: 0, closedEpoch: epoch, master: null, reason, ...leaseFor(-1) });
  }

  slaves(...list: readonly { node: number; port: number; lagMs?: number; local?: boolean }[]): void {
    this.set({ slaves: list.map((slave) => ({ host: '127.0.0.1', lagMs: 0, local: false, ...slave })) });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.worker.close();
  }
}

export function leaseFor(ms: number): Pick<ProxyView, 'readUntil' | 'readUntilWall'> {
  return { readUntil: (systemClock.now() + ms) as ProxyView['readUntil'], readUntilWall: systemClock.wall() + ms };
}
