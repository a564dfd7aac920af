import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { requireFreeDisk } from '../base/disk-space.ts';
import { PhxError } from '../base/errors.ts';
import type { NodeAddress } from '../base/topology.ts';
import { describeProcess } from './processes.ts';

/** What is looked at before anything is started: ports and disk. */

/** A new node: system tables, redo log, undo, the log store; an old one needs room to go on. */
export const NEW_NODE_BYTES = 700 * 1024 * 1024;
export const OLD_NODE_BYTES = 200 * 1024 * 1024;

export type WantedPort = Readonly<{ node: number; what: string; host: string; port: number }>;

/** Every port something will listen on (http is reserved, not used yet). */
export function portsOf(nodes: readonly NodeAddress[]): readonly WantedPort[] {
  return nodes.flatMap((node) =>
    (['rw', 'ro', 'dump', 'rpc', 'mysql'] as const).map((what) => ({
      node: node.id,
      what,
      host: node.host,
      port: node[what],
    })),
  );
}

/** Throws PORT_IN_USE naming every port that is taken and, where /proc says, by whom. */
export async function checkPorts(ports: readonly WantedPort[]): Promise<void> {
  const taken: string[] = [];
  for (const { node, what, host, port } of ports) {
    const code = await tryListen(host, port);
    if (code === null) continue;
    const owner = code === 'EADDRINUSE' ? ownerOf(port) : null;
    const by = owner === null ? '' : ` by process ${describeProcess({ pid: owner, startTicks: 0 })}`;
    taken.push(
      `${host}:${port} (${what} of node ${node}) ${code === 'EADDRINUSE' ? `is taken${by}` : `cannot be used: ${code}`}`,
    );
  }
  if (taken.length === 0) return;
  throw new PhxError('PORT_IN_USE', `check ports: ${taken.join('; ')}`, {
    hint: 'phxsql cluster start --port-offset N moves all ports of a new cluster',
  });
}

/** Throws DISK_TOO_SMALL. */
export function checkDisk(dir: string, newNodes: number, oldNodes: number): Promise<void> {
  return requireFreeDisk(dir, newNodes * NEW_NODE_BYTES + oldNodes * OLD_NODE_BYTES, `${newNodes + oldNodes} nodes`);
}

/** The error code if nobody can listen there, else null. */
function tryListen(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/** The process that has a socket bound to this local port, if /proc shows it to us. */
export function ownerOf(port: number): number | null {
  const inodes = new Set(['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) => socketInodes(file, port)));
  if (inodes.size === 0) return null;
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name) && holdsSocket(name, inodes)) return Number(name);
  }
  return null;
}

function socketInodes(file: string, port: number): readonly string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return []; // no IPv6 on this kernel
  }
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(`:${wanted}`))
    .map((fields) => fields[9] ?? '0')
    .filter((inode) => inode !== '0');
}

function holdsSocket(pid: string, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const socket = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`));
      return socket?.[1] !== undefined && inodes.has(socket[1]);
    });
  } catch {
    return false; // gone, or another user's
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
