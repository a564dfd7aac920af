import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NodePids } from '../../../base/ipc.ts';
import { allPids, readLivePids } from '../../../cli/pids-file.ts';
import { identify, isAlive, type ProcessId, waitGone } from '../../../cli/processes.ts';
import { afterDeath, LIFE_MS_GOOD, NO_DEATHS } from '../../../cli/restart-policy.ts';
import { Arena, exitOf, until } from './fake/events.ts';

let arena: Arena;
let nodeDir = '';
let keepFile = '';
beforeEach(() => {
  arena = new Arena();
  nodeDir = join(arena.dir, 'node-1');
  keepFile = join(arena.dir, 'keep-mysqld');
});
afterEach(() => arena[Symbol.asyncDispose]());

const start = (binlogsvrKind = 'plain', ...more: string[]) =>
  arena.run('supervisor.ts', nodeDir, arena.events, keepFile, binlogsvrKind, ...more);
/** How often components are asked where a test waits for one that does not answer. */
const ASK_EVERY_MS = '250';

/** Once all is up: the pids the supervisor has written. */
async function allUp(binlogsvrKind = 'plain'): Promise<NodePids> {
  const started = (kind: string): number => arena.of(kind, 'started').length;
  await until(() => started('mysqld') > 0 && started('proxy') > 1 && started(binlogsvrKind) > 0);
  return until(() => {
    const pids = readLivePids(nodeDir);
    return allPids(pids).length === 6 && pids;
  });
}

const identified = (pids: NodePids): readonly ProcessId[] =>
  allPids(pids)
    .map((pid) => identify(pid))
    .filter((id) => id !== null);

const lastState = () => arena.of('agent', 'message').at(-1)?.message;

