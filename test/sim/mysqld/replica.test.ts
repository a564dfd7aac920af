import { describe, expect, it } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { Bench } from './bench.ts';

describe('a replica', () => {
  const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
  const ATTACH_REPLICA = [
    'STOP REPLICA',
    'RESET REPLICA ALL',
    'SET GLOBAL innodb_flush_log_at_trx_commit = 2',
    'CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION = 1',
    'START REPLICA',
  ];
  /** A log with `count` transactions of another master, made by its binlog. */
  const filled = async (bench: Bench, count: number): Promise<void> => {
    const other = new Bench(99);
    await other.up();
    const client = await other.open();
    const stream = await other.attach(GtidSet.EMPTY, bench.log);
    for (let n = 1; n <= count; n += 1) {
      const write = client.write({ [`k${n}`]: String(n) });
      await other.until(() => stream.gtids.length === n);
      stream.ack();
      await other.done(write);
    }
  };
  const follow = (bench: Bench) => bench.done(bench.server.admin.work(ATTACH_REPLICA, 5_000));

  it('applies the log from where it is, without a binlog of its own, and nothing twice (10, 2)', async () => {
    const bench = new Bench();
    await filled(bench, 5);
    await bench.up();
    await follow(bench);
    await bench.until(() => bench.mysqld.executed.equals(bench.log.state.gtidSet));
    expect(Object.keys(bench.rows())).toHaveLength(5);
    expect(bench.mysqld.binlog.logged.isEmpty).toBe(true);
    await follow(bench);
    await bench.run(3_000);
    expect(bench.mysqld.executed.equals(bench.log.state.gtidSet)).toBe(true);
    const channel = await bench.done(bench.server.admin.channel());
    expect(channel).toEqual({ receiver: 'ON', applier: true, error: '' });
  });

  it('goes on when its source comes back, and applies what is its own (2)', async () => {
    const bench = new Bench();
    await bench.up();
    bench.source = null;
    await follow(bench);
    await bench.run(500);
    expect((await bench.done(bench.server.admin.channel()))?.receiver).toBe('CONNECTING');
    bench.node.disk.serverUuid = UUID;
    await filled(bench, 3);
    bench.source = bench.log;
    await bench.until(() => bench.mysqld.executed.count() === 3);
  });

  it('a power cut takes it back to an earlier consistent set, which the log fills again (10)', async () => {
    let back = 0;
    for (let seed = 1; seed <= 10; seed += 1) {
      const bench = new Bench(seed);
      await filled(bench, 8);
      await bench.up();
      await follow(bench);
      await bench.until(() => bench.mysqld.executed.count() === 8);
      bench.node.powerCut();
      const rows = Object.keys(bench.rows()).length;
      expect(bench.node.disk.engine.gtidSet.count()).toBe(rows);
      back += 8 - rows;
      await bench.up();
      await follow(bench);
      await bench.until(() => bench.mysqld.executed.count() === 8);
      expect(Object.keys(bench.rows())).toHaveLength(8);
    }
    expect(back).toBeGreaterThan(0);
  });

  it('kill -9 takes nothing back', async () => {
    const bench = new Bench();
    await filled(bench, 4);
    await bench.up();
    await follow(bench);
    await bench.until(() => bench.mysqld.executed.count() === 4);
    bench.node.kill();
    await bench.dead();
    await bench.up();
    expect(bench.mysqld.executed.count()).toBe(4);
  });

  it('a user statement that gets past super_read_only waits, appliers and STOP REPLICA hang (14); killed and cut it is gone', async () => {
    const bench = new Bench(1, { apply: () => 200 });
    await filled(bench, 3);
    const mysqld = await bench.up();
    mysqld.offlineMode = false;
    const client = await bench.done(bench.node.connect(bench.client));
    const through = client.writeThrough();
    through.catch(() => {});
    await bench.until(() => mysqld.commits.semiSync.waiting === 1);
    await follow(bench);
    await bench.run(2_000);
    expect(mysqld.executed.isEmpty, 'gtid_executed does not show it').toBe(true);
    const stop = bench.server.admin.work(['STOP REPLICA'], 5_000);
    await expect(bench.done(stop, 6_000)).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect((await bench.done(bench.server.admin.probe())).semiSync.waiting).toBe(1);
    bench.node.kill();
    await bench.dead();
    await bench.up();
    expect(bench.mysqld.executed.count(), 'without a cut it is errant').toBe(1);
  });

  it('promoted, its dump begins at its own first transaction', async () => {
    const bench = new Bench();
    await filled(bench, 3);
    await bench.up();
    await follow(bench);
    await bench.until(() => bench.mysqld.executed.count() === 3);
    const DETACH = [
      'STOP REPLICA',
      'RESET REPLICA ALL',
      'SET GLOBAL innodb_flush_log_at_trx_commit = 1',
      'FLUSH LOCAL BINARY LOGS',
    ];
    await bench.done(bench.server.admin.work(DETACH, 5_000));
    const client = await bench.open();
    const stream = await bench.attach(bench.log.state.gtidSet);
    const write = client.write({ own: '1' });
    await bench.until(() => stream.gtids.length === 1);
    stream.ack();
    await bench.done(write);
    expect(stream.gtids).toEqual([`${bench.mysqld.uuid}:1`]);
    const refused = await bench.attach(GtidSet.EMPTY);
    await bench.run();
    expect(refused.error).toMatchObject({ message: expect.stringContaining('1236') });
    expect(refused.error).toBeInstanceOf(PhxError);
  });
});
