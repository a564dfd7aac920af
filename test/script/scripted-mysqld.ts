import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BinlogIndex } from '../../agent/binlog-index.ts';
import type { MysqldAdmin, Probe } from '../../agent/mysqld-admin.ts';
import type { MysqldProcess } from '../../agent/mysqld-host.ts';
import type { LocalBinlog, MysqldProcesses, MysqldServer } from '../../agent/mysqld-server.ts';
import type { CutPlan } from '../../agent/tail-cut.ts';
import { PhxError } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import type { AppendItem } from '../../binlogsvr/values.ts';
import { BinlogFileScanner } from '../../mysql/binlog-file.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';

const FILE = readFileSync(join(fileURLToPath(new URL('../../mysql/testdata', import.meta.url)), 'binlog.000001'));
const scanner = new BinlogFileScanner();
/** Transactions of a real binlog, in order: what scripts call T1, T2 ... */
export const TRANSACTIONS = scanner.push(FILE).map(({ gtid, crc, startOffset, endOffset }) => ({
  gtid,
  crc,
  startOffset,
  endOffset,
  bytes: new Uint8Array(FILE.subarray(startOffset, endOffset)),
}));
export type Transaction = (typeof TRANSACTIONS)[number];
export const FIRST_UUID = '11111111-1111-1111-1111-111111111111';

/** T`n` of the binlog, from 1. */
export function T(n: number): Transaction {
  const found = TRANSACTIONS[n - 1];
  if (found === undefined) throw new Error(`the binlog has no T${n}`);
  return found;
}

/** As it stands in the log. */
export function logged({ gtid, crc, bytes }: Transaction): AppendItem {
  return { kind: 'part', gtid, first: true, last: true, crc, events: bytes };
}

/**
 * A mysqld as the agent sees it: a real binlog file of which some transactions are written, of which some are committed.
 * A start commits what is in the binlog, as crash recovery does.
 */
export class ScriptedMysqld implements MysqldServer {
  /** In the binlog file, oldest first. */
  written: Transaction[] = [];
  committed = new Set<string>();
  uuid = FIRST_UUID;
  removed = GtidSet.EMPTY;
  writable = false;
  /** XA transactions its applier prepared, by xid: the transaction each was prepared in. */
  readonly prepared = new Map<string, Transaction>();
  /** What it replicates goes to its binlog too: now, and after the next start. */
  logsReplicated = false;
  #logsReplicatedNext = false;
  /** Commits wait for acks. */
  #semiSync = true;
  /** Clients are connected and may ask. */
  sessions = false;
  /** Pids that run: the child first, then orphans of an earlier agent. */
  child: MysqldProcess | null = null;
  orphans: number[] = [];
  /** Processes that SIGKILL does not end at once, as one that waits for a disk. */
  unkillable = new Set<number>();
  /** What was done, in order. */
  readonly journal: string[] = [];
  readonly socket = '/script/mysqld.sock';
  readonly errorLog = '/script/error.log';
  readonly #clock: Clock;
  #pids = 1000;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A commit: into the binlog, waiting for its ack. */
  write(transaction: Transaction): void {
    this.written.push(transaction);
    this.journal.push(`writes ${transaction.gtid}`);
  }

  commit(...transactions: readonly Transaction[]): void {
    for (const { gtid } of transactions) this.committed.add(gtid);
  }

  /** The applier executes an XA PREPARE. */
  prepare(xid: string, transaction: Transaction): void {
    this.prepared.set(xid, transaction);
    this.commit(transaction);
  }

  /** A client says XA COMMIT and is told OK; read-only or not makes no difference. */
  commitXa(xid: string): void {
    if (!this.prepared.delete(xid)) throw new Error(`XAER_NOTA: ${xid}`);
    this.journal.push(this.logsReplicated ? `logs XA COMMIT ${xid}` : `commits ${xid} WITHOUT A WORD TO THE LOG`);
  }

  get gtidExecuted(): string {
    return [...this.committed].reduce((set, gtid) => set.add(gtid), GtidSet.EMPTY).toString();
  }

  get waiting(): number {
    return this.written.filter(({ gtid }) => !this.committed.has(gtid)).length;
  }

