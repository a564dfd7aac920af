import type { DiskImage } from './disk.ts';
import type { Faults } from './faults.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './node.ts';

export const STORE_FAULTS = ['store wiped', 'older disk restored'] as const;

/** What may happen to all that a node's binlogsvr has on disk. Both make an acceptor forget: one at a time in a world. */
export class StoreFaults {
  readonly #kernel: Kernel;
  readonly #faults: Faults;
  readonly #nodes: readonly SimNode[];
  #image: Readonly<{ node: SimNode; image: DiskImage }> | null = null;

  constructor(kernel: Kernel, faults: Faults, nodes: readonly SimNode[]) {
    this.#kernel = kernel;
    this.#faults = faults;
    this.#nodes = nodes;
    faults.define('store wiped', (node) => this.#wipe(node));
    faults.define('older disk restored', (node) => this.#restore(node));
  }

  /** A new disk under a known name. */
  #wipe(node: SimNode): boolean {
    if (!node.powered || !this.#faults.forgets(node)) return false;
    this.#whileOff(node, () => node.disk.wipe());
    return true;
  }

  /**
   * Image taken; the node goes on; its volume becomes that image again. What is promised is that whoever heard how far the store was
   * refuses it: so all the others have to have that on disk, or it was no older image but one nobody could know of.
   */
  #restore(node: SimNode): boolean {
    if (this.#image === null) {
      const image = node.powered ? node.disk.image() : null;
      if (image !== null) this.#image = { node, image };
      return false;
    }
    const { node: victim, image } = this.#image;
    if (!victim.powered) return false;
    if (victim.disk.memory.identity?.storeId !== image.storeId) {
      this.#image = null;
      return false;
    }
    const others = this.#nodes.filter((each) => each !== victim && each.inUse);
    if (!others.every((each) => remembers(each, victim, image))) {
      // What it says when it connects again is what they remember.
      victim.processes.get('binlogsvr')?.kill('so that it says again how far it is');
      return false;
    }
    if (!this.#faults.forgets(victim)) return false;
    this.#image = null;
    this.#whileOff(victim, () => victim.disk.restore(image));
    return true;
  }

  #whileOff(node: SimNode, work: () => void): void {
    node.cutPower(false);
    work();
    this.#kernel.at(50 + this.#faults.long(), () => node.power());
  }
}

/** On its disk, as binlogsvr/peer-floors.ts writes it. */
function remembers({ disk }: SimNode, { id }: SimNode, { storeId, durableSeq }: DiskImage): boolean {
  const json = disk.memory.meta.get('peer-floors');
  if (json === undefined) return false;
  const floors = new Map(JSON.parse(json) as [number, [string, number][]][]).get(id) ?? [];
  return (new Map(floors).get(storeId) ?? 0) > durableSeq;
}
