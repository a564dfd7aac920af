import type { AgentRole, View } from '../proto/binlogsvr-types.ts';
import { syncAttached } from './decide.ts';
import type { WatchMode } from './mysqld-watch.ts';

/** What of mysqld has to be looked at, and how often, in this role. */
export function watchMode(role: AgentRole, view: View | null, masterEpoch: number): WatchMode {
  return {
    channel: role === 'replica' || role === 'recovering' || role === 'master',
    logins: role === 'master' && !syncAttached(view, masterEpoch),
    hurried:
      role === 'promoting' ||
      (role === 'replica' && view !== null && view.baseline && !view.open) ||
      (view?.membership?.takesOver ?? 0) !== 0,
  };
}
