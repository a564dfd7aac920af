import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { NODE_ID_MAX, type NodeId, nodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { invariant } from '../base/invariant.ts';
import type { MysqlInstall } from '../base/mysql-install.ts';
import type { NodeAddress } from '../base/topology.ts';
import { MEMBERS_MAX } from '../binlogsvr/membership.ts';
import { type JoinConfig, readSecret } from './config.ts';
import { renderNodeConfig } from './config-render.ts';
import { DEFAULT_PORTS, NODES_MAX, nodeSchema } from './config-schema.ts';
import { writeAtomically } from './files.ts';
import { readSettings, SETTINGS_FILE } from './shared-settings.ts';
import type { StatusSource } from './status-collector.ts';

/**
 * The directory of a one-machine cluster:
 *
 *    DIR/cluster.json     what it is (written last when founded: without it the directory is nobody's)
 *        cluster.secret   root.password   mysql.json   settings.toml (if it was made with some)
 *        template/        a fresh MySQL data directory the nodes copy
 *        lock/            held by the manager            run/manager.json   log/manager.log
 *        node-1/          node.toml  lock/  run/pids.json  log/  and what the components keep
 */
export type Cluster = Readonly<{
  name: string;
  portOffset: number;
  nodes: readonly NodeAddress[];
  /** Ids of nodes that were removed: never given again. */
  removed: readonly number[];
}>;

export const CLUSTER_FORMAT = 1;
const DEFAULT_NAME = 'local';
const LOOPBACK = '127.0.0.1';
/** The i-th node's ports lie this much above the first one's. */
const PORT_STEP = 10;

const clusterSchema = z.object({
  format: z.literal(CLUSTER_FORMAT),
  name: z.string().min(1),
  portOffset: z.int(),
  nodes: z.array(nodeSchema).min(1).max(MEMBERS_MAX),
  removed: z.array(z.int()).default([]),
});

/** What may lie in a directory in which founding a cluster was begun and not finished. */
export const BEGUN: ReadonlySet<string> = new Set([
  'lock',
  'log',
  'run',
  'cluster.secret',
  'root.password',
  'mysql.json',
  SETTINGS_FILE,
]);

export const nodeDirOf = (dir: string, id: number): string => join(dir, `node-${id}`);
export const nodeDirsIn = (dir: string): readonly string[] =>
  readdirSync(dir)
    .filter((name) => /^node-\d+$/.test(name))
    .map((name) => join(dir, name));
export const configFileOf = (dir: string, id: number): string => join(nodeDirOf(dir, id), 'node.toml');
export const passwordFileOf = (dir: string): string => join(dir, 'root.password');
const secretFileOf = (dir: string): string => join(dir, 'cluster.secret');
const clusterFileOf = (dir: string): string => join(dir, 'cluster.json');
export const mysqlFileOf = (dir: string): string => join(dir, 'mysql.json');

export function planCluster(count: number, portOffset: number): Cluster {
  const nodes = Array.from({ length: count }, (_, i) => nodeAt(i + 1, portOffset));
  refuseBadPorts(nodes, portOffset);
  return { name: DEFAULT_NAME, portOffset, nodes, removed: [] };
}

/** The cluster with one node more: the next id nobody ever had, with the ports that go with it. */
export function withNewNode(
  cluster: Cluster,
  takenIds: readonly number[],
): Readonly<{ cluster: Cluster; node: NodeAddress }> {
  const known = [...cluster.nodes.map(({ id }) => id), ...cluster.removed, ...takenIds];
  const next = Math.max(...known) + 1;
  if (next > NODE_ID_MAX) {
    throw new PhxError(
      'CONFIG_INVALID',
      `add node: ${NODE_ID_MAX} is the highest node id, and ids are not given twice`,
    );
  }
  const node = nodeAt(next, cluster.portOffset);
  const nodes = [...cluster.nodes, node];
  refuseBadPorts(nodes, cluster.portOffset);
  return { cluster: { ...cluster, nodes }, node };
}

/** The cluster without a node, whose id stays taken. */
export function withoutNode(cluster: Cluster, id: number): Cluster {
  const nodes = cluster.nodes.filter((node) => node.id !== id);
  return { ...cluster, nodes, removed: [...new Set([...cluster.removed, id])].sort((a, b) => a - b) };
}

function nodeAt(id: number, portOffset: number): NodeAddress {
  const port = (base: number): number => base + portOffset + PORT_STEP * (id - 1);
  return {
    id: nodeId(id),
    host: LOOPBACK,
    rw: port(DEFAULT_PORTS.rw),
    ro: port(DEFAULT_PORTS.ro),
    dump: port(DEFAULT_PORTS.dump),
    rpc: port(DEFAULT_PORTS.rpc),
    mysql: port(DEFAULT_PORTS.mysql),
    http: port(DEFAULT_PORTS.http),
  };
}

function refuseBadPorts(nodes: readonly NodeAddress[], portOffset: number): void {
  const all = nodes.flatMap(({ rw, ro, dump, rpc, mysql, http }) => [rw, ro, dump, rpc, mysql, http]);
  if (Math.min(...all) < 1 || Math.max(...all) > 65535 || new Set(all).size !== all.length) {
    throw new PhxError(
      'CONFIG_INVALID',
      `plan ports: offset ${portOffset} leads outside of 1..65535 or to one port twice`,
      {
        hint: `ports begin at ${Object.values(DEFAULT_PORTS)
          .sort((a, b) => a - b)
          .join(', ')} plus the offset`,
      },
    );
  }
}

/** Absolute, links resolved, so that every command names the directory alike. */
export function absoluteDir(dir: string): string {
  const path = resolve(dir);
  return existsSync(path) ? realpathSync(path) : path;
}

/** The cluster in `dir`, null if there is none (and the directory is free for one). Throws DIR_FOREIGN. */
export function readCluster(dir: string, begun: ReadonlySet<string> = BEGUN): Cluster | null {
  if (!existsSync(dir)) return null;
  let text: string;
  try {
    text = readFileSync(clusterFileOf(dir), 'utf8');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) {
      throw new PhxError('DIR_FOREIGN', `read ${clusterFileOf(dir)}: ${reasonOf(error)}`, { cause: error });
    }
    const foreign = readdirSync(dir).filter(
      (name) => !begun.has(name.replace(/\.tmp$/, '')) && name !== 'cluster.json.tmp',
    );
    if (foreign.length === 0) return null;
    throw new PhxError(
      'DIR_FOREIGN',
      `use ${dir}: it holds ${foreign.slice(0, 3).join(', ')} but no cluster.json of ours`,
      {
        hint: 'give an empty or new directory with --dir',
      },
    );
  }
  return parseCluster(text, clusterFileOf(dir));
}

