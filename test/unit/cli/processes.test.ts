import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../../base/ports.ts';
import { DirLock } from '../../../cli/dir-lock.ts';
import { Launcher } from '../../../cli/launcher.ts';
import {
  belongsTo,
  commandBelongsTo,
  identify,
  isAlive,
  killAllOf,
  processesOf,
  signalProcess,
  startTicksOf,
  waitGone,
} from '../../../cli/processes.ts';
import { Arena, exitOf, until } from './fake/events.ts';

let arena: Arena;
beforeEach(() => {
  arena = new Arena();
});
afterEach(() => arena[Symbol.asyncDispose]());

describe('processes', () => {
  it('are known by start time too', () => {
    const id = identify(process.pid);
    expect(id).not.toBeNull();
    expect(id !== null && isAlive(id)).toBe(true);
    expect(isAlive({ pid: process.pid, startTicks: (id?.startTicks ?? 0) + 1 })).toBe(false);
    expect(signalProcess({ pid: process.pid, startTicks: 0 }, 'SIGKILL')).toBe(false);
  });

  it('are gone when they are zombies', async () => {
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(line.toString().trim());
      await until(() => startTicksOf(pid) === null);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('of a directory are found by their mark, killed, and others left alone', async () => {
    const log = silentLogger;
    const mine = new Launcher(join(arena.dir, 'node-1'), log, null).spawn({ file: 'sleep', args: ['60'] }, 'ignore');
    const other = new Launcher(`${arena.dir}-other`, log, null).spawn({ file: 'sleep', args: ['60'] }, 'ignore');
    try {
      const id = await until(() => identify(mine.pid ?? 0));
      await until(() => belongsTo(id.pid, arena.dir));
      expect(processesOf(arena.dir)).toEqual([id]);
      expect(await killAllOf(arena.dir, 5000)).toEqual([]);
      expect(isAlive(id)).toBe(false);
      expect(identify(other.pid ?? 0)).not.toBeNull();
    } finally {
      other.kill('SIGKILL');
    }
  });

  it('that stay are told', async () => {
    const child = new Launcher(arena.dir, silentLogger, null).spawn({ file: 'sleep', args: ['60'] }, 'ignore');
    const id = await until(() => identify(child.pid ?? 0));
    expect(await waitGone([id], 30)).toEqual([id]);
  });

  it.each([
    [true, ['/usr/sbin/mysqld', '--defaults-file=/d/node-1/run/my.cnf']],
    [true, ['/c/ld-linux-x86-64.so.2', '--library-path', '/c/lib', '/c/usr/sbin/mysqld', '--defaults-file=/d/my.cnf']],
    [true, ['/n/node', '/app/cli/main.ts', 'node', '--config', '/d/node-1/node.toml']],
    [true, ['/n/node', '/app/dist/cli/main.js', 'internal', 'agent', '--config', '/d/node-1/node.toml']],
    [true, ['/n/node', '/usr/bin/phxsql', 'node', '--config=/d/node-1/node.toml']],
    [false, ['/usr/sbin/mysqld', '--defaults-file=/dd/my.cnf']],
    [false, ['vi', '/d/node-1/node.toml']],
    [false, ['/n/node', '/app/cli/main.ts', 'status', '--dir', '/d']],
    [false, ['/n/node', '/app/cli/main.ts', 'cluster', 'stop', '--dir', '/d']],
    [false, []],
  ])('belong to /d by their command line: %s %j', (expected, command) => {
    expect(commandBelongsTo(command, '/d')).toBe(expected);
  });
});

describe('the lock of a directory', () => {
  it('is refused to a second holder, naming the first', async () => {
    await using _lock = await DirLock.take(arena.dir, () => null);
    await expect(DirLock.take(arena.dir, () => 4711)).rejects.toMatchObject({
      code: 'DIR_IN_USE',
      message: `lock ${arena.dir}: in use by process 4711`,
    });
  });

  it('is released by hand, twice at no harm', async () => {
    const lock = await DirLock.take(arena.dir, () => null);
    await lock.release();
    await lock.release();
    await (await DirLock.take(arena.dir, () => null)).release();
  });

  it('is released by the kernel when its holder is killed', async () => {
    const script = new URL('./fake/lock-holder.ts', import.meta.url).pathname;
    const holder = spawn(process.execPath, [script, arena.dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    await expect(DirLock.take(arena.dir, () => null)).rejects.toMatchObject({ code: 'DIR_IN_USE' });
    holder.kill('SIGKILL');
    await exitOf(holder);
    await (await DirLock.take(arena.dir, () => null)).release();
  });
});
