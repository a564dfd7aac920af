import type { MonoMs } from '../base/brands.ts';
import type { Backend, ProxyView } from './view.ts';

export type Route =
  | Readonly<{ kind: 'target'; target: Backend; epoch: number }>
  /** Nothing to go to now; `reason` says what is waited for. */
  | Readonly<{ kind: 'wait'; reason: string }>;

/** Where a read-write connection goes. The view may be old (its supervisor frozen), so its lease bound is looked at here too. */
export function routeWrite(view: ProxyView, now: MonoMs, wall: number): Route {
  const { master } = view;
  if (master === null) return { kind: 'wait', reason: view.reason };
  if (now > view.readUntil || wall > view.readUntilWall) {
    return { kind: 'wait', reason: `the lease of node ${master.node} (epoch ${view.epoch}) is not confirmed any more` };
  }
  return { kind: 'target', target: master, epoch: view.epoch };
}

/**
 * Where a read-only connection goes: the local slave, else the one with the fewest connections (`sessionsOf`, this
 * worker's count); never one that lags more than `lagMsMax` or is in `avoid` (just tried in vain).
 */
export function routeRead(
  view: ProxyView,
  lagMsMax: number,
  sessionsOf: (node: number) => number,
  avoid: ReadonlySet<number>,
): Route {
  let best: Backend | null = null;
  let bestSessions = 0;
  let late = '';
  let avoided = '';
  for (const slave of view.slaves) {
    if (slave.lagMs > lagMsMax) {
      late += `; node ${slave.node} is ${(slave.lagMs / 1000).toFixed(1)} s behind (bound ${lagMsMax / 1000} s)`;
    } else if (avoid.has(slave.node)) {
      avoided += `; mysqld of node ${slave.node} does not answer`;
    } else if (slave.local) {
      return { kind: 'target', target: slave, epoch: view.epoch };
    } else {
      const sessions = sessionsOf(slave.node);
      if (best === null || sessions < bestSessions) {
        best = slave;
        bestSessions = sessions;
      }
    }
  }
  if (best !== null) return { kind: 'target', target: best, epoch: view.epoch };
  const details = `${late}${avoided}`.slice(2);
  return { kind: 'wait', reason: view.closed ?? (details === '' ? 'no node reports a healthy slave' : details) };
}
