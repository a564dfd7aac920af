import { epochOf } from '../../../base/brands.ts';
import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';
import type { GtidSet } from '../../../mysql/gtid-set.ts';
import { encodeAck } from '../../../mysql/semi-sync.ts';
import { DumpSession } from '../../../sync/dump-session.ts';
import type { SourceConnection } from '../../../sync/source-connection.ts';
import { MemoryLog } from '../../support/memory-log.ts';
import { Kernel } from '../kernel.ts';
import { Machine, SimProcess } from '../process.ts';
import { decodeTransaction } from './binlog-bytes.ts';
import type { ClientSession } from './client.ts';
import { MysqldNode } from './node.ts';
import type { MysqldTimes } from './times.ts';

export const ATTACH = `SET @rpl_semi_sync_replica=1, @source_heartbeat_period=${250e6}, @replica_uuid='sync'`;

/** One mysqld on one machine, with a process each for its agent, sync and client. */
export class Bench {
  readonly kernel: Kernel;
  readonly machine: Machine;
  readonly node: MysqldNode;
  readonly log = MemoryLog.elected();
  source: MemoryLog | null = this.log;
  agent: SimProcess;
  sync: SimProcess;
  client: SimProcess;

  constructor(seed = 1, times: Partial<MysqldTimes> = {}) {
    this.kernel = new Kernel(seed, { trace: true });
    this.machine = new Machine(this.kernel, 'machine');
    this.agent = this.spawn('agent');
    this.sync = this.spawn('sync');
    this.client = this.spawn('client');
    this.node = new MysqldNode({
      kernel: this.kernel,
      random: this.kernel.fork(),
      id: 1,
      spawn: (name) => this.spawn(name),
      logSource: () => this.source,
      times: { ackPoll: () => 0, drop: () => false, ...times },
    });
  }

  spawn(name: string): SimProcess {
    return new SimProcess(this.kernel, name, this.machine);
  }

  get server() {
    return this.node.serverFor(this.agent);
  }

  async run(ms = 100): Promise<void> {
    await this.kernel.runUntil(this.kernel.now + ms);
  }

  /** The outcome of `work`, while time goes on. */
  async done<T>(work: Promise<T>, ms = 5_000): Promise<T> {
    let settled = false;
    const watched = work.finally(() => {
      settled = true;
    });
    watched.catch(() => {});
    for (let left = ms; !settled && left > 0; left -= 1) await this.run(1);
    if (!settled) throw new Error('has not ended');
    return await watched;
  }

  async settled(work: Promise<unknown>, ms = 1_000): Promise<boolean> {
    let settled = false;
    work.then(
      () => {
        settled = true;
      },
      () => {
        settled = true;
      },
    );
    await this.run(ms);
    return settled;
  }

  async up() {
    this.node.start();
    await this.until(() => this.node.listening !== null);
    return this.mysqld;
  }

  get mysqld() {
    const { listening } = this.node;
    if (listening === null) throw new Error('no mysqld listens');
    return listening;
  }

  async until(holds: () => boolean, ms = 5_000): Promise<void> {
    for (let left = ms; !holds(); left -= 1) {
      if (left <= 0) throw new Error(`does not come to hold:\n${this.kernel.traceLines.slice(-30).join('\n')}`);
      await this.run(1);
    }
  }

  async dead(): Promise<void> {
    await this.until(() => this.node.child === null);
  }

  async open(): Promise<ClientSession> {
    const { mysqld } = this;
    mysqld.superReadOnly = false;
    mysqld.offlineMode = false;
    return await this.done(this.node.connect(this.client));
  }

  async attach(has = this.log.state.gtidSet, log: MemoryLog | null = null): Promise<Stream> {
    const connect = this.node.sourceFor(this.sync);
    const connection = await this.done(connect(this.node.socket, new AbortController().signal));
    await this.done(connection.query(ATTACH));
    const stream = new Stream(connection, has, log);
    await this.run(2);
    return stream;
  }

  rows(): Record<string, string> {
    return Object.fromEntries(this.node.disk.engine.rows);
  }
}

/** A dump read by the production session; what it would append is in `gtids`, and nothing is acked unless told. */
export class Stream {
  readonly connection: SourceConnection;
  readonly session = new DumpSession(null);
  readonly gtids: string[] = [];
  readonly keys: string[] = [];
  readonly heartbeats: { file: string; position: number }[] = [];
  last = { file: '', position: 0 };
  error: Error | null = null;
  /** What arrives is appended to it. */
  readonly #log: MemoryLog | null;

  constructor(connection: SourceConnection, has: GtidSet, log: MemoryLog | null = null) {
    this.connection = connection;
    this.#log = log;
    connection.onClose((error) => {
      this.error = error;
    });
    connection.startDump({ serverId: 9, gtidSet: has.encode(), onPacket: (payload) => this.#packet(payload) });
  }

  ack(position: { file: string; position: number } = this.last): void {
    this.connection.sendAck(encodeAck(position.file, position.position));
  }

  #packet(payload: Buffer): void {
    try {
      const heartbeat = this.session.packet(payload);
      if (heartbeat !== null) this.heartbeats.push(heartbeat);
    } catch (error) {
      this.error = error as Error;
      return;
    }
    for (let batch = this.session.take(); batch !== null; batch = this.session.take()) {
      if (this.#log !== null) {
        const { epoch, appendSeq } = this.#log.state;
        this.#log.apply({ kind: 'append', epoch: epochOf(epoch), follows: appendSeq, items: batch.items });
      }
      for (const item of batch.items) {
        if (item.kind !== 'part' || !item.last) continue;
        const { gtid, writes } = decodeTransaction(new EventSplitter().push(item.events));
        this.gtids.push(gtid);
        this.keys.push(...Object.keys(writes));
      }
      this.last = this.session.applied() ?? this.last;
    }
  }
}
