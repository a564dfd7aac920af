import { expect, test } from 'vitest';
import { NO_BALLOT, nodeId } from '../../base/brands.ts';
import type { Input } from '../../binlogsvr/paxos/types.ts';
import { at, ballot, entry, from, Script, textOf } from '../unit/binlogsvr/paxos-script.ts';
import { without } from './steps.ts';

/*
 * 5: a phase 1 holds only for the voters it was won with. A = 1, B = 2, C = 3; D = 4 and E = 5 are added.
 *
 *       A (ballot 9.1, won with {A,B})      B         C                     D                     E
 *       "voters A-E" at 1: chosen by {A,B}
 *                                                     learns 1              learns 1              learns 1
 *                                                     prepare 2.3 ────────► promised ───────────► promised
 *                                                     v at 2 ─────────────► accepted: chosen by {C,D,E}
 *       w at 2, still at 9.1 ─────────────► accepted ─────────────────────► accepted: chosen by {A,B,D}
 *
 * With phase 1 won again under {A..E}, A meets D or E or C, and proposes v.
 */
function schedule() {
  const voters = (nodes: readonly number[]): Input => ({ kind: 'voters', voters: nodes.map(nodeId), mayVote: true });
  const everybody = voters([1, 2, 3, 4, 5]);
  const script = new Script([1, 2, 3, 4, 5], {
    voters: [1, 2, 3].map(nodeId),
    changesVoters: (value) => textOf(value).startsWith('voters'),
  });
  script.restart(1, {
    voters: [1, 2, 3].map(nodeId),
    promised: ballot(8, 2),
    changesVoters: (v) => textOf(v)[0] === 'v',
  });
  script.elect(1, [1, 2]);
  script.propose(1, 'voters A-E');
  script.settle([1, 2]);
  for (const node of [3, 4, 5]) {
    const entries = [entry(1, NO_BALLOT, 'voters A-E')];
    script.step(node, from(1, { kind: 'learned', entries, chosenUpTo: at(1) }));
    script.fsync(node);
    script.step(node, everybody);
  }
  script.elect(3, [3, 4, 5]);
  script.propose(3, 'v');
  script.deliver(({ to }) => to === 4 || to === 5);
  for (const node of [3, 4, 5]) script.fsync(node);
  script.deliver(({ to }) => to === 3);
  script.drop(); // D and E have accepted v, and do not hear that it is chosen
  script.step(1, everybody);
  script.step(2, everybody);
  script.settle([1, 2, 4]);
  script.propose(1, 'w');
  script.settle([1, 2, 4]);
  return [script.emitted.get(1)?.[1], script.emitted.get(3)?.[1]];
}

test('5: a leader proposes under new voters only after a phase 1 with them', () => {
  expect(schedule()).toEqual(['v', 'v']);
});

test('5: without phase1-after-membership one instance gets two values', () => {
  without('phase1-after-membership');
  expect(schedule()).toEqual(['w', 'v']);
});

/*
 * 5b: a value is proposed behind a change of the voters.
 *
 *       A (won with {A,B})         B                  C               D               E
 *       "voters A-E" at 1 ───────► accepted
 *       w at 2, behind it ───────► accepted: chosen by {A,B}, of three
 *                                                     learns 1        learns 1        learns 1
 *                                                     v at 2 ───────► accepted ─────► chosen by {C,D,E}, of five
 */
function behindTheChange() {
  const script = new Script([1, 2, 3, 4, 5], {
    voters: [1, 2, 3].map(nodeId),
    changesVoters: (value) => textOf(value).startsWith('voters'),
  });
  script.elect(1, [1, 2]);
  script.propose(1, 'voters A-E');
  script.propose(1, 'w');
  script.settle([1, 2]);
  for (const node of [3, 4, 5]) {
    const entries = [entry(1, NO_BALLOT, 'voters A-E')];
    script.step(node, from(1, { kind: 'learned', entries, chosenUpTo: at(1) }));
    script.fsync(node);
    script.step(node, { kind: 'voters', voters: [1, 2, 3, 4, 5].map(nodeId), mayVote: true });
  }
  script.elect(3, [3, 4, 5]);
  script.propose(3, 'v');
  script.settle([3, 4, 5]);
  return [script.emitted.get(1)?.[1], script.emitted.get(3)?.[1]];
}

test('5b: nothing is proposed behind a change of the voters', () => {
  expect(behindTheChange()).toEqual([undefined, 'v']);
});

test('5b: without change-travels-alone one instance gets two values', () => {
  without('change-travels-alone');
  expect(behindTheChange()).toEqual(['w', 'v']);
});
