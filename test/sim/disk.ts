import type { InstanceId, NodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import { type Device, MemoryDisk, MemoryLogStore } from '../../binlogsvr/memory-store.ts';
import type { OpenReport } from '../../binlogsvr/store-port.ts';
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

type Pending = Readonly<{ parts: number; land: (parts: number) => void }>;

/**
 * The disk of one node's binlogsvr: slow, failing, torn at a crash, and with damage that is noticed when it is read. It
 * outlives the processes that use it.
 *
 *   write ──latency──► landed, synced          process dies meanwhile: a beginning of the batch may have landed
 *     └────latency──► STORE_IO                 a beginning of the batch may have landed
 */
export class SimDisk {
  readonly memory = new MemoryDisk();
  readonly #kernel: Kernel;
  readonly #node: NodeId;
  readonly #random: Prng;
  readonly #tally: Tally;
  readonly #pending = new Set<Pending>();
  #profile: DiskProfile;
  #stores = 0;

  constructor(kernel: Kernel, node: NodeId, profile: DiskProfile, tally: Tally) {
    this.#kernel = kernel;
    this.#node = node;
    this.#random = kernel.fork();
    this.#profile = profile;
    this.#tally = tally;
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
    if (amnesia === null) return opened;
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

  /** Damage to an acceptor record the acceptor still needs: at its next open the store knows that it forgot. */
  damageAcceptor(): boolean {
    const { memory } = this;
    if (memory.records.length === 0 || memory.amnesia !== null) return false;
    memory.amnesia = `acceptor record ${1 + this.#random.below(memory.records.length)} is damaged`;
    return true;
  }

  /** A chosen value no longer reads well, to be noticed when it is read. */
  damageValue(upTo: number): boolean {
    const settled = Math.min(upTo, this.memory.saved?.appliedIndex ?? 0);
    const retained = (this.memory.base?.appliedIndex ?? 0) + 1;
    if (settled < retained) return false;
    const instance = (retained + this.#random.below(settled - retained + 1)) as InstanceId;
    this.memory.repaired.delete(instance);
    this.memory.damaged.add(instance);
    return true;
  }

  /** A value is bad here, whether that was noticed or not. */
  get damaged(): boolean {
    const { damaged, repaired } = this.memory;
    return [...damaged].some((instance) => !repaired.has(instance));
  }

  #openMemory(process: SimProcess): Promise<{ store: MemoryLogStore; report: OpenReport }> {
    return MemoryLogStore.open({
      disk: this.memory,
      cluster: 'sim',
      node: this.#node,
      storeId: this.#freshStoreId(),
      clockWall: () => process.clock.wall(),
      device: this.#device(process),
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
