import { expect, test } from 'vitest';
import { Script } from '../unit/binlogsvr/paxos-script.ts';
import { without } from './steps.ts';

/*
 * 3: a value chosen behind a hole.
 *
 *  instance     1          2                          1          2          3
 *  node 1       "lost"     T          leads
 *  node 2                  T          chosen ───────► noop       T          Elect{2}       leads with node 3
 *  node 3                                             noop       T          Elect{2}
 *
 * T is chosen by {1,2}, but instance 1 is open: node 1 must not act on it. The new leader fills the hole with a no-op and
 * puts its own value above T. Otherwise its Elect would stand before T, and T, acknowledged, would be of a closed epoch.
 */
function schedule() {
  const script = new Script([1, 2, 3]);
  script.elect(1);
  script.propose(1, 'lost');
  script.drop();
  script.propose(1, 'T');
  script.settle([1, 2]);
  const actedOnT = (script.emitted.get(1) ?? []).includes('T');
  script.elect(2, [2, 3]);
  const electAt = script.propose(2, 'elect');
  script.settle([2, 3]);
  return { actedOnT, electAt, log: script.emitted.get(2) };
}

test('what is chosen behind a hole is not acted upon, and keeps its place before what comes later', () => {
  expect(schedule()).toEqual({ actedOnT: false, electAt: 3, log: ['noop', 'T', 'elect'] });
});

test('without apply-in-order T is acknowledged while a lower instance is open', () => {
  without('apply-in-order');
  expect(schedule()).toMatchObject({ actedOnT: true });
});

test('without own-above-found the election of the next leader stands before T', () => {
  without('own-above-found');
  let end: unknown;
  try {
    end = schedule();
  } catch (error) {
    end = String(error);
  }
  expect(end).not.toMatchObject({ electAt: 3, log: ['noop', 'T', 'elect'] });
});
