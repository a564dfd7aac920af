import type { NodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import { type Device, MemoryDisk, MemoryLogStore } from '../../binlogsvr/memory-store.ts';
import { type OpenReport, PURGE_MARGIN } from '../../binlogsvr/store-port.ts';
import type { Kernel } from './kernel.ts';
import type { SimProcess } from './process.ts';
import type { Tally } from './tally.ts';

/** How a seed's disks are. Chances are per operation, in 1/1,000,000. */
export type DiskProfile = Readonly<{
  /** Of a synced write, from..to. */
  syncMs: readonly [number, number];
  slowChance: number;
  slowMsMax: number;
  failChance: number;
}>;

/** What lay on a disk at some time. */
export type DiskImage = Readonly<{ memory: MemoryDisk; storeId: string; durableSeq: number }>;

type Pending = Readonly<{ parts: number; land: (parts: number) => void }>;

/**
 * The disk of one node's binlogsvr: slow, failing, torn at a crash, and with damage that is noticed when it is read. It
 * outlives the processes that use it.
 *
 *   write ──latency──► landed, synced          process dies meanwhile: a beginning of the batch may have landed
 *     └────latency──► STORE_IO                 a beginning of the batch may have landed
 */
export class SimDisk {
  memory = new MemoryDisk();
  readonly #kernel: Kernel;
  readonly #node: NodeId;
  readonly #random: Prng;
  readonly #tally: Tally;
  readonly #pending = new Set<Pending>();
  #profile: DiskProfile;
  readonly #purgeMargin: number;
  #stores = 0;
  /** This store writes a checkpoint whenever it is opened. */
  readonly #checkpoints: boolean;
  /** The store forgot, and nobody has said yet that the new one is bound. */
  forgot = false;
  /** The store that has to be another one first. */
  #lost: string | null = null;

  constructor(kernel: Kernel, node: NodeId, profile: DiskProfile, tally: Tally, purgeMargin = PURGE_MARGIN) {
    this.#kernel = kernel;
    this.#node = node;
    this.#random = kernel.fork();
    this.#profile = profile;
    this.#purgeMargin = purgeMargin;
    this.#tally = tally;
    this.#checkpoints = this.#random.chance(1, 2);
  }

  /** All of this store goes, or goes back: it counts as one that forgot until another one is bound. */
  loses(): void {
    this.forgot = true;
    this.#lost = this.memory.identity?.storeId ?? null;
  }

  /** The store that is open votes. */
  boundAgain(): void {
    if (this.memory.identity?.storeId === this.#lost) return;
    this.forgot = false;
    this.#lost = null;
  }

  /** From now on it neither fails nor stalls. */
  heal(): void {
    this.#profile = { ...this.#profile, slowChance: 0, failChance: 0 };
  }

  /** What production does at start: opens the store; one that forgot is set aside and a new one begun. */
  async open(process: SimProcess): Promise<{ store: MemoryLogStore; report: OpenReport }> {
    process.onDeath(() => this.#interrupt());
    await process.io('open the store', 1 + this.#random.below(5), () => {});
    const opened = await this.#openMemory(process);
    const { amnesia } = opened.report;
    if (amnesia === null) {
      if (this.#checkpoints) this.memory.checkpoint = opened.report.applied;
      return opened;
    }
    this.forgot = true;
    this.#kernel.trace(process.name, () => `the store forgot: ${amnesia}`);
    await opened.store.close();
    await process.io('begin a new store', 1 + this.#random.below(5), () => {
      this.memory.forget(this.#freshStoreId(), amnesia);
    });
    return this.#openMemory(process);
  }

  /** What was not synced is gone. The processes are dead already. */
  powerCut(): void {
    this.memory.powerCut();
  }

  /** With no process using it: an empty disk in its place. */
  wipe(): void {
    this.memory = new MemoryDisk();
  }

  /** As a snapshot of the volume has it; null: there is no store yet. */
  image(): DiskImage | null {
    const { identity, records, amnesia } = this.memory;
    if (identity === null || amnesia !== null) return null;
    return { memory: copyOf(this.memory), storeId: identity.storeId, durableSeq: records.length };
  }

  /** With no process using it: the volume is what it was. */
  restore({ memory }: DiskImage): void {
    this.memory = copyOf(memory);
  }

  /** Damage to an acceptor record the acceptor still needs: at its next open the store knows that it forgot. */
  damageAcceptor(): boolean {
    const { memory } = this;
    if (memory.records.length === 0 || memory.amnesia !== null) return false;
    memory.amnesia = `acceptor record ${1 + this.#random.below(memory.records.length)} is damaged`;
    this.forgot = true;
    return true;
  }

  /**
   * The record of any instance no longer reads well, perhaps not even its ballot. It is noticed when the value is read; or when
   * the store is opened, if the acceptor still answers for it: then the store forgot.
   */
  damageValue(): boolean {
    const { records, repaired, damaged, unreadable } = this.memory;
    if (records.length === 0) return false;
    const record = this.#random.pick(records);
    if (record.kind !== 'accepted') return false;
    const { instance } = record.entry;
    repaired.delete(instance);
    damaged.add(instance);
    if (this.#random.chance(1, 2)) unreadable.add(instance);
    return true;
  }

  /** A record is bad here, whether that was noticed or not, or would still be one too many for the acceptor at its next open. */
  get damaged(): boolean {
    const { damaged, repaired, checkpoint, base } = this.memory;
    if (damaged.size === 0) return false;
    const sealed = checkpoint?.appliedIndex ?? 0;
    const purged = base?.appliedIndex ?? 0;
    return [...damaged].some((instance) => instance > purged && (instance > sealed || !repaired.has(instance)));
  }

  #openMemory(process: SimProcess): Promise<{ store: MemoryLogStore; report: OpenReport }> {
    return MemoryLogStore.open({
      disk: this.memory,
      cluster: 'sim',
      node: this.#node,
      storeId: this.#freshStoreId(),
      clockWall: () => process.clock.wall(),
      device: this.#device(process),
      purgeMargin: this.#purgeMargin,
    });
  }

  #freshStoreId(): string {
    this.#stores += 1;
    return `node${this.#node}-store${this.#stores}`;
  }

  #device(process: SimProcess): Device {
    return {
      write: (what, parts, land) => {
        const pending = { parts, land };
        this.#pending.add(pending);
        const fails = this.#drawn(this.#profile.failChance);
        return process.io(`write ${what}`, this.#latency(), () => {
          this.#pending.delete(pending);
          if (fails) {
            this.#tally.add('disk write failed');
            this.#kernel.trace(process.name, () => `disk: writing ${what} fails`);
            this.#landPart(pending);
            throw new PhxError('STORE_IO', `write ${what}: the disk says no`);
          }
          land(parts);
        });
      },
      touch: (what) => process.io(`read ${what}`, this.#latency() / 4, () => {}),
    };
  }

  #latency(): number {
    const { syncMs, slowChance, slowMsMax } = this.#profile;
    if (this.#drawn(slowChance)) {
      this.#tally.add('disk write slow');
      return 10 + this.#random.below(slowMsMax);
    }
    return syncMs[0] + ((syncMs[1] - syncMs[0]) * this.#random.below(1000)) / 1000;
  }

  #drawn(perMillion: number): boolean {
    return perMillion > 0 && this.#random.below(1_000_000) < perMillion;
  }

  /** The process died: of the write under way a beginning may have arrived, or all of it. */
  #interrupt(): void {
    for (const pending of this.#pending) {
      this.#tally.add('write torn by a crash');
      this.#landPart(pending);
    }
    this.#pending.clear();
    this.memory.holder?.crash();
  }

  #landPart({ parts, land }: Pending): void {
    land(this.#random.below(parts + 1));
  }
}

function copyOf(disk: MemoryDisk): MemoryDisk {
  const copy = new MemoryDisk();
  copy.identity = disk.identity;
  copy.records = [...disk.records];
  copy.repaired = new Map(disk.repaired);
  copy.meta = new Map(disk.meta);
  copy.base = disk.base;
  copy.reclaimed = disk.reclaimed;
  copy.saved = disk.saved;
  copy.checkpoint = disk.checkpoint;
  copy.samples = new Map(disk.samples);
  copy.damaged = new Set(disk.damaged);
  copy.unreadable = new Set(disk.unreadable);
  copy.amnesia = disk.amnesia;
  return copy;
}
