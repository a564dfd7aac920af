import { type BinlogIndex, binlogPath } from '../../../agent/binlog-index.ts';
import type { MysqldAdmin } from '../../../agent/mysqld-admin.ts';
import type { MysqldExit, MysqldProcess } from '../../../agent/mysqld-host.ts';
import type { LocalBinlog, MysqldProcesses, MysqldServer } from '../../../agent/mysqld-server.ts';
import { ignoredSettings } from '../../../agent/persisted-settings.ts';
import type { CutPlan } from '../../../agent/tail-cut.ts';
import { PhxError } from '../../../base/errors.ts';
import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';
import { EVENT_FLAG_IN_USE } from '../../../mysql/binlog-event.ts';
import { BinlogFileScanner } from '../../../mysql/binlog-file.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import type { SimProcess } from '../process.ts';
import { SimAdmin } from './admin.ts';
import { type CutTransaction, decodeTransaction } from './binlog-bytes.ts';
import { type MysqldDisk, nameOf } from './disk.ts';
import type { MysqldNode } from './node.ts';

const DATADIR = '/sim/mysql';
const FLAGS_OFFSET = 4 + 17;
/** Local file operations take about this long. */
const FILE_MS = 0.2;

/** The agent's port to the simulated mysqld of its node. Each file operation is one await, at which the agent may die. */
export class SimMysqldServer implements MysqldServer {
  readonly admin: MysqldAdmin;
  readonly processes: MysqldProcesses;
  readonly binlog: LocalBinlog;
  readonly socket: string;
  readonly errorLog = '/sim/log/mysqld.log';
  readonly #node: MysqldNode;
  readonly #agent: SimProcess;

