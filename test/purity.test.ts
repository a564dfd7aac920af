import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/**
 * What the simulator rests on: everything that decides gets time, chance, disks, processes and sockets through ports. A file of
 * these folders that is not named below as an adapter touches none of them, and imports no file that does.
 */
const FOLDERS = ['base', 'mysql', 'binlogsvr', 'agent', 'sync'];

/** Behind the ports: what a simulator replaces, and what only a real process has. */
const ADAPTERS: readonly RegExp[] = [
  /^agent\/host\//,
  /^sync\/mysqld-source\.ts$/,
  /^base\/(system-clock|system-random|run-command|file-lock|disk-space)\.ts$/,
  // gRPC: peers and callers; and the process that has them.
  /^binlogsvr\/(peers|rpc-server|closed-store|binlogsvr)\.ts$/,
  // The replication protocol over TCP.
  /^binlogsvr\/dump-(server|session)\.ts$/,
  // LevelDB and the files beside it, behind LogStore (store-port.ts).
  /^binlogsvr\/(log-store|store-(database|open|state)|table-check)\.ts$/,
];

/** Reads what is part of this package, once: the same everywhere. */
const CONSTANT: readonly string[] = ['proto/loader.ts'];

/** Packages that give the same answer to the same question; null: whatever they export. */
const PACKAGES: Readonly<Record<string, readonly string[] | null>> = {
  'node:path': null,
  'node:zlib': ['crc32', 'constants', 'zstdDecompressSync'],
  'node:crypto': ['createHash', 'createHmac', 'timingSafeEqual'],
  zod: null,
};

