import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { delay } from '../base/async.ts';
import { requireFreeDisk } from '../base/disk-space.ts';
import { PhxError } from '../base/errors.ts';
import { systemClock } from '../base/system-clock.ts';
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

/** A closed connection keeps its port for a minute (TIME_WAIT). */
const PASSING_MS_MAX = 70_000;
const PASSING_POLL_MS = 500;

type TakenPort = Readonly<{ text: string; passing: boolean }>;

/**
 * Throws PORT_IN_USE naming every port that is taken and, where /proc says, by whom. The default ports lie where Linux
 * takes the ports of outgoing connections from; one that only such a connection holds will be free in a moment.
 */
export async function checkPorts(
  ports: readonly WantedPort[],
  progress: (line: string) => void = () => {},
): Promise<void> {
  const end = performance.now() + PASSING_MS_MAX;
  for (let told = false; ; told = true) {
    const taken: TakenPort[] = [];
    for (const port of ports) {
      const found = await lookAt(port);
      if (found !== null) taken.push(found);
    }
    if (taken.length === 0) return;
    const list = taken.map(({ text }) => text).join('; ');
    if (taken.some(({ passing }) => !passing) || performance.now() >= end) {
      throw new PhxError('PORT_IN_USE', `check ports: ${list}`, {
        hint: 'phxsql cluster start --port-offset N moves all ports of a new cluster',
      });
    }
    if (!told) progress(`waiting up to ${PASSING_MS_MAX / 1000} s for a closing connection of this machine: ${list}`);
    await delay(systemClock, PASSING_POLL_MS);
  }
}

async function lookAt({ node, what, host, port }: WantedPort): Promise<TakenPort | null> {
  const code = await tryListen(host, port);
  if (code === null) return null;
  const at = `${host}:${port} (${what} of node ${node})`;
  if (code !== 'EADDRINUSE') return { text: `${at} cannot be used: ${code}`, passing: false };
  const owner = ownerOf(port);
  const by = owner === null ? '' : ` by process ${describeProcess({ pid: owner, startTicks: 0 })}`;
  return { text: `${at} is taken${by}`, passing: !isListenedOn(port) };
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

const TCP_TABLES = ['/proc/net/tcp', '/proc/net/tcp6'] as const;

/** The process that has a socket bound to this local port, if /proc shows it to us. */
export function ownerOf(port: number): number | null {
  const sockets = TCP_TABLES.flatMap((file) => socketsOn(file, port));
  const inodes = new Set(sockets.map(({ inode }) => inode).filter((inode) => inode !== '0'));
  if (inodes.size === 0) return null;
  for (const name of readdirSync('/proc')) {
    if (/^\d+$/.test(name) && holdsSocket(name, inodes)) return Number(name);
  }
  return null;
}

const TCP_LISTEN = '0A';

export function isListenedOn(port: number): boolean {
  return TCP_TABLES.some((file) => socketsOn(file, port).some(({ state }) => state === TCP_LISTEN));
}

type LocalSocket = Readonly<{ state: string; inode: string }>;

function socketsOn(file: string, port: number): readonly LocalSocket[] {
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
    .map((fields) => ({ state: fields[3] ?? '', inode: fields[9] ?? '0' }));
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
