import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';
import { EVENT_FLAG_IN_USE, EVENT_TYPE, encodeEvent, encodePreviousGtids } from '../../../mysql/binlog-event.ts';
import { BINLOG_MAGIC, BinlogFileScanner } from '../../../mysql/binlog-file.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { u64le } from '../../../mysql/lenenc.ts';
import {
  decodeTransaction,
  encodeFormatDescription,
  encodeTransaction,
  type LoggedTransaction,
  placed,
  type Writes,
} from './binlog-bytes.ts';
import { BinlogFile, type MysqldDisk, nameOf } from './disk.ts';

/** Of the first event, behind the magic: see agent/host/tail-cutter.ts. */
const FLAGS_OFFSET = 4 + 17;

/** The binlog of one running mysqld: real bytes on the simulated disk. Every method is one write of the server. */
export class BinlogLog {
  readonly #disk: MysqldDisk;
  readonly #serverId: number;
  readonly #seconds: () => number;
  #name = '';
  #sequence = 0;
  /** In this server's binlog files, all of them. */
  logged = GtidSet.EMPTY;

  constructor(disk: MysqldDisk, serverId: number, seconds: () => number) {
    this.#disk = disk;
    this.#serverId = serverId;
    this.#seconds = seconds;
  }

  get name(): string {
    return this.#name;
  }

  get file(): BinlogFile {
    const file = this.#disk.files.get(this.#name);
    if (file === undefined) throw new Error(`binlog file ${this.#name} is gone under a running mysqld`);
    return file;
  }

  /**
   * What a start does with the last file: complete transactions of a file nobody closed are handed back (the engine commits
   * them), a torn tail is cut off. Throws if mysqld would refuse to start.
   */
  recover(): readonly LoggedTransaction[] {
    const last = this.#disk.index.at(-1);
    if (last === undefined) return [];
    const file = this.#disk.file(last);
    if (file === undefined) throw new Error(`${last} is in the index but not there`);
    const scanner = new BinlogFileScanner();
    const found = scanner.push(file.bytes);
    scanner.end();
    if (scanner.formatDescription === null) throw new Error(`${last} has no format description`);
    const transactions = found.map(({ startOffset, endOffset }) =>
      decodeTransaction(new EventSplitter().push(Buffer.from(file.bytes.subarray(startOffset, endOffset)))),
    );
    this.logged = (scanner.previousGtids ?? GtidSet.EMPTY).union(GtidSet.of(...found.map(({ gtid }) => gtid)));
    const open = scanner.inUse;
    if (scanner.truncatedAt !== null) file.truncate(scanner.truncatedAt);
    this.#close(file);
    return open ? transactions : [];
  }

  /** A file of its own, and the index names it. */
  openNext(): void {
    const numbers = [...this.#disk.files.keys()].map((name) => Number(name.split('.')[1]));
    this.#name = `binlog.${String(Math.max(0, ...numbers) + 1).padStart(6, '0')}`;
    this.#sequence = 0;
    const file = new BinlogFile();
    file.append(BINLOG_MAGIC);
    file.append(encodeFormatDescription(this.#serverId, this.#seconds(), file.length));
    const previous = encodePreviousGtids({
      gtidSet: this.logged,
      serverId: this.#serverId,
      timestamp: this.#seconds(),
    });
    file.append(placed(previous, file.length));
    file.sync();
    this.#disk.files.set(this.#name, file);
    this.#disk.index.push(`./${this.#name}`);
  }

  /** Nothing waits: the next file begins. */
  rotate(): void {
    const before = this.file;
    const number = Number(this.#name.split('.')[1]) + 1;
    const next = `binlog.${String(number).padStart(6, '0')}`;
    this.#end(before, EVENT_TYPE.ROTATE, Buffer.concat([u64le(4), Buffer.from(next)]));
    this.openNext();
  }

  /** A clean shutdown. */
  stop(): void {
    this.#end(this.file, EVENT_TYPE.STOP, Buffer.alloc(0));
  }

  /** Written, not synced. Returns where it ends. */
  append(uuid: string, gno: number, writes: Writes): number {
    this.#sequence += 1;
    const { file } = this;
    const serverId = this.#serverId;
    const timestamp = this.#seconds();
    file.append(
      encodeTransaction({ uuid, gno, writes, serverId, timestamp, sequence: this.#sequence, start: file.length }),
    );
    this.logged = this.logged.add(`${uuid}:${gno}`);
    return file.length;
  }

  #end(file: BinlogFile, type: number, body: Buffer): void {
    const event = encodeEvent({ type, serverId: this.#serverId, timestamp: this.#seconds(), body });
    file.append(placed(event, file.length));
    this.#close(file);
  }

  #close(file: BinlogFile): void {
    const { bytes } = file;
    bytes[FLAGS_OFFSET] = (bytes[FLAGS_OFFSET] ?? 0) & ~EVENT_FLAG_IN_USE;
    file.sync();
  }

  /** The file after `name`, or null. */
  after(name: string): string | null {
    const at = this.#disk.index.findIndex((line) => nameOf(line) === name);
    const next = this.#disk.index[at + 1];
    return next === undefined ? null : nameOf(next);
  }

  /** The newest file that begins with nothing but what `has` holds: where a dump by GTID begins. */
  startFor(has: GtidSet): string | null {
    for (const line of [...this.#disk.index].reverse()) {
      const file = this.#disk.file(line);
      if (file === undefined) continue;
      const scanner = new BinlogFileScanner();
      scanner.push(file.bytes.subarray(0, 4096));
      if (scanner.previousGtids?.isSubsetOf(has)) return nameOf(line);
    }
    return null;
  }
}
