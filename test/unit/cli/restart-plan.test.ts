import { describe, expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { nextToRestart, notBack, restartRefusal } from '../../../cli/restart-plan.ts';
import type { ClusterStatus, NodeState, Reply } from '../../../cli/status.ts';
import type { MemberStatus, NodeStatus } from '../../../proto/binlogsvr-types.ts';

const member = (node: number, kind: MemberStatus['kind'] = 'voter') => ({ node, kind }) as MemberStatus;
const MEMBERS = [member(1), member(2), member(3), member(4, 'learner')];

const replies = (down: readonly number[], mute: readonly number[] = []) =>
  new Map(
    MEMBERS.map(({ node }): [ReturnType<typeof nodeId>, Reply] => {
      if (down.includes(node)) return [nodeId(node), { error: 'down' }];
      const view = { voting: !mute.includes(node), votingReason: 'its store forgot' };
      return [nodeId(node), { status: { members: MEMBERS, configVersion: 1, view } as unknown as NodeStatus }];
    }),
  );

describe('a restart', () => {
  test('needs a majority of the others', () => {
    expect(restartRefusal(2, replies([]))).toBeNull();
    expect(restartRefusal(2, replies([2]))).toBeNull();
    expect(restartRefusal(2, replies([3]))).toMatch(/only 1 of 3 voters .*node 3 does not answer/);
    expect(restartRefusal(2, replies([], [1]))).toMatch(/node 1 does not vote: its store forgot/);
    expect(restartRefusal(2, new Map())).toMatch(/no node tells/);
  });
  test('of a learner costs no vote', () => {
    expect(restartRefusal(4, replies([3]))).toBeNull();
    expect(restartRefusal(2, replies([4]))).toBeNull();
  });
  test('of the master comes last', () => {
    expect(nextToRestart([1, 2, 3], 1)).toBe(2);
    expect(nextToRestart([1], 1)).toBe(1);
    expect(nextToRestart([2, 3], null)).toBe(2);
  });
});

test('a node is back as a healthy one', () => {
  const of = (change: Partial<NodeState>) =>
    notBack({ nodes: [{ id: 1, state: 'slave', reason: '', lagMs: 3, ...change }] } as unknown as ClusterStatus, 1);
  expect(of({})).toBeNull();
  expect(of({ state: 'master', lagMs: null })).toBeNull();
  expect(of({ state: 'recovering', reason: 'starts mysqld' })).toBe('node 1 is recovering: starts mysqld');
  expect(of({ reason: 'not serving reads yet' })).toBe('node 1 follows, but not serving reads yet');
  expect(of({ lagMs: 5000 })).toBe('node 1 is 5000 ms behind');
  expect(of({ id: 2 })).toBe('node 1 is not in the status');
});
