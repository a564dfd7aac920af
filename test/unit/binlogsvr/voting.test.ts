import { expect, it, onTestFinished } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { switchOff } from '../../../base/rules.ts';
import { MemoryDisk, MemoryLogStore } from '../../../binlogsvr/memory-store.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { Member } from '../../../binlogsvr/values.ts';
import { Voting } from '../../../binlogsvr/voting.ts';

const FOUNDERS: readonly Member[] = [1, 2, 3].map((node) => ({ node: nodeId(node), storeId: `old-${node}` }));

function stateOf(members: readonly Member[], removed: ReplicatedState['removed']): ReplicatedState {
  return { ...initialState(), baseline: { node: nodeId(1), gtidSet: '' }, members, removed };
}

it('a node that was removed, and comes back with an empty disk, says that it wants to join while it reads its old seat', async () => {
  const self = { node: nodeId(2), storeId: 'new-2' };
  const join = { host: '127.0.0.1', rpc: 17002 };
  const seated = stateOf(FOUNDERS, []);
  const [, second] = FOUNDERS as [Member, Member, Member];
  const gone = stateOf(
    FOUNDERS.filter((each) => each !== second),
    [second],
  );
  const { store } = await MemoryLogStore.open({
    disk: new MemoryDisk(),
    cluster: 'test',
    node: self.node,
    storeId: self.storeId,
    clockWall: () => 0,
  });
  const nodes = FOUNDERS.map(({ node }) => node);
  const options = { store, log: silentLogger, self, nodes, join, addresses: undefined };
  // It was restarted while it had read no further than to its old seat.
  const voting = await Voting.load(options, seated);
  let state = seated;
  let counted = 0;
  const said: boolean[] = [];
  voting.start({
    state: () => state,
    empty: () => false,
    stopped: () => false,
    voters: () => {
      counted += 1;
    },
    announce: () => said.push(voting.joins(state).joins !== undefined),
    changed: () => {},
    failed: (error) => {
      throw error;
    },
  });
  expect(voting.joins(seated)).toEqual({ joins: join });
  expect(voting.joins(stateOf([{ ...second, storeId: self.storeId }], []))).toEqual({});
  state = gone;
  voting.applied(gone, true);
  await expect.poll(() => counted).toBe(1);
  expect(voting.joins(gone)).toEqual({ joins: join });
  expect(said).toEqual([]); // nothing new
});

it.each([true, false])('who votes after a change (rule change-counts-once-applied: %s)', async (holds) => {
  if (!holds) onTestFinished(switchOff('change-counts-once-applied'));
  const self = FOUNDERS[0] as Member;
  const { store } = await MemoryLogStore.open({
    disk: new MemoryDisk(),
    cluster: 'test',
    node: self.node,
    storeId: self.storeId,
    clockWall: () => 0,
  });
  const before = stateOf(FOUNDERS, []);
  const nodes = FOUNDERS.map(({ node }) => node);
  const options = { store, log: silentLogger, self, nodes, join: undefined, addresses: undefined };
  const voting = await Voting.load(options, before);
  const told: number[][] = [];
  voting.start({
    state: () => before,
    empty: () => false,
    stopped: () => false,
    voters: (voters) => told.push(voters.map(Number)),
    announce: () => {},
    changed: () => {},
    failed: (error) => {
      throw error;
    },
  });
  const after = stateOf(FOUNDERS.slice(0, 2), FOUNDERS.slice(2));
  voting.applied({ ...after, membersSince: instanceId(7) }, true);
  await expect.poll(() => told).toEqual([holds ? [1, 2] : [1, 2, 3]]);
});
