import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import type { MysqlInstall } from '../../../base/mysql-install.ts';
import { systemClock } from '../../../base/system-clock.ts';
import {
  type Cluster,
  ensureNode,
  nodeDirOf,
  parseCluster,
  planCluster,
  readCluster,
  statusSourceOf,
  withNewNode,
  withoutNode,
  writeCluster,
} from '../../../cli/cluster-dir.ts';
import { checkNodeCount, prepareCluster, type StartFlags } from '../../../cli/cluster-prepare.ts';
import { killCluster, removeCluster, stopCluster } from '../../../cli/cluster-stop.ts';
import { readNodeConfig } from '../../../cli/config.ts';
import { checkDisk, checkPorts, portsOf } from '../../../cli/host-checks.ts';
import { managedNodes, managerOf } from '../../../cli/manager.ts';
import { readLivePids } from '../../../cli/pids-file.ts';
import { identify, isAlive, processesOf } from '../../../cli/processes.ts';
import { Arena, exitOf, until } from './fake/events.ts';

const INSTALL: MysqlInstall = {
  source: 'path',
  version: '9.7.4',
  command: ['/usr/sbin/mysqld'],
  baseArgs: [],
  client: null,
  mysqlbinlog: null,
  pluginDir: '/plugin',
  root: null,
};

// A port that an outgoing connection of another test had is waited for for up to 70 s, as `cluster start` does it.
vi.setConfig({ testTimeout: 180_000, hookTimeout: 180_000 });

let arena: Arena;
let dir = '';
let offset = 0;
beforeEach(async () => {
  arena = new Arena();
  dir = join(arena.dir, 'cluster');
  offset = await freeOffset();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await arena[Symbol.asyncDispose]();
});

/** An offset at which nobody listens. */
async function freeOffset(): Promise<number> {
  for (let tried = -5000 + (process.pid % 1000); ; tried += 97) {
    if (tried > 9000) throw new Error('no free ports');
    const free = await checkPorts(portsOf(planCluster(3, tried).nodes)).then(
      () => true,
      () => false,
    );
    if (free) return tried;
  }
}

const prepare = async (flags: StartFlags = {}, where = dir) => {
  const prepared = await prepareCluster(
    where,
    flags,
    () => {},
    async () => INSTALL,
  );
  await prepared.lock.release();
  return prepared;
};
const found = () => prepare({ nodes: 3, portOffset: offset });
const mode = (path: string) => statSync(path).mode & 0o777;
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof PhxError ? error.code : String(error)),
  );

