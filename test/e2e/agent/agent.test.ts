import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../support/wait.ts';
import { TestNode } from './test-node.ts';

const uuidOf = (node: TestNode): string => readFileSync(node.paths.autoCnf, 'utf8').trim();
const executed = (node: TestNode): Promise<string> => node.one('SELECT @@GLOBAL.gtid_executed');

/** Each case leaves the node the open master again. */
describe('an agent with a real mysqld', () => {
  let node: TestNode;

  /** A log that takes nothing any more: commits wait. */
  const stall = (): (() => void) => {
    let open = (): void => {};
    node.store.log.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    return () => {
      node.store.log.gate = null;
      open();
    };
  };

  beforeAll(async () => {
    node = await TestNode.start();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  test('founds a cluster: fresh datadir, first value, election, root account', async () => {
    await node.isMaster();
    expect(node.store.calls.slice(0, 2)).toEqual(['baseline', 'stand']);
    const root = await node.root();
    await root.query('CREATE DATABASE bank');
    await root.query('CREATE TABLE bank.t (id INT PRIMARY KEY, v VARCHAR(40))');
    await root.query("INSERT INTO bank.t VALUES (1, 'acked')");
    expect(await executed(node)).toBe(node.store.gtidSet);
  });

  test("the clients' root may manage data and people, and cannot go around the log", async () => {
    const root = await node.root();
    await root.query("CREATE USER app@'%' IDENTIFIED BY 'app'");
    await root.query("GRANT SELECT, INSERT ON bank.* TO app@'%'");
    await root.query('CREATE TRIGGER bank.tr BEFORE INSERT ON bank.t FOR EACH ROW SET NEW.v = NEW.v');
    await root.query('FLUSH TABLES');
    for (const statement of [
      'SET SESSION sql_log_bin = 0',
      'SET GLOBAL super_read_only = OFF',
      'SET GLOBAL rpl_semi_sync_source_enabled = OFF',
      'SET PERSIST_ONLY rpl_semi_sync_source_enabled = OFF',
      'RESET BINARY LOGS AND GTIDS',
      'FLUSH BINARY LOGS',
      'PURGE BINARY LOGS TO "binlog.000001"',
      'SHUTDOWN',
      'RESTART',
      'STOP REPLICA',
      "SET gtid_next = '00000000-0000-0000-0000-000000000001:1'",
      "DELETE FROM mysql.user WHERE user = 'app'",
      'CREATE TABLE mysql.mine (a INT)',
      "ALTER USER phxsql_agent@localhost IDENTIFIED BY 'mine'",
      'DROP USER phxsql_sync@localhost',
      'GRANT SUPER ON *.* TO root',
      'GRANT REPLICATION SLAVE ON *.* TO app',
      "INSTALL PLUGIN clone SONAME 'mysql_clone.so'",
      'UNINSTALL PLUGIN rpl_semi_sync_source',
      'BINLOG "x"',
    ]) {
      await expect(root.query(statement), statement).rejects.toThrow(/denied|privilege|not allowed|need/i);
    }
  });

  test('kill -9 with commits waiting: rows and DDL are cut away, numbers are not used again', async () => {
    const before = { uuid: uuidOf(node), set: node.store.gtidSet, epoch: node.store.log.state.epoch };
    const [one, two] = [await node.root(), await node.root()];
    const release = stall();
    const waiting = [
      node.hang(one, "INSERT INTO bank.t VALUES (2, 'never acked')"),
      node.hang(two, 'CREATE TABLE bank.never (id INT)'),
    ];
    await node.waiters(1);
    const began = performance.now();
    node.kill9();
    await eventually(
      'epoch released',
      5_000,
      () => !node.store.log.state.open || node.store.log.state.epoch > before.epoch,
    );
    const releasedMs = performance.now() - began;
    release();
    await node.isMaster();
    expect(waiting.map(({ done }) => done)).toEqual([false, false]);
    expect(node.store.gtidSet).toBe(before.set);
    expect(await executed(node)).toBe(before.set);
    expect(await node.one('SELECT GROUP_CONCAT(id) FROM bank.t')).toBe('1');
    expect(await node.one("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'never'")).toBe('0');
    expect(uuidOf(node)).not.toBe(before.uuid);
    expect(node.said('cut the binlog')).toHaveLength(1);
    expect(releasedMs).toBeLessThan(1_000);
    const root = await node.root();
    await root.query("INSERT INTO bank.t VALUES (2, 'acked')");
    expect(await executed(node)).toBe(node.store.gtidSet);
  });

  test('kill -9 with nothing waiting: nothing is cut, the identity stays', async () => {
    const before = { uuid: uuidOf(node), set: node.store.gtidSet, cuts: node.said('cut the binlog').length };
    node.kill9();
    await eventually('mysqld died', 5_000, () => node.store.lastReport?.role !== 'master');
    await node.isMaster();
    expect(uuidOf(node)).toBe(before.uuid);
    expect(await executed(node)).toBe(before.set);
    expect(node.said('cut the binlog')).toHaveLength(before.cuts);
  });

  test('a store that is merely behind asks a majority before anything is cut', async () => {
    const before = { set: node.store.gtidSet, cuts: node.said('cut the binlog').length };
    const root = await node.root();
    await root.query("INSERT INTO bank.t VALUES (3, 'acked')");
    node.store.behind = true;
    node.store.quorum = false;
    const starts = node.host.starts;
    node.kill9();
    await eventually('waits for a majority', 10_000, () =>
      node.store.lastReport?.reason.includes('waits for a majority'),
    );
    expect(node.host.current()).toBeNull();
    expect(node.host.starts).toBe(starts);
    node.store.quorum = true;
    await node.isMaster();
    expect(node.said('cut the binlog')).toHaveLength(before.cuts);
    expect(node.store.gtidSet).not.toBe(before.set);
    expect(await node.one('SELECT GROUP_CONCAT(id) FROM bank.t')).toBe('1,2,3');
  });

  test('a tail that was rotated away is cut across both files', async () => {
    const before = { uuid: uuidOf(node), set: node.store.gtidSet };
    const [root, admin] = [await node.root(), await node.admin()];
    const release = stall();
    node.hang(root, 'FLUSH STATUS'); // no XID: rotation does not wait for it
    await node.waiters(1);
    await admin.query('FLUSH BINARY LOGS');
    const second = await node.root();
    node.hang(second, "INSERT INTO bank.t VALUES (9, 'never acked')");
    await node.waiters(2);
    node.kill9();
    await eventually('epoch released', 5_000, () => node.store.calls.at(-1) !== 'renew');
    release();
    await node.isMaster();
    expect(await executed(node)).toBe(before.set);
    expect(uuidOf(node)).not.toBe(before.uuid);
    const lines = node.said('cut the binlog');
    expect(lines.at(-1)?.fields['transactions']).toBe(2);
    expect(lines.at(-1)?.fields['dropped']).toHaveLength(1);
  });

  test('another master: demoted without a restart, promoted again later', async () => {
    const pid = node.host.current()?.pid;
    const session = await node.root();
    node.store.electOther(2);
    await node.isReplica();
    expect(node.host.current()?.pid).toBe(pid);
    await expect(session.query('SELECT 1')).rejects.toThrow();
    const reader = await node.root();
    await expect(reader.query("INSERT INTO bank.t VALUES (5, 'x')")).rejects.toThrow(/read-only/);
    expect(await node.one('SELECT @@GLOBAL.innodb_flush_log_at_trx_commit')).toBe('2');
    const report = node.store.lastReport;
    expect([report?.servingWrites, report?.attachEpoch, report?.ioRunning]).toEqual([false, 0, true]);
    node.store.takeoverDue = true;
    await node.isMaster();
    node.store.takeoverDue = false;
    expect(node.store.calls).toContain('fence');
    expect(await node.one('SELECT @@GLOBAL.innodb_flush_log_at_trx_commit')).toBe('1');
    await expect(reader.query('SELECT 1'), 'sessions of the read-only time end').rejects.toThrow();
  });

  test('another master while commits wait: killed and cut', async () => {
    const before = { pid: node.host.current()?.pid, set: node.store.gtidSet };
    const root = await node.root();
    const release = stall();
    const waiting = node.hang(root, "INSERT INTO bank.t VALUES (6, 'never acked')");
    await node.waiters(1);
    node.store.electOther(2);
    release();
    await eventually('killed', 10_000, () => node.host.current()?.pid !== before.pid);
    await node.isReplica();
    expect(waiting.done).toBe(false);
    expect(await executed(node)).toBe(before.set);
    node.store.fenceByOther();
    await node.isMaster();
  });

  test('a statement that freezes a replica: named, killed, cut', async () => {
    node.store.electOther(2);
    await node.isReplica();
    const before = node.store.gtidSet;
    const pid = node.host.current()?.pid;
    const root = await node.root();
    node.hang(root, 'FLUSH STATUS');
    await eventually('killed', 10_000, () => node.host.current()?.pid !== pid);
    await node.isReplica();
    const [line] = node.said('this statement waits for an ack and will be rolled back');
    expect(line?.fields).toMatchObject({ user: 'root', statement: 'FLUSH STATUS' });
    expect(await executed(node)).toBe(before);
    node.store.fenceByOther();
    await node.isMaster();
  });

  test('the agent is restarted: mysqld is adopted and goes on as master of its epoch', async () => {
    const before = { pid: node.host.current()?.pid, epoch: node.store.log.state.epoch };
    const session = await node.root();
    await node.stopAgent('abandon');
    await session.query("INSERT INTO bank.t VALUES (7, 'acked while no agent ran')");
    await node.startAgent();
    await eventually('adopted', 10_000, () => node.agent.report().servingWrites);
    await session.query("INSERT INTO bank.t VALUES (8, 'acked')");
    expect(node.host.current()?.pid).toBe(before.pid);
    expect(node.store.log.state.epoch).toBe(before.epoch);
  });

  test('the agent is restarted after its epoch ended: the open mysqld is not kept', async () => {
    const pid = node.host.current()?.pid;
    await node.stopAgent('abandon');
    node.store.electOther(2);
    await node.startAgent();
    await eventually('killed', 10_000, () => node.host.current()?.pid !== pid);
    await node.isReplica();
    node.store.fenceByOther();
    await node.isMaster();
  });

  test('a pinned setting that is changed takes the node out and is undone', async () => {
    const pid = node.host.current()?.pid;
    const admin = await node.admin();
    node.hang(admin, 'SET GLOBAL rpl_semi_sync_source_timeout = 100');
    await eventually('killed', 10_000, () => node.host.current()?.pid !== pid);
    expect(node.store.reports.some(({ reason }) => reason.includes('rpl_semi_sync_source_timeout is 100'))).toBe(true);
    await node.isMaster();
    expect(await node.one('SELECT @@GLOBAL.rpl_semi_sync_source_timeout')).toBe('1000000000000000000');
  });

  test('an epoch won too late is given back', async () => {
    node.store.electOther(2);
    await node.isReplica();
    const { epoch } = node.store.log.state;
    node.store.fenceByOther();
    // An election this mysqld did not stand for, as a late proposal of another leader would bring it.
    node.store.say({
      kind: 'elect',
      node: node.address.id,
      basedOnEpoch: epoch,
      executedUpTo: node.store.log.state.appliedIndex,
    });
    await eventually(
      'released',
      10_000,
      () => node.store.calls.includes('release') && node.store.log.state.epoch > epoch,
    );
    await node.isMaster();
  });

  test('stops in order: epoch given back, mysqld ends by itself, and comes back', async () => {
    const before = node.store.gtidSet;
    await node.stopAgent('shutdown');
    expect(node.store.log.state.open).toBe(false);
    expect(node.host.current()).toBeNull();
    expect(node.host.exits.at(-1)).toMatchObject({ code: 0, signal: null });
    expect(node.store.lastReport?.role).toBe('stopped');
    await node.startAgent();
    await node.isMaster();
    expect(await executed(node)).toBe(before);
  });

  test('stops in order with commits waiting: by SIGKILL, and what waited is gone', async () => {
    const before = node.store.gtidSet;
    const root = await node.root();
    const release = stall();
    node.hang(root, "INSERT INTO bank.t VALUES (10, 'never acked')");
    await node.waiters(1);
    await node.stopAgent('shutdown');
    expect(node.host.exits.at(-1)).toMatchObject({ signal: 'SIGKILL' });
    release();
    await node.startAgent();
    await node.isMaster();
    expect(await executed(node)).toBe(before);
  });

  test('transactions the log does not hold: the node says which, and serves nothing', async () => {
    node.store.electOther(2);
    await node.isReplica();
    await node.stopAgent('shutdown');
    await node.startAgent();
    await node.isReplica();
    const admin = await node.admin();
    await admin.query("SET GLOBAL gtid_purged = '+00000000-0000-0000-0000-0000000000ee:7'");
    await eventually('failed', 10_000, () => node.store.lastReport?.role === 'failed');
    expect(node.store.lastReport?.reason).toContain('00000000-0000-0000-0000-0000000000ee:7');
    expect(node.store.lastReport?.servingReads).toBe(false);
  });
});
