import { describe, expect, test } from 'vitest';
import { NO_BALLOT } from '../../../base/brands.ts';
import { InvariantError } from '../../../base/invariant.ts';
import { CHOSEN_BALLOT } from '../../../binlogsvr/paxos/types.ts';
import { at, ballot, core, entry, from, Script, said } from './paxos-script.ts';

const LOW = ballot(1, 2);
const HIGH = ballot(2, 3);

/** The sections are those of Lamport, Paxos Made Simple (2001). */
describe('2.2 choosing a value: the acceptor', () => {
  test('P1: an acceptor accepts the first proposal it receives', () => {
    const node = core(1, [1, 2, 3]);
    const effects = node.step(
      from(2, { kind: 'accept', ballot: LOW, entries: [entry(1, LOW, 'a')], chosenUpTo: at(0) }),
    );
    expect(effects.persist).toEqual([{ kind: 'accepted', entry: entry(1, LOW, 'a') }]);
    expect(said(effects.sendAfterPersist, 'accepted')).toEqual([
      { kind: 'accepted', to: 2, ballot: LOW, instances: [1] },
    ]);
    expect(effects.sendNow).toEqual([]);
  });

  test('phase 1b: a higher prepare is promised, after the promise is on disk, with what was accepted', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(4, LOW, 'd'), entry(2, LOW, 'b')] });
    const effects = node.step(from(3, { kind: 'prepare', ballot: HIGH, from: at(1) }));
    expect(effects.persist).toEqual([{ kind: 'promised', ballot: HIGH }]);
    expect(effects.sendNow).toEqual([]);
    expect(said(effects.sendAfterPersist, 'promise')).toEqual([
      { kind: 'promise', to: 3, ballot: HIGH, chosenUpTo: 0, accepted: [entry(2, LOW, 'b'), entry(4, LOW, 'd')] },
    ]);
  });

  test('phase 1b: a promise reports everything above what it calls chosen, wherever the proposer begins', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(2, LOW, 'b')] });
    const effects = node.step(from(3, { kind: 'prepare', ballot: HIGH, from: at(9) }));
    expect(said(effects.sendAfterPersist, 'promise')[0]?.accepted).toEqual([entry(2, LOW, 'b')]);
  });

  test('P1a: after a promise, lower prepares and accepts are refused with the ballot that stands in the way', () => {
    const node = core(1, [1, 2, 3], { promised: HIGH });
    const prepare = node.step(from(2, { kind: 'prepare', ballot: LOW, from: at(1) }));
    const accept = node.step(
      from(2, { kind: 'accept', ballot: LOW, entries: [entry(1, LOW, 'a')], chosenUpTo: at(0) }),
    );
    for (const effects of [prepare, accept]) {
      expect(effects.persist).toEqual([]);
      expect(effects.sendAfterPersist).toEqual([]);
      expect(said(effects.sendNow, 'nack')).toEqual([
        { kind: 'nack', to: 2, ballot: LOW, promised: HIGH, reason: 'ballot' },
      ]);
    }
  });

  test('an accept at the promised ballot or above is taken and raises the promise', () => {
    const node = core(1, [1, 2, 3], { promised: LOW });
    node.step(from(3, { kind: 'accept', ballot: HIGH, entries: [entry(1, HIGH, 'a')], chosenUpTo: at(0) }));
    expect(node.promised).toBe(HIGH);
  });

  test('a repeated prepare is promised again only when the first promise is on disk', () => {
    const node = core(1, [1, 2, 3]);
    const prepare = from(3, { kind: 'prepare', ballot: HIGH, from: at(1) });
    node.step(prepare);
    expect(node.step(prepare).sendAfterPersist).toEqual([]);
    node.step({ kind: 'persisted', upTo: 1 });
    const again = node.step(prepare);
    expect(again.persist).toEqual([]);
    expect(said(again.sendAfterPersist, 'promise')).toHaveLength(1);
  });

  test('a repeated accept is answered again only when the first is on disk', () => {
    const node = core(1, [1, 2, 3]);
    const accept = from(2, { kind: 'accept', ballot: LOW, entries: [entry(1, LOW, 'a')], chosenUpTo: at(0) });
    node.step(accept);
    expect(node.step(accept).sendAfterPersist).toEqual([]);
    node.step({ kind: 'persisted', upTo: 1 });
    const again = node.step(accept);
    expect(again.persist).toEqual([]);
    expect(said(again.sendAfterPersist, 'accepted')).toHaveLength(1);
  });

  test('two values at one ballot and instance are a broken invariant', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(1, LOW, 'a')] });
    const other = from(2, { kind: 'accept', ballot: LOW, entries: [entry(1, LOW, 'b')], chosenUpTo: at(0) });
    expect(() => node.step(other)).toThrow(InvariantError);
  });

  test('no vote for a settled instance: the value is no longer there to compare; the proposer is told to learn', () => {
    const node = core(1, [1, 2, 3], { chosenUpTo: at(5) });
    const effects = node.step(
      from(2, { kind: 'accept', ballot: LOW, entries: [entry(3, LOW, 'z')], chosenUpTo: at(0) }),
    );
    expect(effects.persist).toEqual([]);
    expect(effects.sendAfterPersist).toEqual([]);
    expect(said(effects.sendNow, 'commit')).toEqual([{ kind: 'commit', to: 2, ballot: NO_BALLOT, chosenUpTo: 5 }]);
    expect(node.promised).toBe(NO_BALLOT);
  });

  test('a learned value is not overwritten by a late proposal of another', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(2, CHOSEN_BALLOT, 'v')] });
    const late = node.step(from(2, { kind: 'accept', ballot: LOW, entries: [entry(2, LOW, 'w')], chosenUpTo: at(0) }));
    expect(late.persist).toEqual([]);
    expect(late.sendAfterPersist).toEqual([]);
    const same = node.step(from(2, { kind: 'accept', ballot: LOW, entries: [entry(2, LOW, 'v')], chosenUpTo: at(0) }));
    expect(said(same.sendAfterPersist, 'accepted')[0]?.instances).toEqual([2]);
  });
});