/** Names that reach out. `new Date(ms)` is arithmetic, `new Date()` asks the time. */
const OUTSIDE: readonly RegExp[] = [
  /\b(setTimeout|setInterval|setImmediate|clearTimeout|clearInterval|clearImmediate)\b/,
  /(?<![#.\w])process\s*[.[]/,
  /\bDate\s*\.\s*now\b/,
  /\bnew\s+Date\s*(\(\s*\)|[;,)\n])/,
  /\bDate\s*\(\s*\)/,
  /\bperformance\b/,
  /\bMath\s*\.\s*random\b/,
  /\bAbortSignal\s*\.\s*timeout\b/,
  /\b(randomUUID|randomBytes|randomInt|randomFill|getRandomValues)\b/,
  /\b(globalThis|WeakRef|FinalizationRegistry|fetch|WebSocket|BroadcastChannel|Worker|Atomics)\b\s*[.(<[]/,
  /\bimport\s*\(/,
  /\bimport\.meta\b/,
  /\brequire\s*\(/,
  /\bconsole\s*\./,
];

type Source = Readonly<{ path: string; text: string }>;

const inScope = (path: string): boolean => FOLDERS.includes(path.split('/')[0] ?? '');
const isAdapter = (path: string): boolean => ADAPTERS.some((pattern) => pattern.test(path));

/** Comments and what strings say do not reach anywhere; what is inside `${}` does. */
function codeOf(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[\s;{(,])\/\/.*$/gm, '$1')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
    .replace(/"(?:[^"\\\n]|\\.)*"/g, '""')
    .replace(/`(?:[^`\\]|\\.)*`/g, (literal) => [...literal.matchAll(/\$\{([^}]*)\}/g)].map((m) => m[1]).join(' '));
}

function faultsOf(file: Source, exempt = isAdapter): readonly string[] {
  if (!inScope(file.path) || exempt(file.path)) return [];
  const faults: string[] = [];
  const statements = file.text.matchAll(
    /^\s*(?:import|export)\s+(type\s+)?(?:([\w*{][^;'"]*?)\sfrom\s+)?['"]([^'"]+)['"]/gm,
  );
  for (const [, typeOnly, names = '', from = ''] of statements) {
    if (typeOnly !== undefined) continue;
    if (from.startsWith('.')) {
      const target = normalize(join(dirname(file.path), from));
      if (CONSTANT.includes(target)) continue;
      if (!inScope(target)) faults.push(`imports ${target}, which is outside: import types only`);
      else if (exempt(target)) faults.push(`imports the adapter ${target}`);
      continue;
    }
    const allowed = PACKAGES[from];
    if (allowed === undefined) faults.push(`imports ${from}`);
    if (!allowed) continue;
    const wanted = names.replace(/[{}]/g, '').split(',');
    for (const name of wanted.map((each) => each.trim().split(/\s+as\s+/)[0] ?? '').filter((each) => each !== '')) {
      if (!name.startsWith('type ') && !allowed.includes(name)) faults.push(`imports ${name} of ${from}`);
    }
  }
  const code = codeOf(file.text);
  return [...faults, ...OUTSIDE.flatMap((name) => name.exec(code)?.[0] ?? []).map((found) => `uses ${found.trim()}`)];
}

const ROOT = fileURLToPath(new URL('..', import.meta.url));

function sources(): readonly Source[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  )
    .filter((path) => path.endsWith('.ts'))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
}

describe('what decides touches nothing but its ports', () => {
  const files = sources();

  it('no timer, clock, chance, file, socket or process outside the adapters', () => {
    expect(files.flatMap((file) => faultsOf(file).map((fault) => `${file.path} ${fault}`))).toEqual([]);
  });

  it('looks at the core, the agent and sync', () => {
    const looked = new Set(files.map(({ path }) => path).filter((path) => !isAdapter(path)));
    const decisive = [
      'binlogsvr/replica.ts',
      'binlogsvr/paxos/node.ts',
      'binlogsvr/state-machine.ts',
      'binlogsvr/lease-service.ts',
    ];
    for (const path of [
      ...decisive,
      'agent/agent.ts',
      'agent/recovery.ts',
      'agent/tail-scan.ts',
      'agent/decide.ts',
      'sync/sync.ts',
      'sync/spare-connection.ts',
      'mysql/binlog-file.ts',
      'base/async.ts',
    ]) {
      expect(looked, path).toContain(path);
    }
  });

  it('names no adapter that needs none', () => {
    const named = files.filter(({ path }) => isAdapter(path) && !path.startsWith('agent/host/'));
    const idle = named.filter((file) => faultsOf(file, (path) => path !== file.path && isAdapter(path)).length === 0);
    expect(idle.map(({ path }) => path)).toEqual([]);
    const dead = ADAPTERS.filter((pattern) => !files.some(({ path }) => pattern.test(path)));
    expect(dead).toEqual([]);
  });
});

describe('the rule itself', () => {
  const planted: readonly (readonly [name: string, path: string, text: string, clean: boolean])[] = [
    ['a timer', 'agent/a.ts', 'setTimeout(go, 10);', false],
    ['a timer handed on', 'sync/a.ts', 'const later = setImmediate;', false],
    ['a turn of the loop', 'binlogsvr/a.ts', 'process.nextTick(go);', false],
    ['the time', 'agent/a.ts', 'const t = Date.now();', false],
    ['the time, otherwise', 'agent/a.ts', 'const t = new Date().getTime();', false],
    ['the time, again', 'binlogsvr/a.ts', 'performance.now()', false],
    ['a time made of a number', 'agent/a.ts', 'new Date(wallMs).toISOString()', true],
    ['a deadline', 'sync/a.ts', 'AbortSignal.timeout(1000)', false],
    ['signals joined', 'sync/a.ts', 'AbortSignal.any([a, b])', true],
    ['chance', 'binlogsvr/paxos/a.ts', 'Math.random()', false],
    ['chance of crypto', 'agent/a.ts', "import { randomUUID } from 'node:crypto';", false],
    ['a digest', 'base/a.ts', "import { createHash } from 'node:crypto';", true],
    ['a digest and chance', 'base/a.ts', "import { createHash, randomBytes } from 'node:crypto';", false],
    ['a file', 'agent/a.ts', "import { open } from 'node:fs/promises';", false],
    ['a file, many lines', 'agent/a.ts', "import {\n  open,\n  stat,\n} from 'node:fs/promises';", false],
    ['the type of a socket', 'sync/a.ts', "import type { Socket } from 'node:net';", true],
    ['a socket', 'sync/a.ts', "import { connect } from 'node:net';", false],
    ['a process', 'agent/a.ts', "import { spawn } from 'node:child_process';", false],
    ['gRPC', 'binlogsvr/a.ts', "import { Server } from '@grpc/grpc-js';", false],
    ['the pid', 'sync/a.ts', 'pid: process.pid,', false],
    ['the pid in a text', 'sync/a.ts', `say(\`runs as $${'{process.pid}'}\`);`, false],
    ['the pid it was told', 'sync/a.ts', 'pid: this.#process.pid,', true],
    ['a text about it', 'sync/a.ts', "say('process.pid is not known'); // nor Date.now()", true],
    ['an address before a comment', 'sync/a.ts', "const a = 'http://x'; Date.now();", false],
    ['an adapter', 'agent/a.ts', "import { kill } from './host/mysqld-process.ts';", false],
    ['the type of an adapter', 'agent/a.ts', "import type { NodePaths } from './host/node-paths.ts';", true],
    ['an adapter of another folder', 'binlogsvr/a.ts', "import { systemClock } from '../base/system-clock.ts';", false],
    ['a folder outside', 'binlogsvr/a.ts', "import { call } from '../proto/binlogsvr-client.ts';", false],
    ['something later', 'agent/a.ts', "await import('node:fs');", false],
    ['a port', 'agent/a.ts', "import type { Clock } from '../base/ports.ts';\nclock.after(10, go);", true],
    ['an adapter may', 'agent/host/a.ts', "import { open } from 'node:fs/promises'; setTimeout(go, 1);", true],
    ['others may', 'cli/a.ts', 'setTimeout(go, 1);', true],
  ];
  it.each(planted)('%s', (_, path, text, clean) => {
    expect(faultsOf({ path, text }).length === 0).toBe(clean);
  });
});
