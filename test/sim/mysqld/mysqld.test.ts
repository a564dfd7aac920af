import { describe, expect, it } from 'vitest';
import { planCut } from '../../../agent/tail-cut.ts';
import { findTail } from '../../../agent/tail-scan.ts';
import { BinlogFileScanner } from '../../../mysql/binlog-file.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { ATTACH, Bench, Stream } from './bench.ts';
import { LostConnection } from './client.ts';
import { reaches } from './semi-sync.ts';

describe('commits', () => {
  it('wait for an ack, invisible to readers, and return in binlog order once it comes (9.1)', async () => {
    const bench = new Bench();
    const mysqld = await bench.up();
    const client = await bench.open();
    const other = await bench.open();
    const order: string[] = [];
    const writes = ['a', 'b', 'c'].map((key) => client.write({ [key]: '1' }).then(() => order.push(key)));
    expect(await bench.settled(Promise.race(writes), 60_000)).toBe(false);
    expect([await bench.done(other.read('a')), mysqld.commits.semiSync.waiting]).toEqual([undefined, 1]);
    expect(mysqld.executed.isEmpty).toBe(true);
    const stream = await bench.attach();
    expect(stream.gtids, 'the dump thread sends before any ack').toHaveLength(3);
    expect(await bench.settled(Promise.race(writes))).toBe(false);
    stream.ack();
    await bench.done(Promise.all(writes));
    expect(order).toEqual(stream.keys);
    expect(order).toHaveLength(3);
    expect(await bench.done(other.read('a'))).toBe('1');
    expect(mysqld.executed.toString()).toBe(`${mysqld.uuid}:1-3`);
  });

  it('of one group share a flush, and an ack of the last is one of all', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const stream = await bench.attach();
    const first = client.write({ a: '1' });
    await bench.until(() => stream.gtids.length === 1);
    const rest = [2, 3, 4, 5].map((n) => client.write({ a: String(n) }));
    await bench.until(() => stream.gtids.length === 5);
    stream.ack();
    await bench.done(Promise.all([first, ...rest]));
    expect(bench.rows()).toEqual({ a: '5' });
  });

  it('an ack of a part releases that part', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const stream = await bench.attach();
    const first = client.write({ a: '1' });
    await bench.until(() => stream.gtids.length === 1);
    const end = stream.last;
    const second = client.write({ b: '1' });
    await bench.until(() => stream.gtids.length === 2);
    stream.ack(end);
    await bench.done(first);
    expect(await bench.settled(second)).toBe(false);
  });

  it('file names of acks compare as strings (9.9), and an ack of what is not there yet counts (4)', async () => {
    expect(reaches({ file: 'binlog.000010', position: 4 }, { file: 'binlog.000009', position: 900 })).toBe(true);
    expect(reaches({ file: 'binlog.999999', position: 900 }, { file: 'binlog.1000000', position: 4 })).toBe(true);
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const stream = await bench.attach();
    stream.ack({ file: 'binlog.000001', position: 1_000_000 });
    await bench.done(client.write({ a: '1' }));
  });

  it('a lost ack is not asked for again: the heartbeat names what to ack (18)', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const first = await bench.attach();
    const write = client.write({ a: '1' });
    await bench.until(() => first.gtids.length === 1);
    const has = GtidSet.of(...first.gtids);
    first.connection.destroy();
    const second = await bench.attach(has);
    expect(await bench.settled(write, 10_000)).toBe(false);
    expect(second.gtids).toEqual([]);
    expect(second.heartbeats.at(-1)).toEqual(first.last);
    second.ack(second.heartbeats.at(-1));
    await bench.done(write);
  });

  it('the ack of a stream that was replaced counts for nothing', async () => {
    const bench = new Bench();
    const mysqld = await bench.up();
    const client = await bench.open();
    const first = await bench.attach();
    const write = client.write({ a: '1' });
    await bench.until(() => first.gtids.length === 1);
    const second = await bench.attach();
    expect(mysqld.dumps.size).toBe(1);
    first.ack();
    expect(await bench.settled(write)).toBe(false);
    second.ack();
    await bench.done(write);
  });

  it('FLUSH BINARY LOGS waits for what waits; the stream goes on in the next file (9.5)', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const stream = await bench.attach();
    const { admin } = bench.server;
    await bench.done(admin.connect());
    const write = client.write({ a: '1' });
    await bench.until(() => stream.gtids.length === 1);
    const flush = admin.work(['FLUSH LOCAL BINARY LOGS'], 60_000);
    expect(await bench.settled(flush)).toBe(false);
    stream.ack();
    await bench.done(Promise.all([write, flush]));
    const next = client.write({ a: '2' });
    await bench.until(() => stream.gtids.length === 2);
    expect(stream.last.file).toBe('binlog.000002');
    stream.ack();
    await bench.done(next);
  });

  it('super_read_only waits for the waiters, new writes wait behind it, and it may give up (9.5, 15)', async () => {
    const bench = new Bench();
    const mysqld = await bench.up();
    const client = await bench.open();
    const stream = await bench.attach();
    const { admin } = bench.server;
    const write = client.write({ a: '1' });
    await bench.until(() => stream.gtids.length === 1);
    const impatient = admin.work(['SET SESSION lock_wait_timeout = 1', 'SET GLOBAL super_read_only = ON'], 9_000);
    await expect(bench.done(impatient)).rejects.toMatchObject({ errno: 1205 });
    const patient = admin.work(['SET SESSION lock_wait_timeout = DEFAULT', 'SET GLOBAL super_read_only = ON'], 60_000);
    await bench.run(100);
    const late = client.write({ b: '1' });
    expect(await bench.settled(Promise.race([patient, late]))).toBe(false);
    stream.ack();
    await bench.done(Promise.all([write, patient]));
    await expect(bench.done(late)).rejects.toMatchObject({ errno: 1290 });
    expect(mysqld.superReadOnly).toBe(true);
  });

  it('while CREATE USER waits nobody logs in; who is in already goes on (13)', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const stop = new AbortController();
    const spare = await bench.done(bench.node.sourceFor(bench.sync)(bench.node.socket, stop.signal));
    const { admin } = bench.server;
    await bench.done(admin.connect());
    const create = client.writeAcl({ user: 'x' });
    await bench.run(10);
    expect(await bench.done(admin.canLogIn(500))).toBe(false);
    const late = bench.node.sourceFor(bench.sync)(bench.node.socket, stop.signal);
    bench.kernel.at(900, () => stop.abort());
    await expect(bench.done(late)).rejects.toMatchObject({ code: 'TIMEOUT' });
    await bench.done(spare.query(ATTACH));
    const stream = new Stream(spare, GtidSet.EMPTY);
    await bench.until(() => stream.gtids.length === 1);
    stream.ack();
    await bench.done(create);
    expect(await bench.done(admin.canLogIn(500))).toBe(true);
  });

  it('KILL and offline_mode end the session, not the wait (9.5)', async () => {
    const bench = new Bench();
    const mysqld = await bench.up();
    const client = await bench.open();
    const write = client.write({ a: '1' });
    write.catch(() => {});
    await bench.until(() => mysqld.commits.semiSync.waiting === 1);
    await bench.done(bench.server.admin.work(['SET GLOBAL offline_mode = ON'], 1_000));
    await expect(bench.done(write)).rejects.toBeInstanceOf(LostConnection);
    expect(mysqld.commits.semiSync.waiting).toBe(1);
    await expect(bench.done(bench.node.connect(bench.client))).rejects.toMatchObject({ errno: 3032 });
    (await bench.attach()).ack({ file: 'binlog.000002', position: 4 });
    await bench.run();
    expect(bench.rows()).toEqual({ a: '1' });
  });
});

