import { describe, expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_INSTANCES, MAX_IN_FLIGHT_LEASE } from '../../../binlogsvr/paxos/bounds.ts';
import type { Input } from '../../../binlogsvr/paxos/types.ts';
import { at, ballot, bytes, core, entry, from, Script, said, textOf } from './paxos-script.ts';

const voters = (nodes: readonly number[], mayVote = true): Input => ({
  kind: 'voters',
  voters: nodes.map(nodeId),
  mayVote,
});
const changesVoters = (value: Uint8Array): boolean => textOf(value).startsWith('voters');

/** Schedules of the protocol findings that concern the core; the numbers are theirs. */
describe('3: an acknowledged append behind a hole', () => {
  test('while it fills, a new leader proposes nothing of its own', () => {
    const script = new Script([1, 2, 3], { tail: [entry(2, ballot(1, 2), 'T')] });
    script.step(1, { kind: 'campaign' });
    script.fsync(1);
    script.deliver();
    script.fsync(2);
    script.deliver();
    expect(script.core(1).proposerState).toBe('filling');
    expect(script.propose(1, 'own')).toBeNull();
    expect(script.core(1).inFlight).toBe(2);
  });
});

describe('5: a phase 1 holds only for the voters it was won with', () => {
  test('a change of voters is proposed with nothing under way, and nothing beside or behind it', () => {
    const script = new Script([1, 2, 3], { changesVoters });
    script.elect(1);
    script.propose(1, 'a');
    expect(script.propose(1, 'voters 1-4')).toBeNull();
    script.settle();
    expect(script.propose(1, 'voters 1-4')).toBe(2);
    expect(script.propose(1, 'b')).toBeNull();
    expect(script.propose(1, 'renew', 'lease')).toBeNull();
    script.settle();
    expect(script.emitted.get(1)).toEqual(['a', 'voters 1-4']);
    expect(script.propose(1, 'b')).toBeNull(); // not before the input `voters`
  });

  test('the leader runs phase 1 again, at a new ballot, with the new set, without being lost', () => {
    const script = new Script([1, 2, 3, 4], { voters: [1, 2, 3].map(nodeId), changesVoters });
    script.elect(1, [1, 2, 3]);
    script.propose(1, 'voters 1-4');
    script.settle([1, 2, 3]);
    const before = script.core(1).promised;
    const effects = script.step(1, voters([1, 2, 3, 4]));
    expect(effects.leadership).toBeNull();
    expect(said(effects.sendNow, 'prepare').map(({ to }) => to)).toEqual([2, 3, 4]);
    expect(script.core(1).promised).toBeGreaterThan(before);
    expect(script.core(1)).toMatchObject({ leading: false, campaigning: true });
    expect(script.propose(1, 'early')).toBeNull();
    script.settle([1, 2]); // a majority of the old set, not of the new one
    expect(script.core(1).leading).toBe(false);
    script.tick(1, 1000);
    script.settle([1, 2, 4]);
    expect(script.core(1).leading).toBe(false); // 4 does not hold the change that made it a voter
    for (const now of [1000, 1050, 1100]) script.tick(4, now);
    script.settle([1, 2, 4]);
    script.tick(1, 1300);
    script.settle([1, 2, 4]);
    expect(script.core(1).leading).toBe(true);
    expect(script.leadership).toEqual(['1 won', '1 won']);
  });

  test('a deposed leader that learns of the change keeps nothing of its old ballot', () => {
    const script = new Script([1, 2, 3, 4, 5], { voters: [1, 2, 3].map(nodeId), changesVoters });
    script.elect(3, [2, 3]); // leads at the lower ballot
    script.elect(1, [1, 2]); // 3 has not heard
    script.elect(1, [1, 2]); // above the ballot of 3
    expect([script.core(1).leading, script.core(3).leading]).toEqual([true, true]);
    script.propose(1, 'voters 1-5');
    script.settle([1, 2]);
    expect(script.emitted.get(1)).toEqual(['voters 1-5']);
    const learned = { kind: 'learned', entries: [entry(1, ballot(9, 1), 'voters 1-5')], chosenUpTo: at(1) } as const;
    expect(script.step(3, from(4, learned)).leadership).toBe('lost');
    script.fsync(3);
    script.step(3, voters([1, 2, 3, 4, 5]));
    expect(script.propose(3, 'v')).toBeNull();
    expect(script.core(3).proposerState).toBe('idle');
  });

  test('a new leader that finds the change stops there, and goes on under the new voters', () => {
    const b = ballot(1, 2);
    const tail = [entry(1, b, 'a'), entry(2, b, 'voters 1-5'), entry(3, b, 'c')];
    const script = new Script([1, 2, 3, 4, 5], { voters: [1, 2, 3].map(nodeId), changesVoters, tail });
    script.elect(1, [1, 2, 3]);
    expect(script.emitted.get(1)).toEqual(['a', 'voters 1-5']);
    expect(script.core(1)).toMatchObject({ proposerState: 'filling', inFlight: 0 });
    script.step(1, voters([1, 2, 3, 4, 5]));
    script.settle([1, 2]);
    expect(script.emitted.get(1)).toHaveLength(2);
    for (const node of [2, 4]) for (const now of [1000, 1050, 1100]) script.tick(node, now);
    script.tick(1, 1000);
    script.settle([1, 2, 4]);
    for (const node of [2, 4]) for (const now of [1150, 1200]) script.tick(node, now);
    script.settle([1, 2, 4]);
    script.tick(1, 1300);
    script.settle([1, 2, 4]);
    expect(script.emitted.get(1)).toEqual(['a', 'voters 1-5', 'c']);
    expect(script.core(1).leading).toBe(true);
  });

  test('a leader that is no voter any more stops; a campaign of one is given up', () => {
    for (const change of [voters([2, 3]), voters([1, 2, 3], false)]) {
      const script = new Script([1, 2, 3]);
      script.elect(1);
      expect(script.step(1, change).leadership).toBe('lost');
      expect(script.core(1)).toMatchObject({ leading: false, campaigning: false });
    }
  });

  test('two changes emitted at once are two inputs to wait for: nothing goes on under the first set of the two', () => {
    const script = new Script([1, 2, 3], { changesVoters });
    script.elect(1);
    const b = ballot(9, 2);
    const learned = [entry(1, b, 'voters 1-2'), entry(2, b, 'voters 1-3')];
    script.step(1, from(2, { kind: 'learned', entries: learned, chosenUpTo: at(2) }));
    script.step(2, from(3, { kind: 'learned', entries: learned, chosenUpTo: at(2) }));
    for (const node of [1, 2]) script.fsync(node);
    expect(script.emitted.get(1)).toEqual(['voters 1-2', 'voters 1-3']);
    script.step(1, { kind: 'campaign' });
    script.step(1, voters([1, 2]));
    for (let i = 0; i < 3; i += 1) script.settle([1, 2]);
    expect(script.core(1)).toMatchObject({ proposerState: 'preparing', leading: false });
    script.step(1, voters([1, 2, 3]));
    expect(said(script.mail, 'prepare').map(({ to }) => to)).toEqual([2, 3]);
  });

  test('a change that is chosen but not emitted yet ends what a ballot of the old voters may fill', () => {
    // Known by its leader's word to be chosen at 2; 1 is open, so it cannot be emitted.
    const b = ballot(1, 2);
    const tail = [entry(2, b, 'voters 1-5'), entry(3, b, 'c')];
    const script = new Script([1, 2, 3, 4, 5], { voters: [1, 2, 3].map(nodeId), changesVoters, tail });
    script.step(1, from(2, { kind: 'commit', ballot: b, chosenUpTo: at(2) }));
    script.step(1, { kind: 'campaign' });
    script.fsync(1);
    script.drop(({ to }) => to !== 2);
    script.deliver();
    script.fsync(2);
    script.deliver();
    expect(script.core(1).proposerState).toBe('filling');
    const proposed = said(script.mail, 'accept').flatMap(({ entries }) => entries);
    expect(proposed.map(({ instance }) => instance)).not.toContain(3);
  });

  test('a campaign whose peers are silent is given up; a leadership is not', () => {
    const script = new Script([1, 2, 3]);
    script.step(1, { kind: 'campaign' });
    script.fsync(1);
    expect(script.core(1).campaigning).toBe(true);
    expect(script.step(1, { kind: 'giveUp' }).leadership).toBe('lost');
    expect(script.core(1).campaigning).toBe(false);
    script.drop();
    script.elect(1);
    expect(script.step(1, { kind: 'giveUp' }).leadership).toBeNull();
    expect(script.core(1).leading).toBe(true);
    expect(script.step(2, { kind: 'giveUp' }).leadership).toBeNull();
  });

  test('values under way when the voters change are proposed again at the new ballot', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.propose(1, 'b');
    script.drop();
    script.step(1, voters([1, 2, 3]));
    script.settle();
    expect(script.emitted.get(1)).toEqual(['a', 'b']);
    expect(script.propose(1, 'c')).toBe(3);
  });
});

