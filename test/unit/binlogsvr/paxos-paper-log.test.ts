import { describe, expect, test } from 'vitest';
import { NO_BALLOT } from '../../../base/brands.ts';
import { InvariantError } from '../../../base/invariant.ts';
import { CHOSEN_BALLOT } from '../../../binlogsvr/paxos/types.ts';
import { at, ballot, bytes, core, entry, from, Script, said } from './paxos-script.ts';

const LOW = ballot(1, 2);
const HIGH = ballot(2, 3);

/** Sections 2.5 and 3 of Lamport, Paxos Made Simple (2001): what survives, and many instances as one log. */
describe('2.5 implementation: what must survive', () => {
  test('a restarted acceptor keeps its promise and its accepted values', () => {
    const script = new Script([1, 2, 3]);
    script.elect(3);
    script.propose(3, 'a');
    script.deliver();
    script.fsync(1);
    script.restart(1);
    expect(script.core(1).promised).toBe(script.core(3).promised);
    expect(script.core(1).highestAccepted).toBe(1);
    const low = script.step(1, from(2, { kind: 'prepare', ballot: ballot(0, 2), from: at(1) }));
    expect(said(low.sendNow, 'nack')).toHaveLength(1);
  });

  test('after a restart an accepted ballot raises the promise, a learned one does not', () => {
    const tail = [entry(3, HIGH, 'c'), entry(4, CHOSEN_BALLOT, 'd')];
    expect(core(1, [1, 2, 3], { promised: LOW, tail }).promised).toBe(HIGH);
  });

  test('learned values on disk are emitted again from the saved index on', () => {
    const tail = [entry(3, CHOSEN_BALLOT, 'c'), entry(4, CHOSEN_BALLOT, 'd'), entry(6, CHOSEN_BALLOT, 'f')];
    const node = core(1, [1, 2, 3], { chosenUpTo: at(2), tail });
    expect(node.step({ kind: 'tick', now: 1 }).chosen.map(({ instance }) => instance)).toEqual([3, 4]);
    expect(node.highestAccepted).toBe(6);
  });

  test('records are counted over all steps; a persisted beyond them is a bug', () => {
    const node = core(1, [1]);
    node.step({ kind: 'campaign' });
    expect(node.recordsHandedOut).toBe(1);
    expect(() => node.step({ kind: 'persisted', upTo: 2 })).toThrow(InvariantError);
  });
});