describe('ends', () => {
  /** Three commits wait, whatever a dump has sent. */
  const waiting = async (bench: Bench) => {
    await bench.up();
    const client = await bench.open();
    const writes = ['a', 'b', 'c'].map((key) => client.write({ [key]: '1' }));
    for (const write of writes) write.catch(() => {});
    await bench.until(() => bench.mysqld.binlog.logged.count() === 3 && bench.mysqld.commits.semiSync.waiting === 1);
    await bench.run(10);
    return { client, writes };
  };
  /** Recovery's cut, by the production scan and plan, at the first transaction a store of `held` does not hold. */
  const cutTo = async (bench: Bench, held: number): Promise<void> => {
    const { binlog } = bench.server;
    const store = {
      compareTail: async (transactions: Iterable<unknown>) => ({
        matching: Math.min(held, [...transactions].length),
        reason: '',
      }),
    };
    const tail = await bench.done(binlog.index().then((index) => findTail(index, binlog, store)));
    if (tail.held) return;
    const index = await bench.done(binlog.index());
    const plan = planCut(index, tail, binlog, { serverUuid: binlog.freshUuid(), wallMs: 0 });
    await bench.done(binlog.cut(plan));
  };

  it('kill -9 with waiters and no cut: recovery commits them (9.4)', async () => {
    const bench = new Bench();
    const { writes } = await waiting(bench);
    bench.node.kill();
    for (const write of writes) await expect(bench.done(write)).rejects.toBeInstanceOf(LostConnection);
    await bench.dead();
    expect(bench.rows()).toEqual({});
    await bench.up();
    expect(bench.rows()).toEqual({ a: '1', b: '1', c: '1' });
    expect(bench.mysqld.executed.count()).toBe(3);
    expect(bench.mysqld.superReadOnly && bench.mysqld.offlineMode, 'as my.cnf says').toBe(true);
  });

  it('kill -9 with waiters, cut at the second: that and the third are rolled back, numbers are not used again (9.4, 10)', async () => {
    const bench = new Bench();
    await waiting(bench);
    const uuid = bench.mysqld.uuid;
    bench.node.kill();
    await bench.dead();
    const taken: string[] = [];
    bench.node.onCut = (transactions) => taken.push(...transactions.map(({ gtid }) => gtid));
    await cutTo(bench, 1);
    expect(taken).toEqual([`${uuid}:2`, `${uuid}:3`]);
    await bench.up();
    expect(bench.rows()).toEqual({ a: '1' });
    expect(bench.mysqld.executed.toString()).toBe(`${uuid}:1`);
    expect(bench.mysqld.uuid).not.toBe(uuid);
    const client = await bench.open();
    const stream = await bench.attach(bench.mysqld.executed);
    const write = client.write({ d: '1' });
    await bench.until(() => stream.gtids.length === 1);
    stream.ack();
    await bench.done(write);
    expect(stream.gtids).toEqual([`${bench.mysqld.uuid}:1`]);
  });

  it.each([
    'write cut plan',
    'keep the cut aside',
    'write auto.cnf',
    'write index',
    'truncate binlog',
    'delete binlogs',
    'remove cut plan',
  ])(
    'an agent that dies after "%s" leaves a cut the next one finishes',
    async (step) => {
      const bench = new Bench();
      await waiting(bench);
      bench.node.kill();
      await bench.dead();
      bench.agent.fate = (what) => ({ crash: what === step ? 'after' : 'never', extraMs: 0 });
      await expect(cutTo(bench, 1)).rejects.toThrow('has not ended');
      bench.agent = bench.spawn('agent');
      expect(await bench.done(bench.server.binlog.finishCut())).toBe(step !== 'remove cut plan');
      await bench.up();
      expect(bench.rows()).toEqual({ a: '1' });
    },
    20_000,
  );

  it('a clean SHUTDOWN with waiters commits them, and no cut undoes that (9.6)', async () => {
    const bench = new Bench();
    const { writes } = await waiting(bench);
    bench.node.terminate();
    for (const write of writes) await expect(bench.done(write)).rejects.toBeInstanceOf(LostConnection);
    await bench.dead();
    expect(bench.rows()).toEqual({ a: '1', b: '1', c: '1' });
    await cutTo(bench, 0);
    await bench.up();
    expect(bench.rows()).toEqual({ a: '1', b: '1', c: '1' });
    expect(bench.mysqld.executed.count()).toBe(3);
  });

  it('semi-sync switched off lets every waiter through, and the probe shows it for ever (9.7)', async () => {
    const bench = new Bench();
    const { writes } = await waiting(bench);
    bench.node.change('rpl_semi_sync_source_enabled', 'OFF');
    await bench.done(Promise.all(writes));
    const probe = await bench.done(bench.server.admin.probe());
    expect([probe.semiSync.on, probe.pinned]).toEqual([false, expect.stringContaining('rpl_semi_sync_source_enabled')]);
  });

  it('SET PERSIST is not loaded at the next start, and said (9.15)', async () => {
    const bench = new Bench();
    bench.node.persist('rpl_semi_sync_source_enabled');
    await bench.up();
    expect((await bench.done(bench.server.admin.probe())).pinned).toBe('');
    expect(await bench.done(bench.server.ignoredSettings())).toContain('rpl_semi_sync_source_enabled');
  });

  it('a crash between flush and sync, and a power cut: the binlog decides, torn or not', async () => {
    let kept = 0;
    let lost = 0;
    for (let seed = 1; seed <= 40; seed += 1) {
      const bench = new Bench(seed);
      await bench.up();
      const client = await bench.open();
      bench.mysqld.process.fate = (what) => ({ crash: what === 'flush binlog' ? 'after' : 'never', extraMs: 0 });
      client.write({ a: '1', b: 'x'.repeat(100) }).catch(() => {});
      await bench.until(() => bench.node.mysqld === null);
      bench.node.powerCut();
      await bench.up();
      const there = bench.rows()['a'] === '1';
      kept += Number(there);
      lost += Number(!there);
      expect(bench.mysqld.executed.count()).toBe(Number(there));
      expect(await bench.done(bench.server.processes.lockHolders())).toEqual([bench.mysqld.pid]);
    }
    expect(lost).toBeGreaterThan(0);
    expect(kept + lost).toBe(40);
  });

  it('what was synced survives a power cut', async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const bench = new Bench(seed);
      await waiting(bench);
      bench.node.powerCut();
      await bench.up();
      expect(bench.rows()).toEqual({ a: '1', b: '1', c: '1' });
    }
  });

  it('the binlog on disk is one the production scanner reads', async () => {
    const bench = new Bench();
    await waiting(bench);
    const scanner = new BinlogFileScanner();
    const found = scanner.push(bench.mysqld.binlog.file.bytes);
    scanner.end();
    expect([found.length, scanner.corrupt, scanner.truncatedAt, scanner.inUse]).toEqual([3, null, null, true]);
  });

  it('two on one data directory, and a cut under a running one, are faults of whoever did it (12)', async () => {
    const cutting = new Bench();
    await waiting(cutting);
    await expect(cutTo(cutting, 0)).rejects.toThrow(/while mysqld \d+ has the data directory/);
    const starting = new Bench();
    await starting.up();
    expect(() => starting.node.start()).toThrow('runs already');
    starting.node.orphan();
    starting.node.start();
    await expect(starting.run()).rejects.toThrow('on the data directory of mysqld 1001');
  });

  it('a restored snapshot brings un-acked transactions and the old uuid back (10)', async () => {
    const bench = new Bench();
    await waiting(bench);
    const snapshot = bench.node.disk.snapshot();
    const uuid = bench.mysqld.uuid;
    bench.node.kill();
    await bench.dead();
    await cutTo(bench, 0);
    bench.node.disk.restore(snapshot);
    await bench.up();
    expect([bench.mysqld.uuid, bench.mysqld.executed.toString()]).toEqual([uuid, `${uuid}:1-3`]);
  });

  it('a frozen mysqld answers nothing, then everything', async () => {
    const bench = new Bench();
    await bench.up();
    const client = await bench.open();
    const { admin } = bench.server;
    await bench.done(admin.connect());
    bench.node.freeze(3_000);
    await expect(bench.done(admin.probe())).rejects.toMatchObject({ code: 'TIMEOUT' });
    const read = client.read('a');
    expect(await bench.settled(read, 1_000)).toBe(false);
    expect(await bench.done(read)).toBeUndefined();
  });
});
