import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../base/async.ts';
import { PhxError } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { findMysqld } from '../../deploy/mysql-provision.ts';
import { type Cluster, passwordFileOf, statusSourceOf } from '../cluster-dir.ts';
import { checkNodeCount, type PreparedCluster, prepareCluster } from '../cluster-prepare.ts';
import { ENTRY } from '../entry.ts';
import { openLog } from '../files.ts';
import { LiveView } from '../live-view.ts';
import { createLogger } from '../logger.ts';
import { Manager } from '../manager.ts';
import { lastLine } from '../node-start.ts';
import { MARK } from '../processes.ts';
import type { StartOptions } from '../program.ts';
import { onStopSignals } from '../signals.ts';
import type { ClusterStatus, NodeState } from '../status.ts';
import { StatusCollector } from '../status-collector.ts';
import { isReady, statusLine } from '../status-text.ts';

const POLL_MS = 500;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** `phxsql cluster start` */
export async function clusterStart(flags: StartOptions): Promise<void> {
  if (flags.nodes !== undefined) checkNodeCount(flags.nodes);
  const wanted = {
    ...(flags.nodes === undefined ? {} : { nodes: flags.nodes }),
    ...(flags.portOffset === undefined ? {} : { portOffset: flags.portOffset }),
    ...(flags.settings === undefined ? {} : { settings: flags.settings }),
  };
  const prepared = await prepareCluster(flags.dir, wanted, say, (progress) =>
    findMysqld({ env: process.env, progress }),
  );
  const { dir, cluster, founded } = prepared;
  say(`${founded ? 'new' : 'resuming'} cluster of ${cluster.nodes.length} nodes in ${dir}`);
  warnAboutPassword(dir, founded);
  delete process.env.PHXSQL_ROOT_PASSWORD; // from here on it is the file's: the processes need not carry it
  if (flags.detach) await startDetached(prepared, flags.timeout, flags.json === true);
  else await startHere(prepared);
}

/** In the foreground: live state until Ctrl-C. */
async function startHere({ dir, cluster, lock }: PreparedCluster): Promise<void> {
  process.stdout.on('error', () => {}); // the terminal is gone: SIGHUP follows, and is orderly
  const view = new LiveView(process.stdout);
  const log = createLogger('manager', 0, openLog(managerLogOf(dir)));
  const manager = new Manager({ dir, cluster, clock: systemClock, log });
  const done = Promise.withResolvers<void>();
  let stopping = false;
  onStopSignals(
    () => {
      stopping = true;
      view.say('stopping in order; once more ends it at once');
      manager.stop((line) => view.say(line)).then(done.resolve, done.reject);
    },
    () => {
      view.say('killing all processes');
      manager.killAll().then(done.resolve, done.reject);
    },
  );
  const collector = new StatusCollector(statusSourceOf(dir, cluster), systemClock);
  manager.start();
  let announced = false;
  const watch = async (): Promise<void> => {
    while (!stopping) {
      const status = await collector.collect();
      if (stopping) return;
      if (!announced && isReady(status)) {
        announced = true;
        view.say(howToConnect(dir, cluster, 'Ctrl-C'));
      }
      view.show(status);
      await delay(systemClock, POLL_MS);
    }
  };
  await Promise.race([watch().then(() => done.promise), done.promise]);
  view.say('stopped, no process is left');
  await collector.close();
  await lock.release();
  process.exit(0);
}

async function startDetached(prepared: PreparedCluster, timeoutSeconds: number, json: boolean): Promise<void> {
  const { dir, cluster } = prepared;
  await prepared.lock.release(); // the manager takes it
  const logFile = managerLogOf(dir);
  const output = openLog(logFile);
  const env = { ...process.env, [MARK]: dir };
  const manager = spawn(process.execPath, [ENTRY, 'internal', 'manager', '--dir', dir], {
    stdio: ['ignore', output, output],
    detached: true,
    env,
  });
  closeSync(output);
  let ended: string | null = null;
  manager.on('exit', (code, signal) => {
    ended = signal ?? `status ${code}`;
  });
  manager.on('error', (error) => {
    ended = error.message;
  });
  const status = await waitReady(prepared, timeoutSeconds * 1000, () => {
    if (ended !== null)
      throw new PhxError('UNAVAILABLE', `start cluster: its manager ended (${ended}): ${lastLine(logFile)}`);
  });
  manager.unref();
  say(howToConnect(dir, cluster, `phxsql cluster stop --dir ${dir}`));
  const text = json ? `${JSON.stringify(status, null, 2)}\n` : '';
  await new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
  process.exit(0);
}

function managerLogOf(dir: string): string {
  mkdirSync(join(dir, 'log'), { recursive: true });
  return join(dir, 'log', 'manager.log');
}

async function waitReady(
  { dir, cluster }: PreparedCluster,
  timeoutMs: number,
  check: () => void,
): Promise<ClusterStatus> {
  const collector = new StatusCollector(statusSourceOf(dir, cluster), systemClock);
  const deadline = systemClock.now() + timeoutMs;
  let shown = '';
  try {
    for (;;) {
      check();
      const status = await collector.collect();
      if (isReady(status)) return status;
      const line = statusLine(status);
      if (line !== shown) say(line);
      shown = line;
      if (systemClock.now() >= deadline) {
        throw new PhxError(
          'TIMEOUT',
          `start cluster: not up after ${timeoutMs / 1000} s: ${status.nodes.map(nodeLine).join('; ')}`,
          {
            hint: `it goes on trying in the background; logs are in ${join(dir, 'node-*', 'log')}; phxsql cluster stop ends it`,
          },
        );
      }
      await delay(systemClock, POLL_MS);
    }
  } finally {
    await collector.close();
  }
}

const nodeLine = (node: NodeState): string =>
  `node ${node.id} ${node.state}${node.reason === '' ? '' : ` (${node.reason})`}`;

function howToConnect(dir: string, cluster: Cluster, stop: string): string {
  const first = cluster.nodes[0];
  const ports = (what: 'rw' | 'ro'): string => cluster.nodes.map((node) => node[what]).join(', ');
  return [
    'the cluster is up',
    `  read-write   MYSQL_PWD=$(cat ${passwordFileOf(dir)}) mysql -h ${first?.host} -P ${first?.rw} -u root`,
    `               any of the ports ${ports('rw')} leads to the master`,
    `  read-only    ports ${ports('ro')}`,
    `  password     of root: in ${passwordFileOf(dir)}`,
    `  stop         ${stop}`,
  ].join('\n');
}

function warnAboutPassword(dir: string, founded: boolean): void {
  const given = process.env.PHXSQL_ROOT_PASSWORD;
  if (founded || given === undefined || given === '') return;
  if (given !== readFileSync(passwordFileOf(dir), 'utf8').trimEnd()) {
    say(
      `PHXSQL_ROOT_PASSWORD is not what ${passwordFileOf(dir)} says: ignored, the cluster exists (ALTER USER changes the password)`,
    );
  }
}
