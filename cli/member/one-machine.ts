import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { delay } from '../../base/async.ts';
import { type NodeId, nodeId } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import { FileLock } from '../../base/file-lock.ts';
import type { Clock } from '../../base/ports.ts';
import {
  type Cluster,
  configFileOf,
  ensureNode,
  existingCluster,
  nodeDirOf,
  withNewNode,
  withoutNode,
  writeCluster,
} from '../cluster-dir.ts';
import { type JoinConfig, readNodeConfig } from '../config.ts';
import { checkDisk, checkPorts, portsOf } from '../host-checks.ts';
import { endAllOf, managedNodes, managerOf, NODE_STOP_MS } from '../manager.ts';

/**
 * The nodes of a one-machine cluster that come and go. cluster.json says which there are; its manager starts and stops them
 * accordingly (manager.ts), also at the next `cluster start`.
 */
const POLL_MS = 100;

/** One change of the directory at a time. Throws DIR_IN_USE, UNAVAILABLE. */
export async function lockMembers(dir: string): Promise<FileLock> {
  const lock = await FileLock.tryAcquire(join(dir, 'run', 'member.lock'));
  if (lock !== null) return lock;
  throw new PhxError('DIR_IN_USE', `change members of ${dir}: another phxsql member is at work there`, {
    hint: 'wait for it; phxsql member list shows how far it is',
  });
}

export function requireManager(dir: string): void {
  if (managerOf(dir) !== null) return;
  throw new PhxError('UNAVAILABLE', `change members of ${dir}: the cluster does not run`, {
    hint: `phxsql cluster start --detach --dir ${dir}`,
  });
}

/** Makes the next node, which its manager then starts, or goes on with the one named. */
export async function beginNode(
  dir: string,
  wanted: number | undefined,
  join: JoinConfig,
  takenIds: readonly number[],
  say: (line: string) => void,
): Promise<Readonly<{ node: NodeId; join: JoinConfig }>> {
  const before = existingCluster(dir);
  if (wanted !== undefined) return { node: ownNode(before, dir, wanted), join: joinOf(dir, wanted) ?? join };
  const { cluster, node } = withNewNode(before, takenIds);
  await checkDisk(dir, 1, 0);
  await checkPorts(portsOf([node]), say);
  ensureNode(dir, cluster, node.id, join);
  readNodeConfig(configFileOf(dir, node.id));
  writeCluster(dir, cluster);
  say(`node ${node.id} is started in ${nodeDirOf(dir, node.id)}`);
  return { node: node.id, join };
}

/** As what a node of this directory joined; null: it is a founder. */
export function joinOf(dir: string, id: number): JoinConfig | null {
  return existsSync(configFileOf(dir, id)) ? readNodeConfig(configFileOf(dir, id)).join : null;
}

/** The manager stops the node; when this returns no process of it is there, and with `deleteData` no file either. */
export async function dropNode(dir: string, id: number, deleteData: boolean, clock: Clock): Promise<void> {
  const nodeDir = nodeDirOf(dir, id);
  writeCluster(dir, withoutNode(existingCluster(dir), id));
  const end = clock.now() + NODE_STOP_MS;
  while (managedNodes(dir).includes(id) && clock.now() < end) await delay(clock, POLL_MS);
  if (existsSync(nodeDir)) await endAllOf(nodeDir, clock);
  if (deleteData) rmSync(nodeDir, { recursive: true, force: true });
}

function ownNode(cluster: Cluster, dir: string, id: number): NodeId {
  if (cluster.nodes.some((node) => node.id === id)) return nodeId(id);
  const ids = cluster.nodes.map((node) => node.id).join(', ');
  throw new PhxError('CONFIG_INVALID', `find node ${id}: the cluster in ${dir} has ${ids}`, {
    hint: 'without a number phxsql member add makes the next node',
  });
}
