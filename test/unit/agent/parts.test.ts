import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ROOT_DYNAMIC_PRIVILEGES, ROOT_PRIVILEGES } from '../../../agent/accounts.ts';
import { type Health, objection } from '../../../agent/health.ts';
import { IpcMysqldHost } from '../../../agent/host/ipc-host.ts';
import { sqlErrno } from '../../../agent/host/mysqld-lane.ts';
import { findMysqlds, lockHolders, parseLocks, runsWith, startTicks } from '../../../agent/host/mysqld-process.ts';
import { readOpenedMark, removeOpenedMark, writeOpenedMark } from '../../../agent/host/opened-mark.ts';
import { LeaseKeeper } from '../../../agent/lease-keeper.ts';
import { attachStatements } from '../../../agent/replica-channel.ts';
import { sqlText } from '../../../agent/sql-text.ts';
import { SuspendDetector } from '../../../agent/suspend-detector.ts';
import { ViewKeeper } from '../../../agent/view-keeper.ts';
import { internalPassword } from '../../../base/accounts.ts';
import { nodeId } from '../../../base/brands.ts';
import type { FromAgent, ToAgent } from '../../../base/ipc.ts';
import { silentLogger } from '../../../base/ports.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import type { AgentReport, Outcome, View } from '../../../proto/binlogsvr-types.ts';
import { HandClock } from '../../support/hand-clock.ts';

const well: Health = { silentMs: 10, diskMs: 10, diskError: '', waiting: false, stuckMs: 0, quorum: true };

describe('lease keeper', () => {
  test.each([
    ['all well', {}, null],
    ['mysqld silent', { silentMs: 1_500 }, /not answered a read/],
    ['disk stalled', { diskMs: 1_500 }, /not taken a write/],
    ['disk full', { diskMs: 1_500, diskError: 'ENOSPC' }, /ENOSPC/],
    ['commits get on', { waiting: true, stuckMs: 2_000 }, null],
    ['commits are stuck (13)', { waiting: true, stuckMs: 3_500 }, /waiting for 3500 ms/],
    ['commits are stuck without a majority', { waiting: true, stuckMs: 3_500, quorum: false }, null],
    ['nothing waits (27: a reader, not a writer, is asked)', { waiting: false, stuckMs: 9_999 }, null],
  ] as const)('%s', (_name, change, expected) => {
    const reason = objection({ ...well, ...change });
    if (expected === null) expect(reason).toBeNull();
    else expect(reason).toMatch(expected);
  });

  const accepted: Outcome = { accepted: true, code: '', reason: '', instance: 1, epoch: 5, appendSeq: 0 };

  test('renews at once, then each period, and not while unhealthy', async () => {
    const clock = new HandClock();
    const renewed: number[] = [];
    let health = well;
    const keeper = new LeaseKeeper({
      client: {
        async renew(epoch) {
          renewed.push(epoch);
          return accepted;
        },
      },
      clock,
      log: silentLogger,
      lease: DEFAULT_LEASE,
      health: () => health,
      lost: () => expect.unreachable(),
    });
    keeper.hold(5);
    await clock.pass(1_000);
    expect(renewed).toEqual([5, 5, 5]);
    health = { ...well, diskMs: 9_999 };
    await clock.pass(2_000);
    expect(renewed).toHaveLength(3);
    expect(keeper.unhealthy?.sinceMs).toBe(1_500);
    health = well;
    await clock.pass(500);
    expect([renewed.length, keeper.unhealthy]).toEqual([4, null]);
    keeper.drop();
    await clock.pass(5_000);
    expect(renewed).toHaveLength(4);
  });

  test('an epoch the log has ended is lost; no majority is not', async () => {
    const clock = new HandClock();
    const lost: string[] = [];
    let code = 'NO_QUORUM';
    const keeper = new LeaseKeeper({
      client: {
        async renew() {
          return { ...accepted, accepted: false, code, reason: 'refused' };
        },
      },
      clock,
      log: silentLogger,
      lease: DEFAULT_LEASE,
      health: () => well,
      lost: (epoch, reason) => lost.push(`${epoch} ${reason}`),
    });
    keeper.hold(5);
    await clock.pass(1_000);
    expect(lost).toEqual([]);
    expect(keeper.unanswered).toBeNull();
    await clock.pass(DEFAULT_LEASE.leaseMs);
    expect(keeper.unanswered).toMatchObject({ reason: 'refused', sinceMs: 1_000 + DEFAULT_LEASE.leaseMs });
    code = 'WRONG_EPOCH';
    await clock.pass(500);
    expect(lost).toEqual(['5 refused']);
  });
});

describe('suspend', () => {
  test('the wall clock runs ahead of the monotonic one', async () => {
    const clock = new HandClock();
    const detector = new SuspendDetector(clock);
    await clock.pass(100);
    expect(detector.look()).toBe(false);
    clock.wallMs += 5_000;
    expect(detector.look()).toBe(true);
    await clock.pass(500);
    expect(detector.look(), 'for a while').toBe(true);
    await clock.pass(1_000);
    expect(detector.look()).toBe(false);
    clock.wallMs -= 3_600_000;
    expect(detector.look(), 'set back').toBe(false);
    clock.wallMs += 5_000;
    detector.look();
    detector.forget();
    expect(detector.look()).toBe(false);
  });
});