describe('supervisor', () => {
  it('writes the pids and tells binlogsvr', async () => {
    const supervisor = start();
    const pids = await allUp();
    expect(pids.supervisor).toBe(supervisor.pid);
    expect(pids.sync).toBe(pids.binlogsvr);
    await until(
      () => JSON.stringify(arena.of('plain', 'message').at(-1)?.message) === JSON.stringify({ kind: 'pids', pids }),
    );
    expect(arena.of('mysqld', 'started')[0]?.mark).toBe(nodeDir);
  });

  it('starts a killed component again; mysqld outlives its agent, and the new one is told', async () => {
    start();
    const { agent, mysqld } = await allUp();
    process.kill(agent ?? 0, 'SIGKILL');
    await until(() => arena.of('agent', 'started').length === 2);
    await until(() => arena.of('agent', 'message').at(-1)?.pid !== agent);
    expect(lastState()).toMatchObject({ kind: 'mysqld', pid: mysqld, exit: null });
    expect(arena.of('mysqld', 'started')).toHaveLength(1);
  });

  it('tells the agent at once how mysqld ended, and does not start it again by itself', async () => {
    start();
    const { mysqld } = await allUp();
    process.kill(mysqld ?? 0, 'SIGKILL');
    await until(() => (lastState() as { pid: number | null }).pid === null);
    expect(lastState()).toMatchObject({ exit: { pid: mysqld, code: null, signal: 'SIGKILL' } });
    await until(() => readLivePids(nodeDir).mysqld === null);
    expect(arena.of('mysqld', 'started')).toHaveLength(1);
  });

  it('signals no process but its own mysqld', async () => {
    start();
    await allUp(); // the fake agent asked for its own death when it started
    expect(arena.of('agent', 'started')).toHaveLength(1);
  });

  it('gives a restarted proxy the last view', async () => {
    start();
    const { proxy } = await allUp();
    process.kill(proxy[0] ?? 0, 'SIGKILL');
    await until(() => arena.of('proxy', 'started').length === 3);
    const views = await until(() => {
      const messages = arena.of('proxy', 'message');
      return messages.length === 3 && messages;
    });
    expect(views.at(-1)?.message).toEqual({ kind: 'view', view: { seq: 42 } });
  });

  it('tells a component that its life before ended by a fault of its own, not by a signal somebody sent', async () => {
    start();
    const pidOf = async (life: number): Promise<number> => (await until(() => arena.of('plain', 'started')[life])).pid;
    await allUp();
    process.kill(await pidOf(0), 'SIGABRT');
    process.kill(await pidOf(1), 'SIGKILL');
    await pidOf(2);
    expect(arena.of('plain', 'started').map(({ diedOf }) => diedOf)).toEqual([undefined, 'SIGABRT', undefined]);
  });

  it('backs off from one that cannot live', async () => {
    start('short');
    await until(() => arena.of('short', 'started').length >= 4);
    const pids = readLivePids(nodeDir);
    expect(pids.agent).not.toBeNull();
  });

  it.each(['agent', 'proxy', 'binlogsvr'] as const)('replaces a frozen %s, and nothing else', async (frozen) => {
    start('plain', ASK_EVERY_MS);
    const before = await allUp();
    const pid = frozen === 'proxy' ? (before.proxy[0] ?? 0) : (before[frozen] ?? 0);
    process.kill(pid, 'SIGSTOP');
    const after = await until(() => {
      const pids = readLivePids(nodeDir);
      return !allPids(pids).includes(pid) && allPids(pids).length === 6 && pids;
    }, 20_000);
    expect(after.mysqld).toBe(before.mysqld);
    expect(allPids(after).filter((each) => !allPids(before).includes(each))).toHaveLength(1);
  });

  it('frozen itself, is killed by its binlogsvr and takes the node along', async () => {
    const supervisor = start('watcher', ASK_EVERY_MS);
    const ids = identified(await allUp('watcher'));
    await until(() => arena.of('watcher', 'asked').length > 0);
    supervisor.kill('SIGSTOP');
    expect(await waitGone(ids, 20_000)).toEqual([]);
  });

  it('killed with -9 takes all its children along', async () => {
    const supervisor = start();
    const ids = identified(await allUp());
    expect(ids).toHaveLength(6);
    supervisor.kill('SIGKILL');
    expect(await waitGone(ids, 5000)).toEqual([]);
  });

  it('stops the agent first, which ends mysqld, then the proxies, then binlogsvr', async () => {
    const supervisor = start();
    const ids = identified(await allUp());
    supervisor.kill('SIGTERM');
    expect(await exitOf(supervisor)).toBe(0);
    const order = arena.read().filter(({ event }) => event === 'stopping');
    expect(order.map(({ who }) => who)).toEqual(['agent', 'mysqld', 'proxy', 'proxy', 'plain']);
    expect(ids.filter(isAlive)).toEqual([]);
  });

  it('kills a mysqld its agent left behind, and does not start it again', async () => {
    writeFileSync(keepFile, '');
    const supervisor = start();
    const ids = identified(await allUp());
    supervisor.kill('SIGTERM');
    expect(await exitOf(supervisor)).toBe(0);
    expect(arena.of('mysqld', 'stopping')).toEqual([]);
    expect(ids.filter(isAlive)).toEqual([]);
  });

  it('kills what ignores SIGTERM, at once when told twice', async () => {
    const supervisor = start('stubborn');
    const ids = identified(await allUp('stubborn'));
    supervisor.kill('SIGTERM');
    await until(() => arena.of('stubborn', 'ignored').length > 0);
    // The first second's signals count as one request; binlogsvr has five.
    const again = setInterval(() => supervisor.kill('SIGTERM'), 200);
    expect(await exitOf(supervisor)).toBe(0);
    clearInterval(again);
    expect(ids.filter(isAlive)).toEqual([]);
  });
});

describe('process ids on disk', () => {
  it('do not name a process that got the number later', async () => {
    start();
    await allUp();
    const path = join(nodeDir, 'run', 'pids.json');
    const file = JSON.parse(readFileSync(path, 'utf8')) as { pids: NodePids; startTicks: Record<string, number> };
    const agent = file.pids.agent ?? 0;
    file.startTicks[agent] = (file.startTicks[agent] ?? 0) - 1;
    writeFileSync(path, JSON.stringify(file));
    expect(readLivePids(nodeDir)).toEqual({ ...file.pids, agent: null });
  });
});

describe('restart policy', () => {
  const deaths = (...lives: number[]) => {
    let state = NO_DEATHS;
    return lives.map((livedMs) => {
      const next = afterDeath(state, livedMs);
      state = next.state;
      return next.delayMs;
    });
  };

  it('is at once, then doubles up to a bound', () => {
    expect(deaths(5, 5, 5, 5, 5, 5, 5, 5)).toEqual([0, 100, 200, 400, 800, 1600, 2000, 2000]);
  });

  it('forgets after a long life', () => {
    expect(deaths(5, 5, LIFE_MS_GOOD, 5, LIFE_MS_GOOD - 1)).toEqual([0, 100, 0, 100, 200]);
  });
});
