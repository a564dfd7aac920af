import type { AgentReport } from '../proto/binlogsvr-types.ts';
import type { AgentContext, Exposure } from './context.ts';

/** What only the agent itself knows of its report. */
export type OwnFacts = Omit<AgentReport, SeenByAll> &
  Readonly<{
    exposure: Exposure;
    /** Settings somebody stored in the datadir, in words. */
    ignored: string;
  }>;

type SeenByAll =
  | 'role'
  | 'servingReads'
  | 'servingWrites'
  | 'attachEpoch'
  | 'mysqlSocket'
  | 'mysqldPid'
  | 'ioRunning'
  | 'sqlRunning'
  | 'pinned';

export function sameExposure(a: Exposure, b: Exposure): boolean {
  return a.servingWrites === b.servingWrites && a.attachEpoch === b.attachEpoch && a.reachable === b.reachable;
}

export function composeReport(
  { role, watch, server, views }: Pick<AgentContext, 'role' | 'watch' | 'server' | 'views'>,
  { exposure, ignored, ...own }: OwnFacts,
): AgentReport {
  const { probe, channel } = watch;
  const now = role();
  const applying = channel?.applier ?? false;
  // What is read of it would be older with every moment, and nothing would show it.
  const removed = views.view?.membership?.kind === 'removed';
  return {
    ...own,
    role: now,
    servingReads: now === 'replica' && applying && probe !== null && !probe.offlineMode && !removed,
    servingWrites: now === 'master' && exposure.servingWrites,
    attachEpoch: exposure.attachEpoch,
    mysqlSocket: watch.pid !== null && exposure.reachable ? server.socket : '',
    mysqldPid: watch.pid ?? 0,
    ioRunning: channel?.receiver === 'ON',
    sqlRunning: applying,
    pinned: [probe?.pinned ?? '', ignored].filter((each) => each !== '').join('; '),
  };
}