describe('views', () => {
  const view = (appliedIndex: number, change: Partial<View> = {}): View =>
    ({
      appliedIndex,
      epoch: 1,
      master: 1,
      open: true,
      takeoverDue: false,
      baseline: true,
      sync: null,
      ...change,
    }) as View;
  const make = (clock: HandClock, report: () => AgentReport | null, answer: () => Promise<View>) => {
    const turns: boolean[] = [];
    const keeper = new ViewKeeper({
      client: {
        report: answer,
        async *subscribe(signal: AbortSignal): AsyncIterable<View> {
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      },
      clock,
      log: silentLogger,
      report,
      changed: (turn) => turns.push(turn),
    });
    return { keeper, turns };
  };
  const draft = { role: 'replica' } as AgentReport;

  test('the newest wins, an older one is dropped, and after a silence there is none', async () => {
    const clock = new HandClock();
    const { keeper, turns } = make(
      clock,
      () => null,
      () => Promise.reject(new Error('away')),
    );
    keeper.accept(view(10), 900);
    keeper.accept(view(9, { epoch: 2 }), 950);
    expect([keeper.view?.appliedIndex, keeper.asOf]).toEqual([10, 900]);
    keeper.accept(view(10), 0);
    keeper.accept(view(11, { open: false }), 0);
    expect(turns).toEqual([true, false, true]);
    expect(keeper.asOf, 'what is newer than an answer of then is as of then').toBe(900);
    await clock.pass(2_001);
    expect(keeper.view).toBeNull();
    keeper.accept(view(3), clock.mono);
    expect(keeper.view?.appliedIndex, 'binlogsvr restarted and applies again').toBe(3);
    keeper.close();
  });

  test('a push that is asked for during a report starts another one', async () => {
    const clock = new HandClock();
    let sent = 0;
    const answers: (() => void)[] = [];
    const { keeper } = make(
      clock,
      () => draft,
      () => {
        sent += 1;
        return new Promise((resolve) => answers.push(() => resolve(view(sent))));
      },
    );
    const first = keeper.push();
    const second = keeper.push();
    expect(sent).toBe(1);
    answers.shift()?.();
    await first;
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(sent).toBe(2);
    answers.shift()?.();
    await second;
    const fresh = keeper.refresh();
    await new Promise<void>((resolve) => setImmediate(resolve));
    answers.shift()?.();
    expect((await fresh).appliedIndex).toBe(3);
    keeper.close();
  });

  test('until', async () => {
    const clock = new HandClock();
    const { keeper } = make(
      clock,
      () => null,
      () => Promise.reject(new Error('away')),
    );
    const stop = new AbortController();
    const open = keeper.until('opens', ({ epoch }) => epoch === 3, 1_000, stop.signal);
    keeper.accept(view(1), 0);
    keeper.accept(view(2, { epoch: 3 }), 0);
    expect((await open).epoch).toBe(3);
    const late = keeper.until('opens', ({ epoch }) => epoch === 4, 1_000, stop.signal);
    late.catch(() => {});
    await clock.pass(1_000);
    await expect(late).rejects.toMatchObject({ code: 'TIMEOUT' });
    const cancelled = keeper.until('opens', ({ epoch }) => epoch === 4, 1_000, stop.signal);
    stop.abort();
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
    keeper.close();
  });
});

describe('mysqld of the supervisor', () => {
  const make = async (clock = new HandClock()) => {
    const sent: FromAgent[] = [];
    let say: (message: ToAgent) => void = () => {};
    const channel = {
      send: (message: FromAgent) => void sent.push(message),
      onMessage: (listener: (message: ToAgent) => void) => {
        say = listener;
        return () => {};
      },
    };
    const connecting = IpcMysqldHost.connect({ channel, clock, log: silentLogger });
    return { connecting, sent, clock, say: (message: Omit<ToAgent, 'kind'>) => say({ kind: 'mysqld', ...message }) };
  };
  const command = { file: 'mysqld', args: [], cwd: '/', logFile: '/dev/null' };
  const quiet = { pid: null, startedAt: null, exit: null };

  test('adopts what runs, hears of its end, starts another', async () => {
    const { connecting, say, sent } = await make();
    say({ pid: 7, startedAt: 5, exit: null });
    const host = await connecting;
    expect(host.current()).toEqual({ pid: 7, startedAt: 5 });
    await expect(host.start(command)).rejects.toMatchObject({ code: 'BUSY' });
    const exits: unknown[] = [];
    host.onExit((exit) => exits.push(exit));
    const exit = { pid: 7, code: null, signal: 'SIGKILL' };
    say({ pid: null, startedAt: null, exit });
    expect([exits, host.current()]).toEqual([[exit], null]);
    const starting = host.start(command);
    expect(sent).toEqual([{ kind: 'startMysqld', ...command }]);
    say({ pid: 8, startedAt: 9, exit: null });
    expect(await starting).toEqual({ pid: 8, startedAt: 9 });
    host.signal(8, 'SIGTERM');
    expect(sent.at(-1)).toEqual({ kind: 'signalMysqld', pid: 8, signal: 'SIGTERM' });
  });

  test('a start that fails at once, one that is not answered, a supervisor that is silent', async () => {
    const first = await make();
    first.say(quiet);
    const host = await first.connecting;
    const starting = host.start(command);
    first.say({ ...quiet, exit: { pid: 0, code: 127, signal: null } });
    await expect(starting).rejects.toMatchObject({ code: 'MYSQL_DOWN' });
    const lost = host.start(command);
    lost.catch(() => {});
    await first.clock.pass(10_000);
    await expect(lost).rejects.toMatchObject({ code: 'TIMEOUT' });
    const second = await make();
    second.connecting.catch(() => {});
    await second.clock.pass(10_000);
    await expect(second.connecting).rejects.toMatchObject({ code: 'TIMEOUT' });
  });
});

describe('processes and locks', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'phx-proc-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('lines of /proc/locks', () => {
    const text =
      '1: FLOCK  ADVISORY  WRITE 11 fe:00:77 0 EOF\n2: POSIX  ADVISORY  READ 12 00:2a:78 0 EOF\n2: -> POSIX x\n\n';
    expect(parseLocks(text)).toEqual([
      { pid: 11, device: { major: 0xfe, minor: 0 }, inode: 77n },
      { pid: 12, device: { major: 0, minor: 0x2a }, inode: 78n },
    ]);
  });

  test('nobody locks a file that is not there, or one that is only open', async () => {
    const path = join(dir, 'ibdata1');
    expect(await lockHolders(path)).toEqual([]);
    writeFileSync(path, '');
    const fd = openSync(path, 'r');
    expect(await lockHolders(path)).toEqual([]);
    closeSync(fd);
  });

  test('only a mysqld with our option file is ours', async () => {
    expect(await findMysqlds(join(dir, 'my.cnf'))).toEqual([]);
    expect(await runsWith(process.pid, join(dir, 'my.cnf'))).toBe(false);
    expect(await startTicks(process.pid)).toBeGreaterThan(0);
    expect(await startTicks(2 ** 30)).toBeNull();
  });

  test('the mark of an open mysqld names one process', async () => {
    const path = join(dir, 'opened.json');
    expect(await readOpenedMark(path, process.pid)).toBe(0);
    await writeOpenedMark(path, process.pid, 9);
    expect(await readOpenedMark(path, process.pid)).toBe(9);
    expect(await readOpenedMark(path, process.ppid)).toBe(0);
    writeFileSync(path, JSON.stringify({ pid: process.pid, startTicks: 1, epoch: 9 }));
    expect(await readOpenedMark(path, process.pid), 'a pid that is used again').toBe(0);
    writeFileSync(path, '{');
    expect(await readOpenedMark(path, process.pid)).toBe(0);
    await removeOpenedMark(path);
  });
});