  readonly admin: MysqldAdmin = {
    connect: async () => {},
    reset: () => {},
    probe: async (): Promise<Probe> => ({
      askedAt: this.#clock.now(),
      answeredAt: this.#clock.now(),
      gtidExecuted: this.gtidExecuted,
      superReadOnly: !this.writable,
      offlineMode: !this.sessions,
      semiSync: { on: this.#semiSync, clients: 1, waiting: this.waiting, acked: 0 },
      pinned: '',
      prepared: [...this.prepared.keys()],
      logsReplicated: this.logsReplicated,
    }),
    channel: async () => null,
    work: async (statements) => {
      for (const statement of statements) {
        if (/rpl_semi_sync_source_enabled = ON/.test(statement)) this.#semiSync = true;
        if (/super_read_only = OFF/.test(statement)) this.writable = true;
        if (/super_read_only = ON/.test(statement)) this.writable = false;
        if (/offline_mode = ON/.test(statement)) this.sessions = false;
        if (/offline_mode = OFF/.test(statement)) this.sessions = true;
      }
      if (statements.some((statement) => /mysql\.user/.test(statement)))
        return [['root', 'phxsql_clone'].map((user) => ({ user, locked: 'N' })), []];
      return [];
    },
    aside: async (statements) => statements.map(() => []),
    canLogIn: async () => true,
    waiters: async () => [],
  };

  readonly processes: MysqldProcesses = {
    current: () => this.child,
    onExit: () => () => {},
    signal: (pid) => this.#kill(pid),
    isOurs: async () => true,
    find: async () => this.#alive.filter((pid) => !this.unkillable.has(pid)),
    kill: (pid) => this.#kill(pid),
    lockHolders: async () => this.#alive,
  };

  readonly binlog: LocalBinlog = {
    cutDir: '/script/cut',
    index: async (): Promise<BinlogIndex> => ({ path: '/script/binlog.index', lines: ['./binlog.000001'] }),
    read: (): AsyncIterable<Buffer> =>
      onePiece(Buffer.concat([this.#header, ...this.written.map(({ bytes }) => bytes)])),
    freshUuid: () => '22222222-2222-2222-2222-222222222222',
    cut: async (plan: CutPlan) => {
      if (this.#alive.length > 0) this.journal.push('CUT A BINLOG IN USE');
      const length = plan.length ?? 0;
      let end = this.#header.length;
      const kept = this.written.filter(({ bytes }) => {
        end += bytes.length;
        return end <= length;
      });
      for (const { gtid } of this.written.slice(kept.length)) this.journal.push(`cuts ${gtid}`);
      this.written = kept;
      this.uuid = plan.serverUuid ?? this.uuid;
      this.removed = this.removed.union(GtidSet.parse(plan.gtids ?? ''));
    },
    finishCut: async () => false,
    removed: async () => this.removed,
    forgetRemoved: async () => {
      this.removed = GtidSet.EMPTY;
    },
  };

  async ensureDatadir(): Promise<void> {}
  async configure({ logsReplicated } = { logsReplicated: false }): Promise<void> {
    this.#logsReplicatedNext = logsReplicated;
  }

  async start(): Promise<MysqldProcess> {
    if (this.#alive.length > 0) throw new PhxError('MYSQL_DOWN', 'start mysqld: the data directory is in use');
    this.journal.push('starts');
    this.commit(...this.written);
    // What an applier prepared without logging it is rolled back, its GTID too.
    if (!this.logsReplicated) for (const { gtid } of this.prepared.values()) this.committed.delete(gtid);
    if (!this.logsReplicated) this.prepared.clear();
    this.logsReplicated = this.#logsReplicatedNext;
    this.#semiSync = !this.logsReplicated;
    this.writable = false;
    this.sessions = false;
    this.#pids += 1;
    this.child = { pid: this.#pids, startedAt: this.#clock.now() };
    return this.child;
  }

  async openedFor(): Promise<number> {
    return 0;
  }
  async markOpened(): Promise<void> {}
  async forgetOpened(): Promise<void> {}
  async probeDisk(): Promise<void> {}
  async ignoredSettings(): Promise<string> {
    return '';
  }
  async rootPassword(): Promise<string> {
    return '';
  }

  get #alive(): number[] {
    return [...(this.child === null ? [] : [this.child.pid]), ...this.orphans];
  }

  /** Everything before the first transaction: magic, format description, previous GTIDs. */
  get #header(): Buffer {
    return FILE.subarray(0, T(1).startOffset);
  }

  #kill(pid: number): void {
    if (this.unkillable.has(pid)) return;
    this.journal.push('killed');
    if (this.child?.pid === pid) this.child = null;
    this.orphans = this.orphans.filter((orphan) => orphan !== pid);
  }
}

async function* onePiece(bytes: Buffer): AsyncGenerator<Buffer, void, void> {
  yield bytes;
}