describe('2.2 choosing a value: the proposer', () => {
  test('P2c: the value of the highest ballot among a majority is proposed, not the own', () => {
    const node = core(1, [1, 2, 3, 4, 5], { tail: [entry(1, ballot(1, 1), 'mine')] });
    node.step({ kind: 'campaign' });
    node.step({ kind: 'persisted', upTo: 1 });
    const own = node.promised;
    const promise = (value: string, round: number) =>
      ({ kind: 'promise', ballot: own, chosenUpTo: at(0), accepted: [entry(1, ballot(round, 5), value)] }) as const;
    node.step(from(2, promise('older', 0)));
    const effects = node.step(from(3, promise('newest', 1)));
    const accepts = said(effects.sendNow, 'accept');
    expect(accepts.map(({ to }) => to)).toEqual([2, 3, 4, 5]);
    expect(accepts[0]?.entries).toEqual([entry(1, own, 'newest')]);
  });

  test('a ballot is above every one promised or seen, and the node is part of it', () => {
    const node = core(2, [1, 2, 3], { promised: ballot(7, 3) });
    node.step({ kind: 'campaign' });
    expect(node.promised).toBe(ballot(8, 2));
  });

  test('a proposer does not propose before its own promise is on disk, whatever the others say', () => {
    const node = core(1, [1, 2, 3, 4, 5], { tail: [entry(1, LOW, 'a')] });
    node.step({ kind: 'campaign' });
    for (const peer of [2, 3, 4, 5]) {
      const promise = { kind: 'promise', ballot: node.promised, chosenUpTo: at(0), accepted: [] } as const;
      expect(said(node.step(from(peer, promise)).sendNow, 'accept')).toEqual([]);
    }
    expect(said(node.step({ kind: 'persisted', upTo: 1 }).sendNow, 'accept')).toHaveLength(4);
  });

  test('a promise of a store that is not bound as acceptor, or of another ballot, does not count', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'campaign' });
    node.step({ kind: 'persisted', upTo: 1 });
    const promise = { kind: 'promise', ballot: node.promised, chosenUpTo: at(0), accepted: [] } as const;
    node.step(from(2, promise, { voter: false }));
    node.step(from(9, promise));
    node.step(from(3, { ...promise, ballot: LOW }));
    expect(node.leading).toBe(false);
    expect(node.step(from(2, promise)).leadership).toBe('won');
  });

  test('chosen means accepted by a majority, the own vote only from disk; emitted only when durable here', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.deliver(({ message }) => message.kind === 'accept');
    script.fsync(2);
    script.fsync(3);
    script.deliver(({ message }) => message.kind === 'accepted');
    expect(script.emitted.get(1)).toEqual([]);
    expect(said(script.step(1, { kind: 'tick', now: 1 }).sendNow, 'commit')[0]?.chosenUpTo).toBe(0);
    script.fsync(1);
    expect(script.emitted.get(1)).toEqual(['a']);
  });

  test('a late "persisted" of an older ballot is no vote at a newer one', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a'); // record r at the first ballot, not written yet
    const written = script.core(1).recordsHandedOut;
    script.drop();
    script.step(1, { kind: 'voters', voters: [1, 2, 3].map((n) => n as never), mayVote: true }); // a new ballot: 'a' anew
    script.deliver();
    script.fsync(2);
    script.drop(({ message }) => message.kind !== 'promise');
    script.deliver();
    script.core(1).step({ kind: 'persisted', upTo: written }); // covers 'a' at the first ballot only
    expect(script.core(1).proposerState).toBe('preparing');
    expect(script.core(1).step({ kind: 'persisted', upTo: written + 1 }).sendNow).not.toEqual([]); // own new promise
    expect(script.core(1).proposerState).toBe('filling');
    const accepted = { kind: 'accepted', ballot: script.core(1).promised, instances: [at(1)] } as const;
    expect(script.core(1).step({ kind: 'persisted', upTo: written + 1 }).chosen).toEqual([]);
    expect(script.core(1).step(from(2, accepted)).chosen).toEqual([]); // one vote, the own is not on disk
    const done = script.core(1).step({ kind: 'persisted', upTo: written + 2 });
    expect(done.chosen.map(({ value }) => Buffer.from(value).toString())).toEqual(['a']);
  });

  test('votes of strangers, unbound stores and other ballots do not count', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.drop();
    script.fsync(1);
    const accepted = { kind: 'accepted', ballot: script.core(1).promised, instances: [at(1)] } as const;
    for (const input of [
      from(9, accepted),
      from(2, accepted, { voter: false }),
      from(2, { ...accepted, ballot: ballot(0, 2) }),
      from(2, { ...accepted, instances: [at(2)] }),
    ]) {
      expect(script.core(1).step(input).chosen).toEqual([]);
    }
    expect(script.core(1).step(from(2, accepted)).chosen).toHaveLength(1);
  });
});

