import { expect, it } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';
import { MemoryDisk, MemoryLogStore } from '../../../binlogsvr/memory-store.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { Member } from '../../../binlogsvr/values.ts';
import { Voting } from '../../../binlogsvr/voting.ts';

const FOUNDERS: readonly Member[] = [1, 2, 3].map((node) => ({ node: nodeId(node), storeId: `old-${node}` }));

function stateOf(members: readonly Member[], removed: ReplicatedState['removed']): ReplicatedState {
  return { ...initialState(), baseline: { node: nodeId(1), gtidSet: '' }, members, removed };
}

it('a node that reads that it was removed, and comes back with an empty disk, says again that it wants to join', async () => {
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
  const said: boolean[] = [];
  voting.start({
    state: () => state,
    empty: () => false,
    stopped: () => false,
    voters: () => {},
    announce: () => said.push(voting.joins(state).joins !== undefined),
    changed: () => {},
    failed: (error) => {
      throw error;
    },
  });
  expect(voting.joins(seated)).toEqual({});
  state = gone;
  voting.applied(gone, true);
  await expect.poll(() => said).toEqual([true]);
  voting.applied(gone, false);
  expect(said).toEqual([true]);
});
