import type { AgentReport } from '../../proto/binlogsvr-types.ts';

/** What the agent of a healthy slave says, with what is said otherwise in `more`. */
export function replicaReport(more: Partial<AgentReport> = {}): AgentReport {
  return {
    role: 'replica',
    reason: '',
    gtidExecuted: '',
    servingReads: true,
    servingWrites: false,
    epoch: 0,
    attachEpoch: 0,
    mysqlSocket: '',
    mysqldPid: 1,
    ioRunning: true,
    sqlRunning: true,
    pinned: '',
    incarnation: 1,
    ...more,
  };
}
