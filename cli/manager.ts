import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { Child } from './child.ts';
import { type Cluster, configFileOf, nodeDirOf, nodeDirsIn } from './cluster-dir.ts';
import { ENTRY } from './entry.ts';
import { writeAtomically } from './files.ts';
import { Launcher } from './launcher.ts';
import { knownProcesses } from './pids-file.ts';
import { describeProcess, identify, isAlive, killAllOf, type ProcessId } from './processes.ts';

/** The parent of a one-machine cluster: one supervisor per node, started again when it dies, all dying with it. */
export type ManagerOptions = Readonly<{
  dir: string;
  cluster: Cluster;
  clock: Clock;
  log: Logger;
  /** What runs a node, for tests; else `phxsql node --config FILE`. */
  nodeCommand?: (node: NodeId) => Readonly<{ file: string; args: readonly string[] }>;
}>;

/** A node that was killed whole comes back this much later. */
export const NODE_RESTART_MS = 500;
/** Longer than a supervisor's own bounds together (supervisor.ts). */
export const NODE_STOP_MS = 35_000;
/** A process that SIGKILL does not end by then hangs in the kernel (a stalled disk). */
export const KILL_MS = 15_000;

export class Manager {
  readonly #options: ManagerOptions;
  readonly #nodes: readonly Child[];
  #stopping: Promise<void> | undefined;

  constructor(options: ManagerOptions) {
    this.#options = options;
    const { dir, cluster, clock, log } = options;
    const launcher = new Launcher(dir, log);
    const command = options.nodeCommand ?? ((node) => nodeCommand(dir, node));
    this.#nodes = cluster.nodes.map(({ id }) => {
      mkdirSync(join(nodeDirOf(dir, id), 'log'), { recursive: true });
      return new Child({
        name: `node ${id}`,
        command: command(id),
        logFile: join(nodeDirOf(dir, id), 'log', 'supervisor.log'),
        launcher,
        clock,
        log,
        restartDelayMs: NODE_RESTART_MS,
      });
    });
  }

  start(): void {
    writeManagerFile(this.#options.dir);
    for (const node of this.#nodes) node.start();
  }

  /** Orderly and all at once: each node's agent hands over or drains by itself. `progress` hears what is left. */
  stop(progress: (line: string) => void): Promise<void> {
    this.#stopping ??= this.#stopAll(progress);
    return this.#stopping;
  }

  /** Ends everything now; MySQL recovers at the next start. */
  async killAll(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.kill()));
    await endAllOf(this.#options.dir, this.#options.clock);
  }

  async #stopAll(progress: (line: string) => void): Promise<void> {
    await Promise.all(
      this.#nodes.map(async (node) => {
        await node.stop(NODE_STOP_MS);
        progress(`${node.name} stopped`);
      }),
    );
    await endAllOf(this.#options.dir, this.#options.clock);
  }
}

/** SIGKILLs whatever still belongs to `dir`, a cluster's or a node's. Throws TIMEOUT naming what does not die. */
export async function endAllOf(dir: string, clock: Clock): Promise<void> {
  const known = [dir, ...nodeDirsIn(dir)].flatMap(knownProcesses);
  const left = await killAllOf(dir, KILL_MS, clock, known);
  if (left.length === 0) return;
  throw new PhxError(
    'TIMEOUT',
    `end processes of ${dir}: still there ${KILL_MS} ms after SIGKILL: ${left.map(describeProcess).join(', ')}`,
    {
      hint: 'a process that SIGKILL does not end waits for its disk',
    },
  );
}

export function nodeCommand(dir: string, node: NodeId): { file: string; args: readonly string[] } {
  return { file: process.execPath, args: [ENTRY, 'node', '--config', configFileOf(dir, node)] };
}

const managerFileOf = (dir: string): string => join(dir, 'run', 'manager.json');

function writeManagerFile(dir: string): void {
  mkdirSync(join(dir, 'run'), { recursive: true });
  writeAtomically(managerFileOf(dir), `${JSON.stringify(identify(process.pid))}\n`, 'fleeting');
}

/** The living manager of `dir`, or null. */
export function managerOf(dir: string): ProcessId | null {
  try {
    const id = JSON.parse(readFileSync(managerFileOf(dir), 'utf8')) as ProcessId;
    return typeof id.pid === 'number' && isAlive(id) ? id : null;
  } catch {
    return null; // never started here
  }
}