describe('3 a state machine: many instances', () => {
  test('clusters of 1 to 5 nodes choose with a majority and not with less', () => {
    for (const size of [1, 2, 3, 4, 5]) {
      const nodes = Array.from({ length: size }, (_, i) => i + 1);
      const majority = Math.floor(size / 2) + 1;
      const script = new Script(nodes);
      script.elect(1, nodes.slice(0, majority - 1));
      expect(script.core(1).leading).toBe(false);
      script.tick(1, 1000);
      script.settle(nodes.slice(0, majority));
      expect(script.core(1).leading).toBe(true);
      expect(script.propose(1, 'a')).toBe(1);
      script.settle(nodes.slice(0, majority - 1));
      expect(script.emitted.get(1)).toEqual([]);
      script.tick(1, 2000);
      script.settle(nodes.slice(0, majority));
      for (const node of nodes.slice(0, majority)) expect(script.emitted.get(node)).toEqual(['a']);
    }
  });

  test('phase 1 is run once for all instances; a value then costs one accept per peer', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    for (const value of ['a', 'b', 'c']) {
      const effects = script.step(1, { kind: 'propose', value: bytes(value), lane: 'data' });
      expect(effects.sendNow.map(({ to, message }) => `${message.kind} ${to}`)).toEqual(['accept 2', 'accept 3']);
      expect(effects.persist).toHaveLength(1);
      expect(effects.sendAfterPersist).toEqual([]);
    }
    script.settle();
    for (const node of [1, 2, 3]) expect(script.emitted.get(node)).toEqual(['a', 'b', 'c']);
  });

  test('values are emitted in order although a later one was chosen first', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.drop();
    script.propose(1, 'b');
    script.settle();
    expect(script.emitted.get(1)).toEqual([]);
    script.tick(1, 1000);
    script.settle();
    expect(script.emitted.get(1)).toEqual(['a', 'b']);
  });

  test('holes are filled with no-ops by a new leader', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'lost');
    script.drop();
    script.propose(1, 'kept');
    script.settle([1, 2]);
    script.elect(2, [2, 3]);
    expect(script.core(2).leading).toBe(true);
    expect(script.emitted.get(2)).toEqual(['noop', 'kept']);
    expect(script.propose(2, 'next')).toBe(3);
  });

  test('a new leader re-proposes within its window, piece by piece', () => {
    const tail = Array.from({ length: 200 }, (_, i) => entry(i + 1, LOW, `v${i}`));
    const script = new Script([1, 2, 3], { tail });
    script.step(1, { kind: 'campaign' });
    let most = 0;
    for (let i = 0; i < 40 && !script.core(1).leading; i += 1) {
      script.deliver();
      for (const node of [1, 2, 3]) script.fsync(node);
      most = Math.max(most, script.core(1).inFlight);
    }
    expect(script.core(1).leading).toBe(true);
    expect(most).toBe(64);
    expect(script.emitted.get(1)).toHaveLength(200);
    expect(script.propose(1, 'next')).toBe(201);
  });

  test('the last value of an idle pipeline is announced at once, others ride on the next accept', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.propose(1, 'b');
    script.fsync(1);
    const ballotNow = script.core(1).promised;
    const first = script.step(1, from(2, { kind: 'accepted', ballot: ballotNow, instances: [at(1)] }));
    expect(first.chosen).toHaveLength(1);
    expect(said(first.sendNow, 'commit')).toEqual([]);
    const ride = script.step(1, { kind: 'propose', value: bytes('c'), lane: 'data' });
    expect(said(ride.sendNow, 'accept')[0]?.chosenUpTo).toBe(1);
    script.fsync(1);
    const last = script.step(1, from(2, { kind: 'accepted', ballot: ballotNow, instances: [at(2), at(3)] }));
    expect(said(last.sendNow, 'commit')).toEqual([
      { kind: 'commit', to: 2, ballot: ballotNow, chosenUpTo: 3 },
      { kind: 'commit', to: 3, ballot: ballotNow, chosenUpTo: 3 },
    ]);
  });

  test('every node says once a second how far it is, a leader at its ballot', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.settle();
    const commits = (node: number, now: number) => said(script.tick(node, now).sendNow, 'commit');
    expect(commits(2, 1000).map(({ to, ballot: b, chosenUpTo }) => [to, b, chosenUpTo])).toEqual([
      [1, 0, 1],
      [3, 0, 1],
    ]);
    expect(commits(2, 1950)).toEqual([]);
    expect(commits(2, 2000)).toHaveLength(2);
    expect(commits(1, 1000)[0]?.ballot).toBe(script.core(1).promised);
  });

  test('a leader that learns another value for its own proposal says nothing more at its ballot', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'mine');
    script.fsync(1);
    script.drop();
    const learned = { kind: 'learned', entries: [entry(1, LOW, 'theirs')], chosenUpTo: at(1) } as const;
    const effects = script.step(1, from(2, learned));
    expect(effects.leadership).toBe('lost');
    script.fsync(1);
    expect(script.emitted.get(1)).toEqual(['theirs']);
    expect(said(script.tick(1, 1000).sendNow, 'commit').map(({ ballot: b }) => b)).toEqual([NO_BALLOT, NO_BALLOT]);
  });

  test('a leader that learns a value where only it could propose knows that it was deposed', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    const learned = { kind: 'learned', entries: [entry(1, LOW, 'theirs')], chosenUpTo: at(1) } as const;
    expect(script.step(1, from(2, learned)).leadership).toBe('lost');
  });

  test('stale, repeated and unknown messages change nothing', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.settle();
    const { promised, chosenUpTo } = script.core(1);
    const stale = [
      from(2, { kind: 'promise', ballot: promised, chosenUpTo: at(0), accepted: [entry(1, LOW, 'z')] }),
      from(2, { kind: 'accepted', ballot: promised, instances: [at(1), at(77)] }),
      from(2, { kind: 'commit', ballot: promised, chosenUpTo: at(1) }),
      from(2, { kind: 'nack', ballot: ballot(0, 1), promised: ballot(0, 2), reason: 'ballot' }),
      from(2, { kind: 'learned', entries: [], chosenUpTo: at(0) }),
      from(2, { kind: 'learn', from: at(0) }),
      from(2, { kind: 'gossip' } as never),
    ];
    for (const input of stale) {
      const effects = script.core(1).step(input);
      expect([effects.persist, effects.chosen, effects.leadership]).toEqual([[], [], null]);
    }
    expect(script.core(1)).toMatchObject({ promised, chosenUpTo, leading: true });
  });
});
