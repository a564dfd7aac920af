import { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import { decodeScripted, ScriptedData, ScriptedMaster } from './master.ts';
import type { SimNode } from './node.ts';
import { SimBinlogsvrClient } from './rpc.ts';
import { SimWorld, type WorldOptions } from './world.ts';

/** A third of production's, in the same relations: a seed sees more elections in its time. */
const LEASE: LeaseTimes = { leaseMs: 1000, renewMs: 170, takeoverMs: 1200 };

type Pace = Readonly<{ writeMs: number; readMs: number; executeMs: number }>;

/** The replicated log alone: binlogsvrs with scripted masters and clients. */
export class LogWorld extends SimWorld {
  constructor(options: WorldOptions) {
    super(options, { lease: LEASE, decode: decodeScripted, extraFaults: [] });
    const { random } = this;
    const pace = {
      writeMs: random.pick([20, 60, 150]),
      readMs: random.pick([40, 100]),
      executeMs: random.pick([20, 80, 300]),
    };
    for (const node of this.nodes) this.#addMaster(node, pace);
  }

  #addMaster(node: SimNode, pace: Pace): void {
    const { kernel, tally, history } = this;
    const data = new ScriptedData();
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
        }).run();
      },
    });
  }
}
