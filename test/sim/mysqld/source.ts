import { PhxError } from '../../../base/errors.ts';
import {
  EVENT_TYPE,
  encodeHeartbeat,
  encodeRotate,
  formatDescriptionForDump,
  isGtidEvent,
  parseEventHeader,
  parseGtidEvent,
} from '../../../mysql/binlog-event.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { encodeErr } from '../../../mysql/result.ts';
import { parseAck } from '../../../mysql/semi-sync.ts';
import type { SourceConnection } from '../../../sync/source-connection.ts';
import type { Connection } from './connection.ts';
import type { ScriptedMysqld } from './mysqld.ts';

const MAGIC_BYTES = 4;
const PLAIN = Buffer.from([0, 0xef, 0]);
const ACK_WANTED = Buffer.from([0, 0xef, 1]);
const HEARTBEAT_DEFAULT_MS = 30_000;

/** The sync account's connection: a few SETs, then a dump stream with semi-sync acks. */
export class SimSource implements SourceConnection {
  readonly #connection: Connection;
  #variables = '';
  #dump: DumpThread | null = null;
  #paused = false;
  /** Arrived while paused. */
  #held: Buffer[] = [];
  #onPacket: (payload: Buffer) => void = () => {};

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get alive(): boolean {
    return !this.#connection.closed;
  }

  onClose(listener: (error: Error) => void): void {
    this.#connection.onClose(listener);
  }

  async query(sql: string): Promise<void> {
    await this.#connection.ask(() => {
      this.#variables = sql;
    });
  }

  ping(): Promise<void> {
    return this.#connection.ask(() => {});
  }

  startDump(options: Readonly<{ serverId: number; gtidSet: Uint8Array; onPacket: (payload: Buffer) => void }>): void {
    const connection = this.#connection;
    const { mysqld } = connection;
    this.#onPacket = options.onPacket;
    const periodNs = /@source_heartbeat_period=(\d+)/.exec(this.#variables)?.[1];
    const uuid = /@replica_uuid='([^']*)'/.exec(this.#variables)?.[1] ?? '';
    connection.toServer.send(() => {
      const heartbeatMs = periodNs === undefined ? HEARTBEAT_DEFAULT_MS : Number(periodNs) / 1e6;
      const send = (payloads: readonly Buffer[]): void => connection.toClient.send(() => this.#deliver(payloads));
      const dump = new DumpThread(mysqld, { has: GtidSet.decode(options.gtidSet), heartbeatMs, uuid, send });
      this.#dump = dump;
      connection.onServerGone(() => dump.end());
      dump.begin();
    });
  }

  sendAck(payload: Uint8Array): void {
    const ack = parseAck(payload);
    this.#connection.toServer.send(() => this.#dump?.ack(ack));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliver(this.#held.splice(0));
  }

  destroy(error: Error = new PhxError('CANCELLED', 'connection closed by us')): void {
    this.#connection.close(error);
  }

  #deliver(payloads: readonly Buffer[]): void {
    for (const payload of payloads) {
      if (this.#connection.closed) return;
      if (this.#paused) this.#held.push(payload);
      else this.#onPacket(payload);
    }
  }
}

type DumpOptions = Readonly<{
  has: GtidSet;
  heartbeatMs: number;
  uuid: string;
  send: (payloads: readonly Buffer[]) => void;
}>;

/**
 * COM_BINLOG_DUMP_GTID: everything after `has`, as soon as it is written and synced, acked or not; a heartbeat says where the
 * stream is when nothing was sent for a while. In front of each file an artificial rotate event.
 */
class DumpThread {
  readonly #mysqld: ScriptedMysqld;
  readonly #o: DumpOptions;
  #file = '';
  #offset = MAGIC_BYTES;
  #skipping = false;
  #ended = false;
  #cancelHeartbeat: () => void = () => {};
  /** True time before which the ack receiver does not look at this stream; acks wait in its socket. */
  #ackFrom: number;

  constructor(mysqld: ScriptedMysqld, options: DumpOptions) {
    this.#mysqld = mysqld;
    this.#o = options;
    this.#ackFrom = mysqld.kernel.now + mysqld.times.ackPoll();
  }

  get uuid(): string {
    return this.#o.uuid;
  }

