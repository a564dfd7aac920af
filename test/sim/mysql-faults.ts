import type { Prng } from '../../base/prng.ts';
import type { ExtraFault, Faults } from './faults.ts';
import type { Kernel } from './kernel.ts';
import type { DatadirSnapshot } from './mysqld/disk.ts';
import type { MysqlSide } from './mysqld/mysql-side.ts';
import type { SimNode } from './node.ts';
import { SimProcess } from './process.ts';
import type { Tally } from './tally.ts';

export const MYSQL_FAULTS = [
  'datadir stalls',
  'pinned setting changed',
  'setting persisted',
  'statement past super_read_only',
  'account statement',
  'stray SHUTDOWN',
  'old datadir restored',
  'switchover',
] as const;

export type MysqlFaultsOptions = Readonly<{
  kernel: Kernel;
  faults: Faults;
  sides: ReadonlyMap<number, MysqlSide>;
  nodes: readonly SimNode[];
  tally: Tally;
}>;

/** What may happen to the MySQL of a node, beside what happens to its processes. */
export class MysqlFaults {
  readonly #kernel: Kernel;
  readonly #sides: ReadonlyMap<number, MysqlSide>;
  readonly #nodes: readonly SimNode[];
  readonly #tally: Tally;
  readonly #random: Prng;
  readonly #faults: Faults;
  readonly #snapshots = new Map<number, DatadirSnapshot>();
  #poisoned: SimNode | null = null;

  constructor(options: MysqlFaultsOptions) {
    const { kernel, faults, sides, nodes, tally } = options;
    this.#kernel = kernel;
    this.#sides = sides;
    this.#nodes = nodes;
    this.#tally = tally;
    this.#random = kernel.fork();
    this.#faults = faults;
    const kinds: Readonly<Record<(typeof MYSQL_FAULTS)[number], ExtraFault>> = {
      'datadir stalls': (node) => {
        this.#of(node).stallDisk(faults.long());
        return true;
      },
      'pinned setting changed': (node) => {
        this.#of(node).change('sync_binlog', '0');
        return true;
      },
      'setting persisted': (node) => {
        this.#of(node).persist('super_read_only');
        return true;
      },
      'statement past super_read_only': (node) => this.#state(node, 'past'),
      'account statement': (node) => this.#state(node, 'account'),
      'stray SHUTDOWN': (node) => this.#shutDown(node),
      'old datadir restored': (node) => this.#restore(node),
      switchover: (node) => this.#switchOver(node),
    };
    for (const [kind, inject] of Object.entries(kinds)) {
      faults.define(kind, (node) => sides.has(node.id) && inject(node));
    }
  }

  /** The node whose MySQL somebody's SHUTDOWN may have made commit what nobody agreed to: it may stay out, and says why. */
  get poisoned(): SimNode | null {
    return this.#poisoned;
  }

  /** An operator asks who believes to be master to hand over to this node, or to whom it likes. */
  #switchOver({ id }: SimNode): boolean {
    const servers = this.#nodes.map(({ server }) => server).filter((server) => server !== null);
    const server = servers.find(({ services }) => services.view().master === services.view().node);
    if (server === undefined || !server.services.view().open) return false;
    const to = this.#random.chance(1, 2) ? 0 : id;
    const timeoutMs = 1000 + this.#random.below(4000);
    server.process.deliver(() => {
      server.services.switchover(to, timeoutMs).then(
        ({ accepted }) => this.#tally.add(accepted ? 'switched over' : 'switchover refused or undone'),
        () => this.#tally.add('switchover of unknown outcome'),
      );
    });
    return true;
  }

  #of(node: SimNode) {
    return (this.#sides.get(node.id) as MysqlSide).mysqld;
  }

  /** By an application's session on this very server, whatever its role. */
  #state(node: SimNode, what: 'past' | 'account'): boolean {
    const mysqld = this.#of(node);
    if (mysqld.listening === null) return false;
    const user = new SimProcess(this.#kernel, `user ${node.id}`, node.machine);
    const work = async (): Promise<void> => {
      const session = await mysqld.connect(user);
      await (what === 'past'
        ? session.writeThrough()
        : session.writeAcl({ [`user${this.#random.below(100)}`]: 'made' }));
      session.close();
    };
    work().catch(() => {}); // refused, or lost: it was only there to disturb
    return true;
  }

  /** Waiters are released as committed: that server is lost, so only one of a world may be. */
  #shutDown(node: SimNode): boolean {
    if (this.#poisoned !== null && this.#poisoned !== node) return false;
    const mysqld = this.#of(node);
    if (mysqld.listening === null) return false;
    this.#poisoned = node;
    mysqld.terminate();
    return true;
  }

  /** The volume goes back to a snapshot taken earlier, with the power off (protocol-findings 10). */
  #restore(node: SimNode): boolean {
    const mysqld = this.#of(node);
    const snapshot = this.#snapshots.get(node.id);
    if (snapshot === undefined) {
      this.#snapshots.set(node.id, mysqld.disk.snapshot());
      return false;
    }
    if (!node.powered) return false;
    this.#snapshots.delete(node.id);
    node.cutPower(false);
    mysqld.disk.restore(snapshot);
    this.#kernel.at(100 + this.#faults.long(), () => node.power());
    return true;
  }
}