describe('2.3 learning a chosen value', () => {
  const B = ballot(3, 2);
  const accept = (first: number, last: number, chosenUpTo = 0) =>
    from(2, {
      kind: 'accept',
      ballot: B,
      entries: Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, B, `v${first + i}`)),
      chosenUpTo: at(chosenUpTo),
    });

  test('a commit settles what was accepted at just that ballot, and only what is on disk is emitted', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(1, LOW, 'old')] });
    node.step(accept(2, 3));
    expect(node.step(from(2, { kind: 'commit', ballot: B, chosenUpTo: at(3) })).chosen).toEqual([]);
    node.step({ kind: 'persisted', upTo: 2 });
    expect(node.chosenUpTo).toBe(0); // 1 was accepted at another ballot: nobody said that it is chosen
    const ask = [1000, 1050].flatMap((now) => said(node.step({ kind: 'tick', now }).sendNow, 'learn'));
    expect(ask).toEqual([{ kind: 'learn', to: 2, from: 1 }]);
    const learned = { kind: 'learned', entries: [entry(1, LOW, 'new')], chosenUpTo: at(3) } as const;
    const effects = node.step(from(2, learned));
    expect(effects.persist).toEqual([{ kind: 'accepted', entry: entry(1, CHOSEN_BALLOT, 'new') }]);
    expect(effects.chosen).toEqual([]);
    const done = node.step({ kind: 'persisted', upTo: 3 });
    expect(done.chosen.map(({ instance }) => instance)).toEqual([1, 2, 3]);
  });

  test('a commit that overtakes its accept counts when the accept comes, and nothing is asked for meanwhile', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'tick', now: 1000 });
    expect(node.step(from(2, { kind: 'commit', ballot: B, chosenUpTo: at(1) })).sendNow).toEqual([]);
    expect(node.step({ kind: 'tick', now: 1050 }).sendNow).toEqual([]);
    node.step(accept(1, 1));
    expect(node.step({ kind: 'persisted', upTo: 1 }).chosen).toHaveLength(1);
  });

  test('one learn at a time, to the next peer after a while, and at once again while there is more', () => {
    const node = core(1, [1, 2, 3]);
    const learns = (input: Parameters<typeof node.step>[0]) => said(node.step(input).sendNow, 'learn');
    node.step(from(2, { kind: 'commit', ballot: NO_BALLOT, chosenUpTo: at(4) }));
    node.step(from(3, { kind: 'commit', ballot: NO_BALLOT, chosenUpTo: at(4) }));
    expect(learns({ kind: 'tick', now: 1000 })).toEqual([]);
    const [first] = learns({ kind: 'tick', now: 1050 });
    expect(first?.from).toBe(1);
    expect(learns({ kind: 'tick', now: 1300 })).toEqual([]);
    const [second] = learns({ kind: 'tick', now: 1350 });
    expect(new Set([first?.to, second?.to])).toEqual(new Set([2, 3]));
    const piece = [entry(1, LOW, 'a'), entry(2, LOW, 'b')];
    const [third] = learns(from(second?.to ?? 0, { kind: 'learned', entries: piece, chosenUpTo: at(4) }));
    expect(third?.from).toBe(3);
    expect(learns(from(third?.to ?? 0, { kind: 'learned', entries: [], chosenUpTo: at(4) }))).toEqual([]);
    expect(learns({ kind: 'tick', now: 1400 })).toHaveLength(1);
  });

  test('learned pieces out of order and twice: emitted in order, written once', () => {
    const node = core(1, [1, 2, 3]);
    const learned = (...entries: ReturnType<typeof entry>[]) =>
      node.step(from(2, { kind: 'learned', entries, chosenUpTo: at(4) }));
    learned(entry(3, LOW, 'c'), entry(4, LOW, 'd'));
    expect(node.step({ kind: 'persisted', upTo: 2 }).chosen).toEqual([]);
    learned(entry(1, LOW, 'a'), entry(2, LOW, 'b'));
    expect(learned(entry(2, LOW, 'b'), entry(3, LOW, 'c')).persist).toEqual([]);
    const done = node.step({ kind: 'persisted', upTo: 4 });
    expect(done.chosen.map(({ value }) => Buffer.from(value).toString())).toEqual(['a', 'b', 'c', 'd']);
    expect(learned(entry(1, LOW, 'a')).persist).toEqual([]);
  });

  test('a learned value equal to the accepted one needs no second write', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(1, LOW, 'a')] });
    const effects = node.step(from(3, { kind: 'learned', entries: [entry(1, LOW, 'a')], chosenUpTo: at(1) }));
    expect(effects.persist).toEqual([]);
    expect(effects.chosen).toHaveLength(1);
  });

  test('two chosen values for one instance stop the node', () => {
    const node = core(1, [1, 2, 3], { tail: [entry(2, CHOSEN_BALLOT, 'a')] });
    const other = from(3, { kind: 'learned', entries: [entry(2, LOW, 'b')], chosenUpTo: at(2) });
    expect(() => node.step(other)).toThrow(InvariantError);
  });

  test('chosen values are served up to what is settled; beyond it the asker hears how far that is', () => {
    const node = core(1, [1, 2, 3], { chosenUpTo: at(7) });
    expect(node.step(from(2, { kind: 'learn', from: at(3) })).serveLearn).toEqual([{ to: 2, from: 3 }]);
    const beyond = node.step(from(2, { kind: 'learn', from: at(8) }));
    expect(beyond.serveLearn).toEqual([]);
    expect(said(beyond.sendNow, 'commit')).toEqual([{ kind: 'commit', to: 2, ballot: NO_BALLOT, chosenUpTo: 7 }]);
  });

  test('a learner far behind ignores proposals until it has learned, and learns without waiting for a tick', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    for (let i = 0; i < 400; i += 1) {
      script.propose(1, `v${i}`);
      script.settle([1, 2]);
    }
    script.propose(1, 'last');
    script.deliver(({ to, message }) => to === 3 && message.kind === 'accept');
    expect(script.core(3).highestAccepted).toBe(0);
    expect(script.core(3).bytesHeld).toBe(0);
    for (let i = 0; i < 3; i += 1) script.settle();
    expect(script.emitted.get(3)?.slice(0, 400)).toEqual(script.emitted.get(2)?.slice(0, 400));
  });

  test('a node that may not vote, or is no voter, neither promises nor votes nor campaigns, but learns', () => {
    for (const node of [core(1, [1, 2, 3], { mayVote: false }), core(9, [1, 2, 3], { mayVote: false })]) {
      const prepare = node.step(from(2, { kind: 'prepare', ballot: B, from: at(1) }));
      expect(said(prepare.sendNow, 'nack')).toEqual([
        { kind: 'nack', to: 2, ballot: B, promised: NO_BALLOT, reason: 'not-voter' },
      ]);
      const taken = node.step(accept(1, 2));
      expect(taken.sendAfterPersist).toEqual([]);
      node.step({ kind: 'persisted', upTo: 2 });
      expect(node.step(from(2, { kind: 'commit', ballot: B, chosenUpTo: at(2) })).chosen).toHaveLength(2);
      const campaign = node.step({ kind: 'campaign' });
      expect(campaign).toMatchObject({ leadership: 'lost', persist: [], sendNow: [] });
      expect(node.campaigning).toBe(false);
    }
  });

  test('accepts of a non-voter whose ballot is too low are not even refused', () => {
    const node = core(1, [1, 2, 3], { mayVote: false, promised: HIGH });
    const low = node.step(from(2, { kind: 'accept', ballot: LOW, entries: [entry(1, LOW, 'a')], chosenUpTo: at(0) }));
    expect([low.sendNow, low.sendAfterPersist, low.persist]).toEqual([[], [], []]);
  });
});