describe('6: an acceptor that forgot', () => {
  test('its votes and promises do not count, however often it answers', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'campaign' });
    node.step({ kind: 'persisted', upTo: 1 });
    const promise = { kind: 'promise', ballot: node.promised, chosenUpTo: at(0), accepted: [] } as const;
    for (let i = 0; i < 3; i += 1) node.step(from(2, promise, { voter: false }));
    expect(node.campaigning).toBe(true);
    node.step(from(3, promise));
    node.step({ kind: 'propose', value: bytes('a'), lane: 'data' });
    node.step({ kind: 'persisted', upTo: 2 });
    const accepted = { kind: 'accepted', ballot: node.promised, instances: [at(1)] } as const;
    expect(node.step(from(2, accepted, { voter: false })).chosen).toEqual([]);
    expect(node.step(from(3, accepted)).chosen).toHaveLength(1);
  });
});

describe('28: a renewal never waits behind bulk', () => {
  const leader = (): Script => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    return script;
  };

  test('a full data lane refuses data and still takes lease values, up to their own bound', () => {
    const script = leader();
    for (let i = 0; i < MAX_IN_FLIGHT_INSTANCES; i += 1) expect(script.propose(1, `v${i}`)).toBe(i + 1);
    expect(script.propose(1, 'one too many')).toBeNull();
    for (let i = 0; i < MAX_IN_FLIGHT_LEASE; i += 1) expect(script.propose(1, `renew ${i}`, 'lease')).not.toBeNull();
    expect(script.propose(1, 'renew', 'lease')).toBeNull();
    script.settle();
    expect(script.core(1)).toMatchObject({ inFlight: 0, chosenUpTo: MAX_IN_FLIGHT_INSTANCES + MAX_IN_FLIGHT_LEASE });
    expect(script.propose(1, 'again')).not.toBeNull();
  });

  test('bytes are bounded too, but one value of any size fits into an empty lane', () => {
    const script = leader();
    const propose = (size: number) =>
      script.step(1, { kind: 'propose', value: new Uint8Array(size), lane: 'data' }).proposed;
    expect(propose(MAX_IN_FLIGHT_BYTES - 10)).toBe(1);
    expect(propose(11)).toBeNull();
    expect(propose(10)).toBe(2);
    script.settle();
    expect(propose(3 * MAX_IN_FLIGHT_BYTES)).toBe(3);
    expect(propose(1)).toBeNull();
    script.settle();
    expect(script.core(1)).toMatchObject({ chosenUpTo: 3, bytesHeld: 0 });
  });

  test('what is repeated leaves in messages of bounded size', () => {
    const script = leader();
    script.tick(1, 1000);
    for (let i = 0; i < 8; i += 1) script.step(1, { kind: 'propose', value: new Uint8Array(1 << 20), lane: 'data' });
    script.drop();
    const accepts = said(script.tick(1, 1200).sendNow, 'accept').filter(({ to }) => to === 2);
    expect(accepts.map(({ entries }) => entries.length)).toEqual([4, 4]);
  });

  test('an acceptor holds a bounded number of bytes above what is settled, yet always takes the next instance', () => {
    const node = core(1, [1, 2, 3]);
    const b = ballot(1, 2);
    const accept = (instance: number, size: number) =>
      node.step(
        from(2, {
          kind: 'accept',
          ballot: b,
          entries: [{ instance: at(instance), ballot: b, value: new Uint8Array(size) }],
          chosenUpTo: at(0),
        }),
      );
    const MiB = 1 << 20;
    for (let i = 2; i < 40; i += 1) accept(i, MiB);
    expect(node.bytesHeld).toBe(32 * MiB);
    expect(accept(258, 0).persist).toEqual([]);
    expect(accept(1, MiB).persist).toHaveLength(1);
  });
});