  constructor(node: MysqldNode, agent: SimProcess) {
    const { disk } = node;
    this.#node = node;
    this.#agent = agent;
    this.socket = node.socket;
    this.admin = new SimAdmin(agent, () => node.listening);
    this.processes = {
      current: () => node.child,
      onExit: (listener) => node.onExit((exit: MysqldExit) => agent.deliver(() => listener(exit))),
      signal: (pid, signal) => {
        node.kernel.at(FILE_MS, () => node.signal(pid, signal));
      },
      isOurs: (pid) => this.#do('look at process', () => node.alive.has(pid)),
      find: () => this.#do('find mysqlds', () => [...node.alive.keys()]),
      kill: (pid) => node.signal(pid, 'SIGKILL'),
      lockHolders: () => this.#do('look at locks', () => (disk.holder === null ? [] : [disk.holder])),
    };
    this.binlog = {
      cutDir: '/sim/cut',
      index: () =>
        this.#do('read index', (): BinlogIndex => ({ path: `${DATADIR}/binlog.index`, lines: [...disk.index] })),
      read: (index, line) => this.#read(index, line),
      freshUuid: () => node.freshUuid(),
      cut: async (plan) => {
        await this.#write('write cut plan', () => {
          disk.cutPlan = plan;
        });
        await this.#perform(plan);
      },
      finishCut: async () => {
        const plan = await this.#do('read cut plan', () => disk.cutPlan);
        if (plan === null) return false;
        const last = plan.keep.at(-1);
        if (last !== undefined && disk.file(last) === undefined) {
          await this.#write('remove cut plan', () => {
            disk.cutPlan = null;
          });
          return false;
        }
        await this.#perform(plan);
        return true;
      },
      removed: () => this.#do('read what was cut', () => disk.removedByCuts),
      forgetRemoved: () =>
        this.#do('forget what was cut', () => {
          disk.removedByCuts = GtidSet.EMPTY;
        }),
    };
  }

  async ensureDatadir(creating: () => void): Promise<void> {
    const { disk } = this.#node;
    if (await this.#do('look at datadir', () => disk.present)) return;
    creating();
    await this.#write('make datadir', () => {
      disk.present = true;
    });
  }

  configure(): Promise<void> {
    return this.#do('write my.cnf', () => {});
  }

  start(): Promise<MysqldProcess> {
    return this.#do('start mysqld', () => this.#node.start());
  }

  openedFor(pid: number): Promise<number> {
    return this.#do('read mark', () => {
      const mark = this.#node.disk.openedMark;
      return mark !== null && mark.pid === pid ? mark.epoch : 0;
    });
  }

  markOpened(pid: number, epoch: number): Promise<void> {
    return this.#do('write mark', () => {
      this.#node.disk.openedMark = { pid, epoch };
    });
  }

  forgetOpened(): Promise<void> {
    return this.#do('remove mark', () => {
      this.#node.disk.openedMark = null;
    });
  }

  probeDisk(): Promise<void> {
    const { disk, kernel } = this.#node;
    return this.#agent.io('probe disk', FILE_MS + Math.max(0, disk.stalledUntil - kernel.now), () => {});
  }

  ignoredSettings(): Promise<string> {
    const stored = (): string =>
      JSON.stringify(Object.fromEntries(this.#node.disk.persisted.map((n) => [n, { Value: '' }])));
    return this.#do('read mysqld-auto.cnf', () => ignoredSettings(stored()));
  }

  rootPassword(): Promise<string> {
    return this.#do('read password', () => 'password of root');
  }

  async *#read(index: BinlogIndex, line: string): AsyncGenerator<Buffer, void, void> {
    binlogPath(index, line);
    const bytes = await this.#do('read binlog', () => {
      const file = this.#node.disk.file(line);
      return file === undefined ? null : Buffer.from(file.bytes);
    });
    if (bytes === null)
      throw new PhxError('BINLOG_CORRUPT', `open binlog ${line}: it is in the index but cannot be read`);
    yield bytes;
  }

  /** The steps of agent/host/tail-cutter.ts, each of which may be the last. */
  async #perform(plan: CutPlan): Promise<void> {
    const { disk } = this.#node;
    try {
      this.#node.onCut?.(takenBy(plan, disk));
    } catch (error) {
      this.#node.kernel.fail(error); // a checker's word, not the agent's to handle
    }
    this.#node.kernel.trace(
      this.#agent.name,
      () => `cuts the binlog: ${plan.reason}, ${plan.transactions} transactions`,
    );
    await this.#write('keep the cut aside', () => {});
    if (plan.serverUuid !== null) {
      await this.#write('write auto.cnf', () => {
        disk.serverUuid = plan.serverUuid;
      });
    }
    await this.#write('note what is cut', () => {
      disk.removedByCuts = disk.removedByCuts.union(GtidSet.parse(plan.gtids ?? ''));
    });
    await this.#write('write index', () => {
      disk.index = [...plan.keep];
    });
    const last = plan.keep.at(-1);
    if (last !== undefined) await this.#write('truncate binlog', () => this.#truncate(disk, last, plan.length));
    await this.#write('delete binlogs', () => {
      for (const line of plan.drop) disk.files.delete(nameOf(line));
    });
    await this.#write('remove cut plan', () => {
      disk.cutPlan = null;
    });
  }

  #truncate(disk: MysqldDisk, line: string, length: number | null): void {
    const file = disk.file(line);
    if (file === undefined) throw new PhxError('STORE_IO', `cut ${line}: no such file`);
    if (length !== null) file.truncate(length);
    if (file.length > FLAGS_OFFSET) file.bytes[FLAGS_OFFSET] = (file.bytes[FLAGS_OFFSET] ?? 0) | EVENT_FLAG_IN_USE;
    file.sync();
  }

  /** In the data directory: never under a mysqld that runs (protocol-findings 12). */
  #write(what: string, effect: () => void): Promise<void> {
    return this.#do(what, () => {
      const { disk, kernel } = this.#node;
      if (disk.holder !== null) kernel.fail(new Error(`${what} while mysqld ${disk.holder} has the data directory`));
      effect();
    });
  }

  #do<T>(what: string, effect: () => T | Promise<T>): Promise<T> {
    return this.#agent.io(what, FILE_MS, effect);
  }
}

/** What is still there of the transactions a plan takes away. */
function takenBy({ keep, length, drop }: CutPlan, disk: MysqldDisk): readonly CutTransaction[] {
  const last = keep.at(-1);
  const pieces = drop.map((line) => ({ line, from: 0 }));
  if (last !== undefined && length !== null) pieces.unshift({ line: last, from: length });
  return pieces.flatMap(({ line, from }) => {
    const bytes = disk.file(line)?.bytes ?? Buffer.alloc(0);
    const found = new BinlogFileScanner().push(bytes);
    return found
      .filter(({ startOffset }) => startOffset >= from)
      .map(({ startOffset, endOffset, crc }) => ({
        ...decodeTransaction(new EventSplitter().push(Buffer.from(bytes.subarray(startOffset, endOffset)))),
        crc,
      }));
  });
}
