import { describe, expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { decideFounding, electorate, type Founding, type FoundingFacts } from '../../../binlogsvr/founding.ts';
import type { PeerHello } from '../../../binlogsvr/peer-transport.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { Member } from '../../../binlogsvr/values.ts';

const member = (node: number, store = `store-${node}`): Member => ({ node: nodeId(node), storeId: store });
const LIST = [member(1), member(2), member(3)];
const UNBOUND: Founding = { kind: 'unbound' };
const BOUND: Founding = { kind: 'bound', founders: LIST };

function hello(node: number, change: Partial<PeerHello> = {}): PeerHello {
  return {
    ...member(node),
    incarnation: 1,
    durableSeq: 0,
    chosenUpTo: 0,
    empty: true,
    founders: [],
    leaseAge: null,
    ...change,
  };
}

function facts(hellos: readonly PeerHello[], change: Partial<FoundingFacts> = {}): FoundingFacts {
  return {
    self: member(1),
    nodes: LIST.map(({ node }) => node),
    empty: true,
    forgot: false,
    met: new Map(hellos.map((h) => [h.node, h])),
    ...change,
  };
}

describe('founding', () => {
  test('waits for every configured node', () => {
    expect(decideFounding(UNBOUND, facts([hello(2)]))).toEqual({
      next: null,
      reason: 'founding: waiting to meet node 3',
    });
  });

  test('binds to the stores it met, then votes once all say they are bound to the same', () => {
    const step = decideFounding(UNBOUND, facts([hello(3), hello(2)]));
    expect(step.next).toEqual(BOUND);
    expect(decideFounding(BOUND, facts([hello(2, { founders: LIST }), hello(3)])).next).toBeNull();
    const all = facts([hello(2, { founders: LIST, empty: false }), hello(3, { founders: LIST })]);
    expect(decideFounding(BOUND, all).next).toEqual({ kind: 'confirmed', founders: LIST });
  });

  test('a store that was wiped between binding and voting is never counted', () => {
    const wiped = hello(3, { storeId: 'store-3b' });
    const step = decideFounding(BOUND, facts([hello(2, { founders: LIST }), wiped]));
    expect(step.next).toBeNull();
    // The wiped one sees the others' list, which is not its own.
    const own = facts([hello(1, { founders: LIST }), hello(2, { founders: LIST })], { self: member(3, 'store-3b') });
    expect(decideFounding(UNBOUND, own)).toMatchObject({
      next: null,
      reason: expect.stringContaining('already belong'),
    });
  });

  test('an empty store among stores with records does not found', () => {
    expect(decideFounding(UNBOUND, facts([hello(2, { empty: false }), hello(3)])).next).toBeNull();
    expect(decideFounding(UNBOUND, facts([hello(2), hello(3)], { empty: false })).next).toBeNull();
    expect(decideFounding(UNBOUND, facts([hello(2), hello(3)], { forgot: true })).next).toBeNull();
  });

  test('one node alone founds itself', () => {
    const alone = facts([], { nodes: [nodeId(1)] });
    const { next } = decideFounding(UNBOUND, alone);
    expect(next).toEqual({ kind: 'bound', founders: [member(1)] });
    expect(decideFounding(next as Founding, alone).next).toEqual({ kind: 'confirmed', founders: [member(1)] });
  });
});

describe('who votes', () => {
  const nodes = LIST.map(({ node }) => node);

  test('before the baseline: a confirmed founder', () => {
    expect(electorate(initialState(), BOUND, 'why', member(1), nodes)).toMatchObject({ mayVote: false, reason: 'why' });
    const confirmed: Founding = { kind: 'confirmed', founders: LIST };
    expect(electorate(initialState(), confirmed, '', member(1), nodes)).toMatchObject({ members: LIST, mayVote: true });
  });

  test('after it: whom the log names, whatever was founded', () => {
    const state = { ...initialState(), baseline: { node: nodeId(1), gtidSet: '' }, members: LIST };
    expect(electorate(state, UNBOUND, 'x', member(1), nodes).mayVote).toBe(true);
    const fresh = electorate(state, UNBOUND, 'x', member(1, 'fresh'), nodes);
    expect(fresh).toMatchObject({ mayVote: false, reason: expect.stringContaining('learning') });
  });
});
