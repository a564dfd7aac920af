import { onTestFinished } from 'vitest';
import type { AgentContext, AgentStore, Exposure } from '../../agent/context.ts';
import type { Observation } from '../../agent/decide.ts';
import { MysqldWatch } from '../../agent/mysqld-watch.ts';
import { Timeline } from '../../agent/timeline.ts';
import { ViewKeeper } from '../../agent/view-keeper.ts';
import { nodeId } from '../../base/brands.ts';
import { type Clock, silentLogger } from '../../base/ports.ts';
import { Prng } from '../../base/prng.ts';
import { DEFAULT_LEASE, type NodeAddress } from '../../base/topology.ts';
import { TailComparison } from '../../binlogsvr/tail-compare.ts';
import { buildView } from '../../binlogsvr/view.ts';
import type { AgentReport, AgentRole, View } from '../../proto/binlogsvr-types.ts';
import type { World } from '../unit/binlogsvr/replica-world.ts';
import { ScriptedMysqld } from './scripted-mysqld.ts';

/** What the agent's parts share, over a scripted mysqld and the replica of `node` in the world. */
export type ScriptedAgent = Readonly<{
  context: AgentContext;
  mysqld: ScriptedMysqld;
  view: () => View;
  observe: (more: Partial<Observation>) => Observation;
}>;

export function agentOf(world: World, node: number): ScriptedAgent {
  const clock = world.clocks.get(nodeId(node)) as Clock;
  const mysqld = new ScriptedMysqld(clock);
  const view = (): View => {
    const replica = world.at(node);
    return buildView({
      node,
      state: replica.state,
      chosenIndex: replica.chosenIndex,
      leading: replica.leading,
      quorum: replica.quorum,
      mayVote: replica.mayVote,
      votingReason: replica.votingReason,
      takeoverInMs: replica.takeoverInMs,
      leaseRemainingMs: replica.leaseRemainingMs,
      report: null,
      sync: {
        state: 'attached',
        epoch: replica.state.epoch,
        reason: '',
        ackedTransactions: 0,
        appends: 0,
        pid: 1,
        spareReady: true,
        repeatedAcks: 0,
      },
      lagMs: 0,
      needsClone: '',
      purged: replica.purged,
      nowMs: clock.now(),
    });
  };
  const client: AgentStore = {
    baseline: (gtidSet, ms) => world.lease(node).baseline(gtidSet, ms),
    stand: (executed, epoch, ms) => world.lease(node).stand(executed, epoch, ms),
    renew: (epoch, ms) => world.lease(node).renew(epoch, ms),
    fence: (epoch, release, ms) => world.lease(node).fence(epoch, release, ms),
    transfer: (epoch, to, ms) => world.lease(node).transfer(epoch, to, world.at(node).state.lastTransactionIndex, ms),
    barrier: async (ms) => {
      await world.at(node).barrier(ms);
      return view();
    },
    compareTail: async (transactions) => {
      const comparison = new TailComparison(world.at(node));
      for (const transaction of transactions) if (!(await comparison.next(transaction))) break;
      return comparison.result;
    },
    report: async () => view(),
    subscribe: async function* (signal) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      yield view();
    },
  };
  const log = silentLogger;
  let role: AgentRole = 'stopped';
  const changed = (): void => {};
  const watch = new MysqldWatch({ admin: mysqld.admin, clock, log, changed });
  const views = new ViewKeeper({ client, clock, log, report: () => ({}) as AgentReport, changed });
  onTestFinished(() => {
    views.close();
    watch.close();
  });
  const self: NodeAddress = {
    id: nodeId(node),
    host: '127.0.0.1',
    rw: 1,
    ro: 2,
    dump: 3,
    rpc: 4,
    mysql: 5,
    http: 6,
  };
  const context: AgentContext = {
    options: {
      self,
      nodes: [self],
      client,
      server: mysqld,
      security: { clusterSecret: 'a secret of the scripts', tls: null },
      lease: DEFAULT_LEASE,
      clock,
      random: new Prng(1),
      log,
    },
    server: mysqld,
    admin: mysqld.admin,
    watch,
    views,
    timeline: new Timeline(clock, log),
    clock,
    log,
    role: () => role,
    stopping: () => false,
    become: (next) => {
      role = next;
    },
    say: () => {},
    expose: async (_: Partial<Exposure>) => {},
  };
  const observe = (more: Partial<Observation>): Observation => ({
    self: node,
    role,
    view: view(),
    mysqld: watch.facts(view().gtidSet, clock.now(), view().xa),
    stoodUpon: -1,
    masterEpoch: 0,
    handOverDone: 0,
    unhealthy: null,
    suspended: false,
    failure: '',
    trustedMs: 0,
    attachedMs: 0,
    emptyLogMs: 60_000,
    foundingSet: '',
    index: 0,
    lease: DEFAULT_LEASE,
    ...more,
  });
  return { context, mysqld, view, observe };
}
