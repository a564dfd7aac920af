import { expect, test } from 'vitest';
import { type Action, decide, type Observation } from '../../../agent/decide.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import type { View } from '../../../proto/binlogsvr-types.ts';
import { agentOf } from '../../script/scripted-agent.ts';
import { T } from '../../script/scripted-mysqld.ts';
import { World } from '../binlogsvr/replica-world.ts';

const REPLACES = { mode: 'auto', underWay: false, retryInMs: 0, said: '' } as const;

/** What these decisions look at, of a node without a mysqld. */
const observe = (more: Partial<Observation>): Observation =>
  ({
    self: 3,
    role: 'failed',
    view: null,
    mysqld: { state: 'none' },
    failure: 'mysqld has executed x:1',
    cure: 'reprovision',
    reprovision: REPLACES,
    ...more,
  }) as Observation;

const VIEW = { node: 3, epoch: 5, open: true, master: 1, baseline: true, needsClone: '' } as View;
const RUNS = {
  state: 'running',
  pid: 1,
  condemned: false,
  silentMs: 1,
  relation: 'behind',
  extra: '',
  judged: true,
  waitingMs: 0,
  probe: { superReadOnly: true, offlineMode: false, pinned: '', semiSync: { waiting: 0 } },
  channel: { receiver: 'ON', applier: true, error: '' },
};

/** A replica that would be healthy, but for `change`. */
const replica = (change: object, view: Partial<View> = {}): Partial<Observation> =>
  ({
    role: 'replica',
    view: { ...VIEW, ...view },
    mysqld: { ...RUNS, ...change },
    attachedMs: 60_000,
  }) as unknown as Partial<Observation>;

/** The local log refuses its receiver what was purged. */
const refused = replica(
  { channel: { receiver: 'OFF', applier: true, error: 'receiver error 1236' } },
  { needsClone: 'lacks x:1-4' },
);

const master = (change: object): Partial<Observation> => ({
  ...replica({ ...change, probe: { ...RUNS.probe, superReadOnly: false } }, { master: 3 }),
  role: 'master',
  masterEpoch: 5,
  lease: DEFAULT_LEASE,
  unhealthy: null,
});

test.each<[string, Partial<Observation>, Action['do'], RegExp]>([
  ['diverged', {}, 'reprovision', /x:1/],
  ['unfit, and a person has to act', { cure: 'person' }, 'wait', /x:1/],
  ['switched off', { reprovision: { ...REPLACES, mode: 'off' } }, 'wait', /x:1; .*recovery.reprovision is off/],
  [
    'refused a moment ago',
    { reprovision: { ...REPLACES, retryInMs: 1200, said: 'no donor' } },
    'wait',
    /^no donor; again in 2 s$/,
  ],
  ['what it lacks was purged', refused, 'reprovision', /lacks x:1-4/],
  ['the same, a moment after it was attached', { ...refused, attachedMs: 100 }, 'wait', /follows node 1/],
  [
    'begun: whatever runs has neither the old data nor a whole copy',
    { role: 'stopped', reprovision: { ...REPLACES, underWay: true } },
    'reprovision',
    /begun/,
  ],
  [
    'begun, then switched off: it is finished',
    { role: 'recovering', reprovision: { ...REPLACES, mode: 'off', underWay: true } },
    'reprovision',
    /begun/,
  ],
  ['its executed set went back', replica({ lost: 'x:1-9' }), 'fail', /executed any more what it had executed: x:1-9/],
  ['the same, on the master', master({ lost: 'x:1-9' }), 'fail', /x:1-9/],
  [
    'a row the log changes is not there',
    replica({ channel: { receiver: 'ON', applier: false, error: 'e', conflict: 'applier error 1032: no such row' } }),
    'fail',
    /cannot be applied to this node's data: applier error 1032/,
  ],
  [
    'the applier stopped for another reason',
    replica({
      channel: { receiver: 'ON', applier: false, error: 'applier error 1114: the table is full', conflict: '' },
    }),
    'settle',
    /1114/,
  ],
  [
    'somebody replicates from elsewhere',
    replica({ channel: { receiver: 'ON', applier: true, error: 'e', foreign: 'theirs' } }),
    'recover',
    /channel 'theirs' that is not ours/,
  ],
])('%s', (_, more, does, reason) => {
  const action = decide(observe(more));
  expect(action.do).toBe(does);
  expect('reason' in action ? action.reason : '').toMatch(reason);
});

test('an agent that cannot replace data says that somebody has to', () => {
  const { reprovision: _, ...rest } = observe({});
  expect(decide(rest)).toMatchObject({ do: 'wait', reason: expect.stringMatching(/it has to be cloned/) });
});

test('a set that went back is seen between two probes, and not forgotten while that mysqld runs', async () => {
  const world = await World.start();
  const { mysqld, context } = agentOf(world, 1);
  const lost = async (): Promise<string | undefined> => {
    await world.done(context.watch.probeNow());
    const facts = context.watch.facts('', 0);
    return facts.state === 'running' ? facts.lost : 'none';
  };
  for (const n of [1, 2]) mysqld.write(T(n));
  const { pid } = await mysqld.start();
  context.watch.begin(pid, 0);
  expect(await lost()).toBe('');
  mysqld.commit(T(3));
  expect(await lost()).toBe('');
  mysqld.committed.clear();
  const gone = await lost();
  expect(gone).toMatch(/:\d+-\d+$/);
  mysqld.commit(T(4));
  expect(await lost()).toBe(gone);
});
