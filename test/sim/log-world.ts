import { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import { decodeScripted, ScriptedData, ScriptedMaster } from './master.ts';
import type { SimNode } from './node.ts';
import { SimBinlogsvrClient } from './rpc.ts';
import { hasCap } from './upkeep-plan.ts';
import { SimWorld, type WorldOptions } from './world.ts';

/** A third of production's, in the same relations: a seed sees more elections in its time. */
const LEASE: LeaseTimes = { leaseMs: 1000, renewMs: 170, takeoverMs: 1200 };

type Pace = Readonly<{ writeMs: number; readMs: number; executeMs: number }>;

/** The replicated log alone: binlogsvrs with scripted masters and clients. */
export class LogWorld extends SimWorld {
  readonly #datas = new Map<number, ScriptedData>();

  constructor(options: WorldOptions) {
    super(options, { lease: LEASE, decode: decodeScripted, extraFaults: [], purges: true });
    const { random } = this;
    const pace = {
      writeMs: random.pick([20, 60, 150]),
      readMs: random.pick([40, 100]),
      executeMs: random.pick([20, 80, 300]),
    };
    for (const node of this.nodes) if (this.spares.get(node.id) !== 'witness') this.#addMaster(node, pace);
  }

  protected override illness(ackedBefore: number): string {
    const illness = super.illness(ackedBefore);
    if (illness !== '') return illness;
    for (const node of this.nodes) {
      const data = this.#datas.get(node.id);
      if (data === undefined || this.seatOf(node) === undefined) continue;
      const missing = this.log.gtidSet.count() - data.executed.size;
      if (missing > 40) return `node ${node.id} has ${missing} transactions still to execute`;
    }
    return '';
  }

  #addMaster(node: SimNode, pace: Pace): void {
    const { kernel, tally, history } = this;
    const data = new ScriptedData();
    this.#datas.set(node.id, data);
    node.onEmptied = () => data.empty();
    const { purge } = this.upkeep;
    const reports = this.members.operator !== null || purge !== null;
    const others = (): readonly ScriptedData[] => [...this.#datas.values()].filter((each) => each !== data);
    // A founder that never left was always heard of: nothing it lacks may be gone, unless the log reached its cap.
    const mayLack = (): boolean => node.joins || this.seatOf(node) === undefined || purge === null || hasCap(purge);
    node.supervise({
      name: 'master',
      run: (process) => {
        const server = () => node.server;
        new ScriptedMaster({
          kernel,
          node: node.id,
          process,
          client: new SimBinlogsvrClient(kernel, process, server, () => this.faults.rpc, tally),
          server,
          data,
          history,
          lease: LEASE,
          random: new Prng(kernel.random.next32()),
          tally,
          unique: () => this.unique(),
          pace,
          reports,
          others,
          mayLack,
        }).run();
      },
    });
  }
}
