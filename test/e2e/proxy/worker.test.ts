import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { createConnection } from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestMysqld, type TestMysqld } from '../../support/mysqld.ts';
import { TestWorker, until } from '../../unit/proxy/fakes.ts';

const CLI = '/usr/bin/mysql';
const account = { user: 'app', password: 'app password' };
const run = promisify(execFile);

/** The splice before a real mysqld, looked at by real clients. */
describe('proxy worker before a real mysqld', () => {
  let server: TestMysqld;

  beforeAll(async () => {
    server = await startTestMysqld({ name: 'proxied' });
    // Alone on its machine: nobody acknowledges commits here.
    await server.query('SET GLOBAL rpl_semi_sync_source_enabled=OFF');
    await server.query('SET GLOBAL super_read_only=0; SET GLOBAL read_only=0; SET GLOBAL offline_mode=0');
    await server.query(`CREATE USER app@'%' IDENTIFIED BY '${account.password}'; GRANT ALL ON d.* TO app@'%'`);
    await server.query('CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT)');
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  const dial = (port: number) => createConnection({ host: '127.0.0.1', port, database: 'd', ...account });
  const cli = async (port: number, sql: string): Promise<string> => {
    const args = [
      '--no-defaults',
      '-h127.0.0.1',
      `-P${port}`,
      `-u${account.user}`,
      `-p${account.password}`,
      '-N',
      '-e',
      sql,
    ];
    return run(CLI, args).then(
      (done) => done.stdout,
      (failed: { stderr: string }) => `failed: ${failed.stderr}`,
    );
  };

  it('login, text and prepared statements, big rows, transactions', async () => {
    await using proxy = await TestWorker.start();
    proxy.master(1, server.port, 1);
    const connection = await dial(proxy.worker.ports.rw);
    await connection.beginTransaction();
    await connection.execute('INSERT INTO t (v) VALUES (?), (?)', ['a', 'b'.repeat(3_000_000)]);
    await connection.commit();
    const [rows] = await connection.query('SELECT v FROM t ORDER BY id');
    expect((rows as { v: string }[]).map((row) => row.v.length)).toEqual([1, 3_000_000]);
    await connection.end();
    await until(() => proxy.worker.stats.rw.connections === 0, 'the session to end');
  });

  it('without a master: mysql2 and the mysql client show why', async () => {
    await using proxy = await TestWorker.start({ writeWaitMs: 200, readWaitMs: 200 });
    proxy.fenced(3);
    const { rw, ro } = proxy.worker.ports;
    await expect(dial(rw)).rejects.toMatchObject({
      errno: 1053,
      message: expect.stringContaining('phxsql: no master within') as string,
    });
    await expect(dial(ro)).rejects.toMatchObject({
      errno: 1053,
      message: expect.stringContaining('phxsql: no healthy slave within') as string,
    });
    if (existsSync(CLI)) expect(await cli(rw, 'SELECT 1')).toContain('epoch 3 is fenced; waiting for an election');
  });

  it('an idle session hears why it ends, one inside a statement loses its connection', async () => {
    await using proxy = await TestWorker.start();
    proxy.master(1, server.port, 4);
    const idle = await dial(proxy.worker.ports.rw);
    const heard = new Promise<Error>((resolve) => idle.on('error', resolve));
    await idle.query('SELECT 1');
    const busy = await dial(proxy.worker.ports.rw);
    busy.on('error', () => {});
    const answer = busy.query('SELECT SLEEP(20)').then(
      () => 'a result',
      (error: { code: string }) => error.code,
    );
    await until(() => proxy.worker.stats.rw.sessions[1] === 2, 'two sessions');
    const running = "SELECT COUNT(*) AS n FROM performance_schema.processlist WHERE info = 'SELECT SLEEP(20)'";
    for (let n = 0; n !== 1; ) n = Number((await server.query<{ n: number }>(running))[0]?.n);
    proxy.fenced(4);
    expect((await heard).message).toContain('phxsql: session closed: node 1 is no longer master');
    expect(await answer).toBe('PROTOCOL_CONNECTION_LOST');
  });

  it.skipIf(!existsSync(CLI))('the mysql client through both ports', async () => {
    await using proxy = await TestWorker.start();
    proxy.master(1, server.port, 1);
    proxy.slaves({ node: 1, port: server.port, local: true });
    proxy.set({ elected: 0 });
    // Over TLS, which the proxy does not look into.
    expect(await cli(proxy.worker.ports.ro, 'SELECT 6*7')).toBe('42\n');
    expect(await cli(proxy.worker.ports.rw, 'SELECT 6*7')).toBe('42\n');
  });
});