  begin(): void {
    const { dumps, binlog, executed, uuid } = this.#mysqld;
    const { has } = this.#o;
    for (const other of [...dumps]) if (other.uuid === this.#o.uuid) other.end(); // kill_zombie_dump_threads
    const purged = executed.subtract(binlog.logged);
    const unknown = ofServer(has, uuid).subtract(executed.union(binlog.logged));
    const start = binlog.startFor(has);
    if (!purged.isSubsetOf(has) || start === null) {
      this.#refuse('the source has purged what the replica needs');
    } else if (!unknown.isEmpty) {
      this.#refuse(`the replica has more GTIDs than the source has: ${unknown.toString()}`);
    } else {
      dumps.add(this);
      this.#enter(start);
      this.pump();
    }
  }

  /** The stream, and its acks, are over. */
  end(): void {
    this.#ended = true;
    this.#cancelHeartbeat();
    this.#mysqld.dumps.delete(this);
  }

  ack(position: Readonly<{ file: string; position: number }>): void {
    const { kernel, process, commits } = this.#mysqld;
    const take = (): void => {
      if (!this.#ended) commits.semiSync.ack(position);
    };
    const wait = this.#ackFrom - kernel.now;
    if (wait <= 0) take();
    else kernel.at(wait, () => process.deliver(take));
  }

  /** Sends what is there and was not sent. */
  pump(): void {
    if (this.#ended) return;
    const payloads: Buffer[] = [];
    for (;;) {
      const file = this.#mysqld.disk.files.get(this.#file);
      if (file === undefined) throw new Error(`binlog file ${this.#file} is gone under a running mysqld`);
      const { bytes } = file;
      // Written and synced: what is in the file but not synced yet is not sent.
      while (this.#offset < file.synced) {
        const { size } = parseEventHeader(bytes, this.#offset);
        const event = Buffer.from(bytes.subarray(this.#offset, this.#offset + size));
        this.#offset += size;
        this.#event(event, payloads);
      }
      const next = this.#mysqld.binlog.after(this.#file);
      if (next === null) break;
      this.#enter(next, payloads);
    }
    if (payloads.length > 0) this.#send(payloads);
  }

  #enter(file: string, payloads: Buffer[] = []): void {
    const first = this.#file === '';
    this.#file = file;
    this.#offset = MAGIC_BYTES;
    this.#skipping = false;
    const rotate = encodeRotate({ file, position: MAGIC_BYTES, serverId: 1, crc: true });
    payloads.push(Buffer.concat([PLAIN, rotate]));
    if (first) this.#send(payloads);
  }

  #event(event: Buffer, payloads: Buffer[]): void {
    const { type } = parseEventHeader(event);
    if (type === EVENT_TYPE.FORMAT_DESCRIPTION) {
      const described = formatDescriptionForDump(event, { midFile: false });
      payloads.push(Buffer.concat([PLAIN, described]));
      return;
    }
    if (isGtidEvent(type)) {
      const { gtid } = parseGtidEvent(event);
      this.#skipping = gtid !== null && this.#o.has.contains(gtid);
    }
    if (this.#skipping && type !== EVENT_TYPE.ROTATE && type !== EVENT_TYPE.STOP) return;
    if (type === EVENT_TYPE.STOP) return;
    payloads.push(Buffer.concat([type === EVENT_TYPE.XID ? ACK_WANTED : PLAIN, event]));
  }

  #send(payloads: readonly Buffer[]): void {
    this.#o.send(payloads);
    this.#arm();
  }

  #arm(): void {
    this.#cancelHeartbeat();
    this.#cancelHeartbeat = this.#mysqld.process.clock.after(this.#o.heartbeatMs, () => {
      if (this.#ended) return;
      const heartbeat = encodeHeartbeat({ file: this.#file, logPos: this.#offset, serverId: 1 });
      this.#send([Buffer.concat([PLAIN, heartbeat])]);
    });
  }

  #refuse(message: string): void {
    this.#o.send([Buffer.from(encodeErr({ errno: 1236, sqlState: 'HY000', message }))]);
    this.end();
  }
}

function ofServer(set: GtidSet, uuid: string): GtidSet {
  return set.intersect(GtidSet.parse(`${uuid}:1-${2 ** 40}`));
}
