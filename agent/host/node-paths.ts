import { join } from 'node:path';
import { socketPathFor } from './socket-path.ts';

/** What the agent keeps in a node's directory. */
export type NodePaths = Readonly<{
  datadir: string;
  runDir: string;
  logDir: string;
  /** Binlog tails that were cut off, for people. */
  cutDir: string;
  myCnf: string;
  socket: string;
  pidFile: string;
  errorLog: string;
  /** stdout and stderr of mysqld, for what it says before it opens its own log. */
  outputLog: string;
  binlogIndex: string;
  autoCnf: string;
  ibdata: string;
  cutPlan: string;
  /** GTIDs that cuts took away and mysqld must not have executed; in the datadir, because it is about that one. */
  cutRemoved: string;
  /** How far the replacement of the data directory is. */
  reprovision: string;
  /** Which process was opened for writes in which epoch. */
  openedMark: string;
  /** Written and synced by the disk probe: in the datadir, because that is the disk in question. */
  diskProbe: string;
}>;

export function nodePaths(dataDir: string): NodePaths {
  const datadir = join(dataDir, 'mysql');
  const runDir = join(dataDir, 'run');
  const logDir = join(dataDir, 'log');
  return {
    datadir,
    runDir,
    logDir,
    cutDir: join(dataDir, 'cut'),
    myCnf: join(runDir, 'my.cnf'),
    socket: socketPathFor(runDir),
    pidFile: join(runDir, 'mysqld.pid'),
    errorLog: join(logDir, 'mysqld.log'),
    outputLog: join(logDir, 'mysqld.out.log'),
    binlogIndex: join(datadir, 'binlog.index'),
    autoCnf: join(datadir, 'auto.cnf'),
    ibdata: join(datadir, 'ibdata1'),
    cutPlan: join(runDir, 'cut-plan.json'),
    cutRemoved: join(datadir, 'phxsql_cut_gtids'),
    reprovision: join(runDir, 'reprovision.json'),
    openedMark: join(runDir, 'opened.json'),
    diskProbe: join(datadir, 'phxsql_probe'),
  };
}
