import { expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { Quorum } from '../../../binlogsvr/paxos/quorum.ts';

/** Every vote pattern up to five voters, against a slow and obvious count. */
test('quorums agree with counting, and any two of them share a node', () => {
  for (let size = 1; size <= 5; size += 1) {
    const voters = Array.from({ length: size }, (_, i) => nodeId(i + 1));
    const quorum = new Quorum(voters);
    const reached: number[] = [];
    // Bit n is node n; nodes beyond the set vote too and must not count.
    for (let pattern = 0; pattern < 2 ** (size + 2); pattern += 1) {
      const votes = new Set(Array.from({ length: size + 2 }, (_, i) => i + 1).filter((n) => pattern & (1 << (n - 1))));
      const counted = voters.filter((voter) => votes.has(voter)).length;
      const nodes = new Set([...votes].map(nodeId));
      expect(quorum.reached(nodes)).toBe(counted * 2 > size);
      expect(quorum.possibleWithout(nodes)).toBe((size - counted) * 2 > size);
      if (quorum.reached(nodes)) reached.push(pattern & (2 ** size - 1));
    }
    for (const a of reached) for (const b of reached) expect(a & b).not.toBe(0);
  }
});

test('a voter named twice counts once; nobody decides without voters', () => {
  const quorum = new Quorum([1, 1, 2, 2, 3].map(nodeId));
  expect(quorum.voters).toEqual([1, 2, 3]);
  expect(quorum.majority).toBe(2);
  expect(new Quorum([]).reached(new Set([nodeId(1)]))).toBe(false);
});
