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
function behindAHole(): Script {
  const script = new Script([1, 2, 3]);
  script.elect(1);
  script.propose(1, 'lost');
  script.drop();
  script.propose(1, 'T');
  script.settle([1, 2]);
  return script;
}

const actsOnT = (script: Script): boolean => (script.emitted.get(1) ?? []).includes('T');

function schedule() {
  const script = behindAHole();
  const actedOnT = actsOnT(script);
  script.elect(2, [2, 3]);
  const electAt = script.propose(2, 'elect');
  script.settle([2, 3]);
  const log = script.emitted.get(2);
  // The old leader comes back.
  script.tick(2, 1000);
  script.settle();
  for (const now of [1050, 1100]) script.tick(1, now);
  script.settle();
  return { actedOnT, electAt, log, others: [1, 3].map((node) => script.emitted.get(node)) };
}

test('what is chosen behind a hole is not acted upon, and keeps its place before what comes later', () => {
  const log = ['noop', 'T', 'elect'];
  expect(schedule()).toEqual({ actedOnT: false, electAt: 3, log, others: [log, log] });
});

test('without apply-in-order T is acknowledged while a lower instance is open', () => {
  without('apply-in-order');
  expect(actsOnT(behindAHole())).toBe(true);
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