describe('statements', () => {
  test('texts are quoted, passwords fit a channel', () => {
    expect(sqlText(`it's \\ x`)).toBe(`'it''s \\\\ x'`);
    const self = { id: nodeId(1), host: '127.0.0.1', rw: 1, ro: 2, dump: 6000, rpc: 3, mysql: 4, http: 5 };
    const statements = attachStatements(self, { clusterSecret: 's', tls: null }).join(';');
    expect(statements).toContain('SOURCE_PORT = 6000');
    expect(statements).toContain('SOURCE_CONNECT_RETRY = 1');
    expect(internalPassword('s', 'replica').length, 'CHANGE REPLICATION SOURCE takes 32').toBeLessThanOrEqual(32);
  });

  test('errors of the server and of the connection', () => {
    expect(sqlErrno(Object.assign(new Error('x'), { errno: 1193, sqlState: 'HY000' }))).toBe(1193);
    expect(sqlErrno(Object.assign(new Error('x'), { errno: -111, code: 'ECONNREFUSED' }))).toBeNull();
    expect(sqlErrno(null)).toBeNull();
  });

  test("the clients' root has nothing that goes around the log", () => {
    const given = [...ROOT_PRIVILEGES, ...ROOT_DYNAMIC_PRIVILEGES];
    expect(new Set(given).size).toBe(given.length);
    for (const never of [
      /^SUPER$/,
      /SHUTDOWN/,
      /^RELOAD$/,
      /^REPLICATION SLAVE$/,
      /^REPLICATION_/,
      /VARIABLES_ADMIN/,
      /BINLOG/,
      /CLONE/,
      /CONNECTION_ADMIN/,
      /SYSTEM_USER/,
      /GROUP_REPLICATION/,
      /PERSIST/,
      /OPTIMIZE_LOCAL/,
    ]) {
      expect(
        given.filter((name) => never.test(name)),
        String(never),
      ).toEqual([]);
    }
  });
});
