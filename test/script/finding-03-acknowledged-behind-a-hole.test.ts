import { expect, test } from 'vitest';
import { Script } from '../unit/binlogsvr/paxos-script.ts';
import { without } from './steps.ts';

/*
 * 3: a value chosen behind a hole.
 *
 *  instance     1          2                          1          2          3          4
 *  node 1       "lost"     T          leads
 *  node 2                  T          chosen ───────► noop       T          Elect{3}   Renew
 *  node 3                                             noop       T          Elect{3}   Renew      leads with node 2
 *
 * T is chosen by {1,2}, but instance 1 is open: node 1 must not act on it. The new leader fills the hole with a no-op and
 * puts its own values above T. Otherwise its Elect would stand before T, and T, acknowledged, would be of a closed epoch.
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

function takenOver(script: Script) {
  script.elect(3, [2, 3]);
  for (const value of ['elect', 'renew']) script.propose(3, value);
  script.settle([2, 3]);
  return [2, 3].map((node) => script.emitted.get(node));
}

test('what is chosen behind a hole is not acted upon, and keeps its place before what comes later', () => {
  const script = behindAHole();
  expect(actsOnT(script)).toBe(false);
  const log = ['noop', 'T', 'elect', 'renew'];
  expect(takenOver(script)).toEqual([log, log]);
  // The old leader comes back.
  script.tick(3, 1000);
  script.settle();
  for (const now of [1050, 1100, 1150]) {
    script.tick(1, now);
    script.settle();
  }
  expect(script.emitted.get(1)).toEqual(log);
});

test('without apply-in-order T is acknowledged while a lower instance is open', () => {
  without('apply-in-order');
  expect(actsOnT(behindAHole())).toBe(true);
});

test('without own-above-found the election of the next leader stands before T, and T is overwritten', () => {
  without('own-above-found');
  const log = ['elect', 'renew'];
  expect(takenOver(behindAHole())).toEqual([log, log]);
});
