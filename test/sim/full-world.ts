import { Prng } from '../../base/prng.ts';
import type { LeaseTimes } from '../../base/topology.ts';
import { ViewFeed } from '../../proxy/feed.ts';
import { addressOf } from './addresses.ts';
import { CLIENT_KEY } from './checkers/history.ts';
import { check, type Writes } from './checkers/log.ts';
import { SimRwPort } from './clients.ts';
import { MYSQL_FAULTS, MysqlFaults } from './mysql-faults.ts';
import { decodeTransaction } from './mysqld/binlog-bytes.ts';
import { MysqlSide } from './mysqld/mysql-side.ts';
import { type SimNode, simLogger } from './node.ts';
import { SimBinlogsvrClient } from './rpc.ts';
import { SimWorld, type WorldOptions } from './world.ts';

/** Half of production's: the agent's own times (probes, health) stay as they are. */
const LEASE: LeaseTimes = { leaseMs: 1500, renewMs: 250, takeoverMs: 1750 };
const EVENT_SIZE_OFFSET = 9;

/** Whole nodes: production binlogsvr, sync and agent, a scripted mysqld, and clients at the RW port of every node. */
export class FullWorld extends SimWorld {
  readonly #sides = new Map<number, MysqlSide>();
  readonly #mysqlFaults: MysqlFaults;

  constructor(options: WorldOptions) {
    super(options, { lease: LEASE, decode: decodeEvents, extraFaults: MYSQL_FAULTS, purges: false });
    const { random, kernel, tally } = this;
    const pace = {
      writeMs: random.pick([60, 200]),
      readMs: random.pick([60, 150]),
      clients: random.pick([1, 2]),
    };
    const ids = this.nodes.map(({ id }) => id);
    for (const node of this.nodes) {
      if (this.spares.get(node.id) === 'witness') continue;
      const side = new MysqlSide({
        kernel,
        node,
        nodes: ids,
        random: kernel.fork(),
        lease: LEASE,
        rpc: () => this.faults.rpc,
        tally,
      });
      this.#sides.set(node.id, side);
      node.onPowerCut = () => side.powerCut();
      node.onEmptied = () => side.mysqld.disk.wipe();
      side.mysqld.onCut = (taken) => {
        for (const { gtid, crc } of taken) {
          check(
            this.log.crcOf(gtid) !== crc,
            () => `node ${node.id} cuts ${gtid} from its binlog, which the log holds`,
          );
        }
      };
    }
    for (const node of this.nodes) this.#addProxy(node, pace);
    this.#mysqlFaults = new MysqlFaults({ kernel, faults: this.faults, sides: this.#sides, nodes: this.nodes, tally });
  }

  #addProxy(node: SimNode, pace: Readonly<{ writeMs: number; readMs: number; clients: number }>): void {
    const { kernel, tally, history, network } = this;
    const mysqlds = new Map([...this.#sides].map(([id, { mysqld }]) => [id, mysqld]));
    const addresses = this.nodes.map(({ id }) => addressOf(id));
    node.supervise({
      name: 'proxy',
      run: (process) => {
        const feed = new ViewFeed({
          nodes: addresses,
          self: addressOf(node.id),
          connect: ({ id }) => {
            const server = () => this.nodes.find((each) => each.id === id)?.server ?? null;
            const there = () => id === node.id || !network.isBlocked(node.id, id);
            const back = () => id === node.id || !network.isBlocked(id, node.id);
            return new SimBinlogsvrClient(kernel, process, server, () => this.faults.rpc, tally, { there, back });
          },
          lease: LEASE,
          clock: process.clock,
          log: simLogger(kernel, process.name),
        });
        const random = new Prng(kernel.random.next32());
        const unique = (): number => this.unique();
        new SimRwPort({ kernel, node, process, feed, network, mysqlds, history, random, tally, unique, pace }).run();
      },
    });
  }

  /** What anybody may see of a mysqld is in the log (I6). */
  protected override lookCloser(): void {
    for (const [id, { mysqld }] of this.#sides) {
      const { listening } = mysqld;
      if (listening === null || listening.offlineMode) continue;
      const extra = mysqld.disk.engine.gtidSet.subtract(this.log.gtidSet);
      check(extra.isEmpty, () => `mysqld of node ${id} serves ${extra}, which is not in the log`);
    }
  }

  protected override illness(ackedBefore: number): string {
    const illness = super.illness(ackedBefore);
    if (illness !== '') return illness;
    for (const node of this.nodes) {
      const { id, server } = node;
      if (!this.#followed(node)) continue;
      const report = server?.services.agentReport ?? null;
      if (report === null || server?.services.view().agentAlive !== true)
        return `the agent of node ${id} does not report`;
      if (this.#isOut(id)) continue;
      if (report.role !== 'replica' && report.role !== 'master')
        return `node ${id} is ${report.role}: ${report.reason}`;
      const side = this.#sides.get(id) as MysqlSide;
      const { listening } = side.mysqld;
      if (listening === null) return `mysqld of node ${id} is down`;
      if (listening.executed.count() + 40 < this.log.gtidSet.count()) return `mysqld of node ${id} is far behind`;
    }
    return '';
  }

  /** It has a MySQL, and a place in the cluster. */
  #followed(node: SimNode): boolean {
    return this.#sides.has(node.id) && this.seatOf(node) !== undefined;
  }

  /** A server that somebody's SHUTDOWN made commit what nobody agreed to stays out, by its own judgement, and serves nothing. */
  #isOut(id: number): boolean {
    if (this.#mysqlFaults.poisoned?.id !== id) return false;
    const node = this.nodes.find((each) => each.id === id);
    const report = node?.server?.services.agentReport;
    return report?.role === 'failed' && !report.servingReads && !report.servingWrites;
  }

  /** Clients stop; then every MySQL holds the same, and that is what the log says. */
  protected override async verifyEnd(): Promise<void> {
    const { kernel } = this;
    for (const node of this.nodes) node.stop('proxy');
    const until = kernel.now + 5000;
    const followed = this.nodes.filter((node) => this.#followed(node)).map(({ id }) => id as number);
    const sound = [...this.#sides].filter(([id]) => followed.includes(id) && !this.#isOut(id));
    const equal = (): boolean => sound.every(([, { mysqld }]) => mysqld.disk.engine.gtidSet.equals(this.log.gtidSet));
    while (!equal() && kernel.now < until) await kernel.runUntil(kernel.now + 50);
    const expected = new Map<string, string>();
    for (const { writes } of this.log.transactions) {
      for (const [key, value] of Object.entries(writes)) if (key.startsWith(CLIENT_KEY)) expected.set(key, value);
    }
    for (const [id, { mysqld }] of sound) {
      const { gtidSet, rows } = mysqld.disk.engine;
      check(
        gtidSet.equals(this.log.gtidSet),
        () => `mysqld of node ${id} has executed ${gtidSet}, the log holds ${this.log.gtidSet}`,
      );
      for (const [key, value] of expected) {
        check(rows.get(key) === value, () => `node ${id} has ${key} = ${rows.get(key)}, the log says ${value}`);
      }
    }
  }
}

/** The events of one transaction, end to end, as a scripted mysqld writes them. */
function decodeEvents(events: Uint8Array): Writes {
  const bytes = Buffer.from(events);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = bytes.readUInt32LE(at + EVENT_SIZE_OFFSET);
    parts.push(bytes.subarray(at, at + size));
    at += size;
  }
  return decodeTransaction(parts).writes;
}
