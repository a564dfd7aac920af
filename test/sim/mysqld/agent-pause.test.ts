import { expect, it } from 'vitest';
import { startAgent } from '../../../agent/agent.ts';
import type { AgentStore } from '../../../agent/context.ts';
import type { MysqldAdmin } from '../../../agent/mysqld-admin.ts';
import { nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { silentLogger } from '../../../base/ports.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import { view } from '../../unit/proxy/fakes.ts';
import { addressOf } from '../addresses.ts';
import { Bench } from './bench.ts';

const away = (): never => {
  throw new PhxError('UNAVAILABLE', 'no answer');
};

/** A follower of node 2: it is told so, and asks for nothing more. */
const store: AgentStore = {
  report: async (agent) => view({ node: 1, epoch: 1, master: 2, agent }),
  subscribe: async function* () {
    await new Promise(() => {});
  },
  baseline: away,
  stand: away,
  renew: away,
  fence: away,
  transfer: away,
  barrier: away,
  compareTail: away,
};

/*
 * Every failed probe used to end the pause after the failure it belonged to: an agent whose mysqld refuses its connections asked
 * again without taking a breath (seed 77 of the simulator never ended).
 */
it('an agent whose mysqld answers nothing more pauses between its attempts', async () => {
  const bench = new Bench();
  const server = bench.server;
  let probes = 0;
  const refusing: Partial<MysqldAdmin> = {
    probe: () => {
      probes += 1;
      if (probes === 1) return server.admin.probe();
      return probes < 1000 ? Promise.reject(new PhxError('MYSQL_DOWN', 'refused')) : new Promise(() => {});
    },
  };
  const over = <T extends object>(whole: T, part: Partial<T>): T =>
    new Proxy(whole, {
      get: (target, name) => {
        const value: unknown = Reflect.get(name in part ? part : target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const agent = startAgent({
    self: addressOf(nodeId(1)),
    nodes: [addressOf(nodeId(1)), addressOf(nodeId(2))],
    client: store,
    server: over(server, { admin: over(server.admin, refusing) }),
    security: { clusterSecret: 'secret', tls: null },
    lease: DEFAULT_LEASE,
    clock: bench.agent.clock,
    random: bench.kernel.fork(),
    log: silentLogger,
  });
  await bench.until(() => probes > 0, 20_000);
  await bench.run(3_000);
  // Its own round of questions is one each 200 ms; the attempts come at growing intervals.
  expect(probes).toBeLessThan(60);
  bench.agent.kill();
  void agent;
});