describe('a new cluster', () => {
  it('is all there, private, and readable by its nodes', async () => {
    const { cluster, founded } = await found();
    expect(founded).toBe(true);
    expect(mode(dir)).toBe(0o700);
    for (const secret of ['cluster.secret', 'root.password']) expect(mode(join(dir, secret))).toBe(0o600);
    expect(readFileSync(join(dir, 'cluster.secret'), 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
    expect(JSON.parse(readFileSync(join(dir, 'mysql.json'), 'utf8'))).toEqual(INSTALL);
    const config = readNodeConfig(join(dir, 'node-2', 'node.toml'));
    expect(config.nodes).toEqual(cluster.nodes);
    expect(config.self.rw).toBe(54321 + offset + 10);
    expect(config.dataDir).toBe(nodeDirOf(dir, 2));
    expect(config.mysqlInstallFile).toBe(join(dir, 'mysql.json'));
    expect(config.security.clusterSecret).toBe(statusSourceOf(dir, cluster).security.clusterSecret);
  });

  it('takes the password of root from the environment', async () => {
    vi.stubEnv('PHXSQL_ROOT_PASSWORD', 'given one');
    await found();
    expect(readFileSync(join(dir, 'root.password'), 'utf8')).toBe('given one\n');
  });

  it('gives its settings to every node, those added later included', async () => {
    const file = join(arena.dir, 'mine.toml');
    writeFileSync(file, '[log]\nkeep_gib = 2\n[mysqld]\nmax_connections = 7\n');
    const { cluster } = await prepare({ portOffset: offset, settings: file });
    const more = withNewNode(cluster, []);
    ensureNode(dir, more.cluster, more.node.id);
    for (const id of [1, 3, 4]) {
      const config = readNodeConfig(join(dir, `node-${id}`, 'node.toml'));
      expect(config.log.keepBytes).toBe(2 * 1024 ** 3);
      expect(config.mysqld).toEqual({ max_connections: 7 });
    }
    await expect(prepare({ settings: file })).rejects.toThrow(/--settings is for a new cluster/);
  });

  it.each([
    ['[log]\nkeep_gb = 2\n', /mine\.toml: log\.keep_gb: no such setting \(did you mean keep_gib\?\)/],
    ['node = 3\n', /mine\.toml: node: not for all nodes alike/],
    ['[lease]\nlease_ms = 1000\ntakeover_ms = 1\n', /mine\.toml: lease\.takeover_ms/],
    ['[mysqld]\nsync_binlog = 0\n', /sync_binlog/],
    ['[log', /mine\.toml:1:/],
  ])('refuses settings of no use before anything is made: %j', async (text, words) => {
    const file = join(arena.dir, 'mine.toml');
    writeFileSync(file, text);
    await expect(prepare({ portOffset: offset, settings: file })).rejects.toThrow(words);
    await expect(prepare({ portOffset: offset, settings: `${file}.not` })).rejects.toThrow(/mine\.toml\.not: ENOENT/);
    expect(existsSync(dir)).toBe(false);
  });

  it('is resumed with what it has, its edited configuration included', async () => {
    await found();
    const secret = readFileSync(join(dir, 'cluster.secret'), 'utf8');
    const edited = `${readFileSync(join(dir, 'node-1', 'node.toml'), 'utf8')}\n[mysqld]\nmax_connections = 7\n`;
    writeFileSync(join(dir, 'node-1', 'node.toml'), edited);
    const { cluster, founded } = await prepare();
    expect(founded).toBe(false);
    expect(cluster.portOffset).toBe(offset);
    expect(readFileSync(join(dir, 'cluster.secret'), 'utf8')).toBe(secret);
    expect(readFileSync(join(dir, 'node-1', 'node.toml'), 'utf8')).toBe(edited);
  });

  it('is resumed with the same flags, refused with others', async () => {
    await found();
    await found();
    await expect(prepare({ nodes: 5 })).rejects.toThrow(/--nodes 5 \(it has 3\) contradicts/);
    await expect(prepare({ portOffset: offset + 1 })).rejects.toThrow(/--port-offset .* contradicts/);
  });

  it('is founded where founding was cut short, but not where nodes lost their cluster.json', async () => {
    await found();
    rmSync(join(dir, 'cluster.json'));
    expect(await codeOf(prepare({ portOffset: offset }))).toBe('DIR_FOREIGN');
    for (const id of [1, 2, 3]) rmSync(join(dir, `node-${id}`), { recursive: true });
    expect(await codeOf(prepare({ portOffset: offset }))).toBe('done');
  });
});

describe('what is refused before anything is started', () => {
  it('a foreign directory, left as it is', async () => {
    mkdirSync(dir);
    writeFileSync(join(dir, 'thesis.txt'), 'x');
    expect(await codeOf(prepare())).toBe('DIR_FOREIGN');
    expect(readdirSync(dir)).toEqual(['thesis.txt']);
  });

  it.each([
    ['not JSON', '{'],
    ['another program', '{"name":"x"}'],
    ['a newer format', '{"format":2}'],
  ])('a cluster.json of %s', (_, text) => {
    expect(() => parseCluster(text, 'cluster.json')).toThrow(expect.objectContaining({ code: 'DIR_FOREIGN' }));
  });

  it('a directory in use', async () => {
    const { lock } = await prepareCluster(
      dir,
      { portOffset: offset },
      () => {},
      async () => INSTALL,
    );
    expect(await codeOf(prepare())).toBe('DIR_IN_USE');
    await lock.release();
    expect(await codeOf(prepare())).toBe('done');
  });

  it('a port in use, naming it and its process, leaving nothing behind', async () => {
    const port = 17010 + offset;
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    try {
      await expect(found()).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: expect.stringMatching(`127.0.0.1:${port} \\(rpc of node 2\\) is taken by process ${process.pid} `),
        hint: expect.stringContaining('--port-offset'),
      });
      expect(existsSync(dir)).toBe(false);
      mkdirSync(dir);
      expect(await codeOf(found())).toBe('PORT_IN_USE');
      expect(readdirSync(dir)).toEqual([]);
    } finally {
      server.close();
    }
  });

  it('too little disk, with the numbers', async () => {
    await expect(checkDisk(arena.dir, 1e9, 0)).rejects.toThrow(/\d+ MiB free, \d+ MiB needed for 1000000000 nodes/);
    await checkDisk(arena.dir, 0, 0);
  });

  it('no suitable MySQL, leaving nothing behind', async () => {
    const refuse = () => Promise.reject(new PhxError('MYSQL_UNSUITABLE', 'find MySQL: none'));
    expect(await codeOf(prepareCluster(dir, { portOffset: offset }, () => {}, refuse))).toBe('MYSQL_UNSUITABLE');
    expect(existsSync(dir)).toBe(false);
  });

  it('ports out of range, and numbers of nodes that help nobody', () => {
    expect(() => planCluster(3, 20_000)).toThrow(/outside of 1\.\.65535/);
    expect(() => planCluster(3, -6000)).toThrow(/outside of 1\.\.65535/);
    expect(checkNodeCount(5)).toBe(5);
    expect(() => checkNodeCount(4)).toThrow(/--nodes 4 is not 3 or 5/);
  });

  it.each([3, 5])('no two nodes of %i share a port', (count) => {
    const ports = portsOf(planCluster(count, 0).nodes).map(({ port }) => port);
    expect(new Set(ports).size).toBe(ports.length);
  });
});

