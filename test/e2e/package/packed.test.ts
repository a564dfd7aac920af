import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createConnection } from 'mysql2/promise';
import { afterAll, expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PORT_OFFSET = 6900;
const elsewhere = mkdtempSync(join(tmpdir(), 'phx-packed-'));

afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

test('the packed tarball, installed elsewhere, starts a cluster from dist/', async () => {
  await run('npm', ['pack', '--pack-destination', elsewhere], { cwd: ROOT });
  const tarball = readdirSync(elsewhere).find((name) => name.endsWith('.tgz')) as string;
  await run('npm', ['init', '-y'], { cwd: elsewhere });
  await run('npm', ['install', join(elsewhere, tarball)], { cwd: elsewhere, timeout: 180_000 });
  const installed = join(elsewhere, 'node_modules', 'phxsql');
  expect(existsSync(join(installed, 'dist', 'cli', 'main.js'))).toBe(true);
  expect(existsSync(join(installed, 'cli'))).toBe(false);
  const phxsql = (...args: string[]) =>
    run(join(elsewhere, 'node_modules', '.bin', 'phxsql'), [...args, '--dir', join(elsewhere, 'data')], {
      cwd: elsewhere,
      timeout: 180_000,
      env: {
        ...process.env,
        PHXSQL_ROOT_PASSWORD: 'packed',
        PATH: process.env['PATH']?.replaceAll(join(ROOT, 'node_modules', '.bin'), ''),
      },
    });
  try {
    await phxsql('cluster', 'start', '--detach', '--port-offset', String(PORT_OFFSET));
    const status = JSON.parse((await phxsql('status', '--json')).stdout) as {
      master: number;
      nodes: { rw: { port: number } }[];
    };
    expect(status.master).toBeGreaterThan(0);
    const connection = await createConnection({
      host: '127.0.0.1',
      port: status.nodes[2]?.rw.port ?? 0,
      user: 'root',
      password: 'packed',
    });
    const [rows] = await connection.query('CREATE DATABASE packed');
    expect(rows).toBeDefined();
    await connection.end();
  } finally {
    await phxsql('cluster', 'destroy', '--yes');
  }
}, 400_000);
