import { describe, expect, test } from 'vitest';
import { NO_BALLOT, nodeId } from '../../../base/brands.ts';
import { mergeEffects, noEffects } from '../../../binlogsvr/paxos/effects.ts';
import type { Effects, Envelope, Message } from '../../../binlogsvr/paxos/types.ts';
import { at, ballot, entry } from './paxos-script.ts';

const B = ballot(1, 1);
const C = ballot(2, 1);
const to = (node: number, message: Message): Envelope => ({ to: nodeId(node), message });
const now = (...sendNow: Envelope[]): Effects => ({ ...noEffects(), sendNow });
const accept = (instance: number, chosenUpTo = 0, b = B): Message => ({
  kind: 'accept',
  ballot: b,
  entries: [entry(instance, b, `v${instance}`)],
  chosenUpTo: at(chosenUpTo),
});
const commit = (chosenUpTo: number, b = B): Message => ({ kind: 'commit', ballot: b, chosenUpTo: at(chosenUpTo) });

describe('merging the effects of several steps', () => {
  test('accepts of one ballot to one peer become one, each peer its own', () => {
    const effects = mergeEffects(
      now(to(2, accept(1)), to(3, accept(1))),
      now(to(2, accept(2, 1)), to(3, accept(2, 1))),
    );
    expect(effects.sendNow).toEqual(
      [2, 3].map((peer) =>
        to(peer, {
          kind: 'accept',
          ballot: B,
          entries: [entry(1, B, 'v1'), entry(2, B, 'v2')],
          chosenUpTo: at(1),
        }),
      ),
    );
  });

  test('a commit rides on the accept before or after it', () => {
    expect(mergeEffects(now(to(2, accept(5, 1))), now(to(2, commit(4)))).sendNow).toEqual([to(2, accept(5, 4))]);
    expect(mergeEffects(now(to(2, commit(4))), now(to(2, accept(5, 4)))).sendNow).toEqual([to(2, accept(5, 4))]);
    expect(mergeEffects(now(to(2, commit(4))), now(to(2, commit(6)))).sendNow).toEqual([to(2, commit(6))]);
  });

  test('neither other ballots nor other messages between them are merged', () => {
    const prepare: Message = { kind: 'prepare', ballot: C, from: at(1) };
    const separate = [to(2, accept(1)), to(2, accept(2, 0, C)), to(2, prepare), to(2, accept(3, 0, C))];
    const effects = noEffects();
    for (const envelope of separate) mergeEffects(effects, now(envelope));
    expect(effects.sendNow).toEqual(separate);
    const hint = mergeEffects(now(to(2, accept(1))), now(to(2, commit(4, NO_BALLOT))));
    expect(hint.sendNow).toHaveLength(2);
  });

  test('an accept message is not merged beyond its bound', () => {
    const big = (instance: number): Message => ({
      kind: 'accept',
      ballot: B,
      entries: [{ instance: at(instance), ballot: B, value: new Uint8Array(3 << 20) }],
      chosenUpTo: at(0),
    });
    expect(mergeEffects(now(to(2, big(1))), now(to(2, big(2)))).sendNow).toHaveLength(2);
  });

  test('accepted answers of one ballot become one; records, chosen and learn requests keep their order', () => {
    const step = (instance: number): Effects => ({
      ...noEffects(),
      persist: [{ kind: 'accepted', entry: entry(instance, B, 'v') }],
      sendAfterPersist: [to(1, { kind: 'accepted', ballot: B, instances: [at(instance)] })],
      chosen: [{ instance: at(instance), value: new Uint8Array() }],
      serveLearn: [{ to: nodeId(3), from: at(instance) }],
    });
    const effects = mergeEffects(mergeEffects(noEffects(), step(1)), step(2));
    expect(effects.sendAfterPersist).toEqual([to(1, { kind: 'accepted', ballot: B, instances: [at(1), at(2)] })]);
    expect(effects.persist.map((record) => record.kind === 'accepted' && record.entry.instance)).toEqual([1, 2]);
    expect(effects.chosen.map(({ instance }) => instance)).toEqual([1, 2]);
    expect(effects.serveLearn.map((asked) => asked.from)).toEqual([1, 2]);
  });

  test('the later word on leadership and the proposal stands', () => {
    const won = (): Effects => ({ ...noEffects(), leadership: 'won', proposed: at(7) });
    expect(mergeEffects(won(), { ...noEffects(), leadership: 'lost' })).toMatchObject({
      leadership: 'lost',
      proposed: 7,
    });
    expect(mergeEffects(won(), noEffects())).toMatchObject({ leadership: 'won', proposed: 7 });
  });

  test('the messages merged are not changed themselves', () => {
    const first = accept(1);
    mergeEffects(now(to(2, first)), now(to(2, accept(2))));
    expect(first).toEqual(accept(1));
  });
});
