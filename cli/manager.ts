import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { Child } from './child.ts';
import { type Cluster, configFileOf, nodeDirOf, nodeDirsIn, readCluster } from './cluster-dir.ts';
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
/** How often the manager looks whether cluster.json names other nodes. */
export const FOLLOW_MS = 300;
/** Longer than a supervisor's own bounds together (supervisor.ts). */
export const NODE_STOP_MS = 35_000;
/** A process that SIGKILL does not end by then hangs in the kernel (a stalled disk). */
export const KILL_MS = 15_000;

export class Manager {
  readonly #options: ManagerOptions;
  readonly #launcher: Launcher;
  readonly #nodes = new Map<NodeId, Child>();
  /** Not wanted any more, and not gone yet. */
  readonly #leaving = new Set<NodeId>();
  #cancelFollow: () => void = () => {};
  #complaint = '';
  #stopping: Promise<void> | undefined;

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.#launcher = new Launcher(options.dir, options.log);
    for (const { id } of options.cluster.nodes) this.#nodes.set(id, this.#child(id));
  }

  start(): void {
    this.#tell();
    for (const node of this.#nodes.values()) node.start();
    this.#follow();
  }

  /** Orderly and all at once: each node's agent hands over or drains by itself. `progress` hears what is left. */
  stop(progress: (line: string) => void): Promise<void> {
    this.#stopping ??= this.#stopAll(progress);
    return this.#stopping;
  }

  /** Ends everything now; MySQL recovers at the next start. */
  async killAll(): Promise<void> {
    this.#cancelFollow();
    await Promise.all([...this.#nodes.values()].map((node) => node.kill()));
    await endAllOf(this.#options.dir, this.#options.clock);
  }

  #child(id: NodeId): Child {
    const { dir, clock, log } = this.#options;
    const command = this.#options.nodeCommand ?? ((node) => nodeCommand(dir, node));
    mkdirSync(join(nodeDirOf(dir, id), 'log'), { recursive: true });
    return new Child({
      name: `node ${id}`,
      command: command(id),
      logFile: join(nodeDirOf(dir, id), 'log', 'supervisor.log'),
      launcher: this.#launcher,
      clock,
      log,
      restartDelayMs: NODE_RESTART_MS,
    });
  }

  #tell(): void {
    const { dir, log } = this.#options;
    try {
      writeManagerFile(dir, [...this.#nodes.keys(), ...this.#leaving]);
    } catch (error) {
      log.warn('cannot tell which nodes run', { reason: reasonOf(error) });
    }
  }

  #follow(): void {
    this.#cancelFollow = this.#options.clock.after(FOLLOW_MS, () => {
      this.#reconcile();
      this.#follow();
    });
  }

  /** The nodes that run are those of cluster.json, which `phxsql member` changes. */
  #reconcile(): void {
    const { dir, log } = this.#options;
    let wanted: ReadonlySet<NodeId>;
    try {
      const cluster = readCluster(dir);
      if (cluster === null) return;
      wanted = new Set(cluster.nodes.map(({ id }) => id));
    } catch (error) {
      if (reasonOf(error) !== this.#complaint) log.warn('the nodes stay as they are', { reason: reasonOf(error) });
      this.#complaint = reasonOf(error);
      return;
    }
    for (const [id, node] of this.#nodes) {
      if (wanted.has(id)) continue;
      this.#nodes.delete(id);
      this.#leaving.add(id);
      log.info('a node was removed: stopping it', { node: id });
      void node.stop(NODE_STOP_MS).then(() => {
        this.#leaving.delete(id);
        this.#tell();
      });
    }
    for (const id of wanted) {
      if (this.#nodes.has(id)) continue;
      log.info('a node was added: starting it', { node: id });
      const node = this.#child(id);
      this.#nodes.set(id, node);
      node.start();
      this.#tell();
    }
  }

  async #stopAll(progress: (line: string) => void): Promise<void> {
    this.#cancelFollow();
    await Promise.all(
      [...this.#nodes.values()].map(async (node) => {
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

type ManagerFile = ProcessId & Readonly<{ nodes?: readonly number[] }>;

function writeManagerFile(dir: string, nodes: readonly NodeId[]): void {
  mkdirSync(join(dir, 'run'), { recursive: true });
  writeAtomically(managerFileOf(dir), `${JSON.stringify({ ...identify(process.pid), nodes })}\n`, 'fleeting');
}

/** The living manager of `dir`, or null. */
export function managerOf(dir: string): ProcessId | null {
  const file = readManagerFile(dir);
  return file === null ? null : { pid: file.pid, startTicks: file.startTicks };
}

/** The nodes its living manager runs, or is still stopping. */
export function managedNodes(dir: string): readonly number[] {
  return readManagerFile(dir)?.nodes ?? [];
}

function readManagerFile(dir: string): ManagerFile | null {
  try {
    const file = JSON.parse(readFileSync(managerFileOf(dir), 'utf8')) as ManagerFile;
    return typeof file.pid === 'number' && isAlive(file) ? file : null;
  } catch {
    return null; // never started here
  }
}
