import { describe, expect, it } from 'vitest';
import { monoMs } from '../../../base/brands.ts';
import { routeRead, routeWrite } from '../../../proxy/router.ts';
import { NO_VIEW, type ProxyView } from '../../../proxy/view.ts';

const slave = (node: number, lagMs = 0, local = false) => ({ node, host: 'h', port: 3306 + node, lagMs, local });
const nobody: ReadonlySet<number> = new Set();

describe('routeWrite', () => {
  const master = { node: 2, host: 'h', port: 3306 };
  const view: ProxyView = { ...NO_VIEW, epoch: 5, master, reason: '', readUntil: monoMs(1000), readUntilWall: 9000 };

  it('goes to the master while its lease runs by both clocks', () => {
    expect(routeWrite(view, monoMs(1000), 9000)).toEqual({ kind: 'target', target: master, epoch: 5 });
    expect(routeWrite(view, monoMs(1000.1), 8000)).toMatchObject({
      kind: 'wait',
      reason: expect.stringContaining('lease of node 2'),
    });
    expect(routeWrite(view, monoMs(10), 9001)).toMatchObject({
      kind: 'wait',
      reason: expect.stringContaining('lease of node 2'),
    });
  });

  it('waits with the reason of the view', () => {
    expect(routeWrite({ ...view, master: null, reason: 'because' }, monoMs(0), 0)).toEqual({
      kind: 'wait',
      reason: 'because',
    });
  });
});

describe('routeRead', () => {
  const pick = (slaves: ProxyView['slaves'], counts: Record<number, number> = {}, avoid = nobody) => {
    const route = routeRead({ ...NO_VIEW, slaves }, 10_000, (node) => counts[node] ?? 0, avoid);
    return route.kind === 'target' ? route.target.node : route.reason;
  };

  it('takes the local slave, however many connections it has', () => {
    expect(pick([slave(1), slave(2, 9999, true)], { 2: 500 })).toBe(2);
  });

  it('takes the one with the fewest connections when the local one lags, is avoided or missing', () => {
    const remote = [slave(1), slave(3)];
    expect(pick([...remote, slave(2, 10_001, true)], { 1: 4, 3: 3 })).toBe(3);
    expect(pick([...remote, slave(2, 0, true)], { 1: 2, 3: 3 }, new Set([2]))).toBe(1);
    expect(pick(remote, { 1: 1, 3: 1 })).toBe(1);
  });

  it('tells a node that sends nobody anywhere', () => {
    const view: ProxyView = { ...NO_VIEW, closed: 'this node was removed from the cluster' };
    expect(routeRead(view, 10_000, () => 0, nobody)).toEqual({ kind: 'wait', reason: view.closed });
  });

  it('says why there is none', () => {
    expect(pick([])).toBe('no node reports a healthy slave');
    expect(pick([slave(1, 15_000), slave(3)], {}, new Set([3]))).toBe(
      'node 1 is 15.0 s behind (bound 10 s); mysqld of node 3 does not answer',
    );
  });
});