describe('2.4 progress: one distinguished proposer', () => {
  test('a leader stops at once when it hears of a higher ballot, by nack, prepare or accept', () => {
    const rivals = [
      (own: ReturnType<typeof ballot>) =>
        from(2, { kind: 'nack', ballot: own, promised: ballot(9, 2), reason: 'ballot' }),
      () => from(2, { kind: 'prepare', ballot: ballot(9, 2), from: at(1) }),
      () =>
        from(2, { kind: 'accept', ballot: ballot(9, 2), entries: [entry(1, ballot(9, 2), 'x')], chosenUpTo: at(0) }),
    ] as const;
    for (const rival of rivals) {
      const script = new Script([1, 2, 3]);
      script.elect(1);
      expect(script.core(1).leading).toBe(true);
      const effects = script.step(1, rival(script.core(1).promised));
      expect(effects.leadership).toBe('lost');
      expect(script.core(1).leading).toBe(false);
      expect(script.propose(1, 'late')).toBeNull();
    }
  });

  test('a prepare of a stranger while the lease runs is refused and deposes nobody', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    const prepare = { kind: 'prepare', ballot: ballot(9, 2), from: at(1) } as const;
    const effects = script.step(1, from(2, prepare, { leaseRuns: true }));
    expect(said(effects.sendNow, 'nack')[0]).toMatchObject({ reason: 'lease', promised: NO_BALLOT });
    expect(script.core(1).leading).toBe(true);
  });

  test('a prepare of a store that is not bound as acceptor gets no promise: it would count its own', () => {
    const node = core(1, [1, 2, 3]);
    const effects = node.step(from(2, { kind: 'prepare', ballot: HIGH, from: at(1) }, { voter: false }));
    expect(said(effects.sendNow, 'nack')[0]?.reason).toBe('not-voter');
    expect(effects.persist).toEqual([]);
  });

  test('a campaign ends as lost when no majority can promise any more; one refusal of three is none', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'campaign' });
    const nack = (reason: 'lease' | 'not-voter') =>
      ({ kind: 'nack', ballot: node.promised, promised: NO_BALLOT, reason }) as const;
    expect(node.step(from(2, nack('lease'))).leadership).toBeNull();
    expect(node.step(from(2, nack('lease'))).leadership).toBeNull();
    expect(node.campaigning).toBe(true);
    expect(node.step(from(3, nack('not-voter'))).leadership).toBe('lost');
    expect(node.campaigning).toBe(false);
  });

  test('a prepare is repeated until it is answered, and at once to a peer that comes up', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'tick', now: 1000 });
    node.step({ kind: 'campaign' });
    const prepares = (input: Parameters<typeof node.step>[0]) =>
      said(node.step(input).sendNow, 'prepare').map(({ to }) => to);
    expect(prepares({ kind: 'tick', now: 1100 })).toEqual([]);
    expect(prepares({ kind: 'tick', now: 1200 })).toEqual([2, 3]);
    expect(prepares({ kind: 'peerUp', peer: 3 as never })).toEqual([3]);
    expect(prepares({ kind: 'campaign' })).toEqual([]); // nothing higher was seen
  });

  test('campaign while campaigning goes to a higher ballot if one was seen', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'campaign' });
    const before = node.promised;
    // From a store that is not bound: no reason to give up, but a ballot to go above.
    node.step(from(2, { kind: 'nack', ballot: before, promised: ballot(6, 2), reason: 'ballot' }, { voter: false }));
    expect(node.campaigning).toBe(true);
    node.step({ kind: 'campaign' });
    expect(node.promised).toBe(ballot(7, 1));
  });

  test('unanswered accepts are repeated ever more rarely, only to those whose vote is missing', () => {
    const script = new Script([1, 2, 3, 4, 5]);
    script.tick(1, 1000);
    script.elect(1);
    script.propose(1, 'a');
    script.drop(({ to }) => to !== 2);
    script.settle([1, 2]);
    const repeats = (now: number) => said(script.tick(1, now).sendNow, 'accept').map(({ to }) => to);
    const times = [1100, 1200, 1400, 1600, 2000, 2400, 3200].map((now) => repeats(now).length > 0);
    expect(times).toEqual([false, true, false, true, false, true, false]);
    expect(repeats(5000)).toEqual([3, 4, 5]);
  });

  test('a campaign that was told of chosen values nobody can teach is given up after a second', () => {
    const node = core(1, [1, 2, 3]);
    node.step({ kind: 'tick', now: 1000 });
    node.step({ kind: 'campaign' });
    node.step({ kind: 'persisted', upTo: 1 });
    const promise = from(2, { kind: 'promise', ballot: node.promised, chosenUpTo: at(9), accepted: [] });
    expect(said(node.step(promise).sendNow, 'learn')).toEqual([{ kind: 'learn', to: 2, from: 1 }]);
    expect(node.proposerState).toBe('catching-up');
    expect(node.step({ kind: 'tick', now: 1050 }).leadership).toBeNull();
    expect(node.step({ kind: 'tick', now: 1950 }).leadership).toBeNull();
    expect(node.step({ kind: 'tick', now: 2050 }).leadership).toBe('lost');
  });

  test('won means: everything found in phase 1 is emitted here', () => {
    const script = new Script([1, 2, 3]);
    script.elect(1);
    script.propose(1, 'a');
    script.propose(1, 'b');
    script.drop(({ to }) => to !== 2);
    script.settle([1, 2]); // chosen by 1 and 2
    script.step(3, { kind: 'campaign' });
    const states = new Set<string>();
    for (let i = 0; i < 20 && !script.core(3).leading; i += 1) {
      states.add(`${script.core(3).proposerState} ${script.emitted.get(3)?.length}`);
      expect(script.propose(3, 'early')).toBeNull();
      script.drop(({ from: a, to }) => a === 1 || to === 1);
      script.deliver();
      script.fsync(2);
      script.fsync(3);
    }
    expect(script.core(3).leading).toBe(true);
    expect(script.emitted.get(3)?.slice(0, 2)).toEqual(['a', 'b']);
    expect([...states].every((state) => !state.startsWith('leading'))).toBe(true);
  });
});