export function parseCluster(text: string, path: string): Cluster {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new PhxError('DIR_FOREIGN', `read ${path}: ${reasonOf(error)}`, { cause: error });
  }
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined;
  if (typeof format === 'number' && format > CLUSTER_FORMAT) {
    throw new PhxError(
      'DIR_FOREIGN',
      `read ${path}: format ${format} is newer than this version knows (${CLUSTER_FORMAT})`,
    );
  }
  const result = clusterSchema.safeParse(value);
  if (!result.success) {
    throw new PhxError(
      'DIR_FOREIGN',
      `read ${path}: not a cluster.json of ours (${result.error.issues[0]?.message ?? ''})`,
    );
  }
  const { name, portOffset, nodes, removed } = result.data;
  return { name, portOffset, removed, nodes: nodes.map((node) => ({ ...node, id: nodeId(node.id) })) };
}

/** The cluster in `dir`, for commands that need one. */
export function existingCluster(dir: string): Cluster {
  const cluster = readCluster(dir);
  if (cluster === null) {
    throw new PhxError('DIR_FOREIGN', `find cluster: there is none in ${dir}`, {
      hint: 'phxsql cluster start makes one; --dir DIR names another place',
    });
  }
  return cluster;
}

/** Flags given again must say what the cluster is. */
export function checkFlags(
  cluster: Cluster,
  dir: string,
  flags: Readonly<{ nodes?: number; portOffset?: number; settings?: string }>,
): void {
  if (flags.settings !== undefined) {
    throw new PhxError('CONFIG_INVALID', `resume cluster in ${dir}: --settings is for a new cluster`, {
      hint: `edit ${join(dir, 'node-*', 'node.toml')} and start it without --settings`,
    });
  }
  const wrong: string[] = [];
  if (flags.nodes !== undefined && flags.nodes !== cluster.nodes.length) {
    wrong.push(`--nodes ${flags.nodes} (it has ${cluster.nodes.length})`);
  }
  if (flags.portOffset !== undefined && flags.portOffset !== cluster.portOffset) {
    wrong.push(`--port-offset ${flags.portOffset} (it has ${cluster.portOffset})`);
  }
  if (wrong.length === 0) return;
  throw new PhxError(
    'CONFIG_INVALID',
    `resume cluster in ${dir}: ${wrong.join(' and ')} contradicts its cluster.json`,
    {
      hint: 'leave the flag out to resume it, or give another --dir',
    },
  );
}