describe('a running cluster', () => {
  const start = async () => {
    await found();
    const manager = arena.run('manager.ts', dir, arena.events);
    await until(() => arena.of('node', 'started').length === 3 && managerOf(dir) !== null);
    return manager;
  };
  const stop = () => stopCluster(dir, planCluster(3, offset), systemClock, () => {});

  it('gets a killed node back', async () => {
    await start();
    const killed = arena.of('node', 'started')[0]?.pid ?? 0;
    process.kill(killed, 'SIGKILL');
    await until(() => arena.of('node', 'started').length === 4);
    expect(processesOf(dir)).toHaveLength(3);
  });

  it('its manager runs the nodes cluster.json names: a new one, and not a removed one', async () => {
    await start();
    const { cluster } = { cluster: readCluster(dir) as Cluster };
    const more = withNewNode(cluster, []).cluster;
    writeCluster(dir, more);
    await until(() => arena.of('node', 'started').length === 4);
    await until(() => managedNodes(dir).length === 4);
    writeCluster(dir, withoutNode(more, 2));
    await until(() => arena.of('node', 'stopping').length === 1);
    await until(() => !managedNodes(dir).includes(2));
    expect(managedNodes(dir)).toEqual([1, 3, 4]);
    expect(processesOf(dir)).toHaveLength(3);
  });

  it('is stopped by its manager, in order, with nothing left', async () => {
    const manager = await start();
    expect(managerOf(dir)?.pid).toBe(manager.pid);
    expect(await stop()).toBe(true);
    expect(await exitOf(manager)).toBe(0);
    expect(arena.of('node', 'stopping')).toHaveLength(3);
    expect(processesOf(dir)).toEqual([]);
    expect(managerOf(dir)).toBeNull();
    expect(await stop()).toBe(false);
  });

  it('dies with its manager, and is stopped all the same', async () => {
    const manager = await start();
    const ids = processesOf(dir);
    expect(ids).toHaveLength(3);
    manager.kill('SIGKILL');
    await exitOf(manager);
    await stop();
    // One that was dying already has lost the mark it is found by; the kernel is a moment from being done with it.
    await until(() => !ids.some(isAlive));
  });

  it('is refused a second manager', async () => {
    await start();
    expect(await codeOf(prepare())).toBe('DIR_IN_USE');
  });

  it('is killed with its manager, nothing left', async () => {
    await start();
    await killCluster(dir, systemClock);
    expect(managerOf(dir)).toBeNull();
    expect(processesOf(dir)).toEqual([]);
  });

  it('is removed only with its directory known', async () => {
    await start();
    await stop();
    removeCluster(dir);
    expect(readCluster(dir)).toBeNull();
    expect(existsSync(dir)).toBe(false);
  });

  it('is refused while a node is run by itself, and stopped with it', async () => {
    await found();
    const supervisor = arena.run('supervisor.ts', nodeDirOf(dir, 1), arena.events, '', 'plain');
    await until(() => arena.of('mysqld', 'started').length === 1 && readLivePids(nodeDirOf(dir, 1)).mysqld !== null);
    await expect(prepare()).rejects.toThrow(`node 1 is run by itself, by process ${supervisor.pid}`);
    expect(await stop()).toBe(true);
    expect(await exitOf(supervisor)).toBe(0);
    expect(processesOf(dir)).toEqual([]);
  });

  it('is refused with a configuration that was broken since', async () => {
    await found();
    writeFileSync(join(dir, 'node-3', 'node.toml'), 'nonsense = 1\n');
    expect(await codeOf(prepare())).toBe('CONFIG_INVALID');
  });

  it('leaves orphans without setpriv, which the next start ends first', async () => {
    await found();
    const component = new URL('./fake/component.ts', import.meta.url).pathname;
    const { Launcher } = await import('../../../cli/launcher.ts');
    const { silentLogger } = await import('../../../base/ports.ts');
    const command = { file: process.execPath, args: [component, 'orphan', arena.events] };
    const orphan = new Launcher(nodeDirOf(dir, 1), silentLogger, null).spawn(command, 'ignore');
    await until(() => arena.of('orphan', 'started').length === 1);
    const id = identify(orphan.pid ?? 0);
    await prepare();
    expect(id !== null && isAlive(id)).toBe(false);
  });
});