/** 144 bits, in letters, digits, - and _. */
export const newPassword = (): string => randomBytes(18).toString('base64url');

/** Founding: everything but cluster.json first, so that a half-made directory is not taken for a cluster. */
export function foundCluster(
  dir: string,
  cluster: Cluster,
  mysqlInstall: MysqlInstall,
  rootPassword: string | undefined,
): void {
  writeSecrets(dir, rootPassword);
  writeMysqlInstall(dir, mysqlInstall);
  writeCluster(dir, cluster);
}

/** The cluster's secret; `keep` one that is there. */
export function writeSecrets(dir: string, rootPassword: string | undefined, keep?: 'keep'): string {
  if (keep === undefined || !existsSync(secretFileOf(dir))) {
    writeAtomically(secretFileOf(dir), `${randomBytes(32).toString('hex')}\n`, 'durable');
  }
  writeAtomically(passwordFileOf(dir), `${rootPassword ?? newPassword()}\n`, 'durable');
  return readSecret(secretFileOf(dir)).trim();
}

/** The manager of the directory starts and stops nodes accordingly. */
export function writeCluster(dir: string, { name, portOffset, nodes, removed }: Cluster): void {
  const value = { format: CLUSTER_FORMAT, name, portOffset, nodes, ...(removed.length === 0 ? {} : { removed }) };
  writeAtomically(clusterFileOf(dir), `${JSON.stringify(value, null, 2)}\n`, 'durable');
}

export function writeMysqlInstall(dir: string, mysqlInstall: MysqlInstall): void {
  writeAtomically(mysqlFileOf(dir), `${JSON.stringify(mysqlInstall, null, 2)}\n`, 'durable');
}

/** Each node's directory and configuration, made if missing: an edited one is left alone. */
export function ensureNodes(dir: string, cluster: Cluster): void {
  for (const { id } of cluster.nodes) ensureNode(dir, cluster, id);
}

/** `join`: it joins the nodes there are. */
export function ensureNode(dir: string, cluster: Cluster, id: NodeId, join?: JoinConfig): void {
  mkdirSync(nodeDirOf(dir, id), { recursive: true, mode: 0o700 });
  if (existsSync(configFileOf(dir, id))) return;
  const self = cluster.nodes.find((node) => node.id === id);
  invariant(self !== undefined, `node ${id} is not of this cluster`);
  const text = renderNodeConfig({
    cluster: cluster.name,
    node: id,
    ...(join === undefined
      ? { nodes: cluster.nodes }
      : { join, nodes: [...cluster.nodes.filter((node) => node.id !== id).slice(1 - NODES_MAX), self] }),
    dataDir: '.',
    secretFile: '../cluster.secret',
    rootPasswordFile: '../root.password',
    mysqlInstallFile: '../mysql.json',
    mysqlTemplateDir: '../template',
    settings: readSettings(dir),
  });
  writeAtomically(configFileOf(dir, id), text, 'durable');
}

/** How to ask the cluster in `dir` for its status. */
export function statusSourceOf(dir: string, cluster: Cluster): StatusSource {
  return {
    cluster: cluster.name,
    nodes: cluster.nodes,
    security: { clusterSecret: readSecret(secretFileOf(dir)).trim(), tls: null },
    nodeDirs: new Map(cluster.nodes.map(({ id }): [NodeId, string] => [id, nodeDirOf(dir, id)])),
  };
}
