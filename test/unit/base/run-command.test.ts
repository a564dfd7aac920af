import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { freeDiskBytes, requireFreeDisk } from '../../../base/disk-space.ts';
import { FileLock } from '../../../base/file-lock.ts';
import { dyingWithUs, runCommand } from '../../../base/run-command.ts';

const dir = mkdtempSync(join(tmpdir(), 'phx-run-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('runCommand', () => {
  test('status and output are results; whole lines are reported', async () => {
    const lines: string[] = [];
    const script = 'printf "a\\nb"; echo c; echo oops >&2; exit 3';
    const result = await runCommand(['sh', '-c', script], { onLine: (line) => lines.push(line) });
    expect(result).toEqual({ code: 3, signal: null, stdout: 'a\nbc\n', stderr: 'oops\n' });
    expect(lines).toEqual(['a', 'bc']);
    expect(await runCommand(['sh', '-c', 'kill -9 $$'])).toMatchObject({ code: null, signal: 'SIGKILL' });
  });

  test('what cannot be started, takes too long or is no longer wanted throws', async () => {
    await expect(runCommand([join(dir, 'absent')])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(runCommand(dyingWithUs(['sleep', '60']), { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    });
    await expect(runCommand(['sleep', '60'], { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    await expect(runCommand(['true'], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('FileLock', () => {
  test('one holder; released explicitly, twice is harmless', async () => {
    const file = join(dir, 'sub', 'lock');
    const first = await FileLock.tryAcquire(file);
    expect(first).not.toBeNull();
    expect(await FileLock.tryAcquire(file)).toBeNull();
    expect(await FileLock.tryAcquire(file, 100)).toBeNull();
    const waiting = FileLock.tryAcquire(file, 10_000);
    await Promise.all([first?.release(), first?.release()]);
    await using second = await waiting;
    expect(second).not.toBeNull();
  });

  test('a holder killed with -9 holds nothing', async () => {
    const file = join(dir, 'killed');
    const script = `
      import { FileLock } from ${JSON.stringify(join(import.meta.dirname, '../../../base/file-lock.ts'))};
      const lock = await FileLock.tryAcquire(${JSON.stringify(file)});
      console.log(lock !== null);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(await FileLock.tryAcquire(file)).toBeNull();
    child.kill('SIGKILL');
    await using lock = await FileLock.tryAcquire(file, 10_000);
    expect(lock).not.toBeNull();
  });

  test('a file that cannot be locked is an error, not "held"', async () => {
    await expect(FileLock.tryAcquire(dir)).resolves.not.toBeNull(); // a folder can be locked too
    await expect(FileLock.tryAcquire('/proc/self/status/lock')).rejects.toThrow();
  });
});

test('requireFreeDisk tells both numbers, for folders that do not exist yet too', async () => {
  const path = join(dir, 'not', 'yet');
  expect(await freeDiskBytes(path)).toBeGreaterThan(0);
  await requireFreeDisk(path, 1, 'nothing');
  await expect(requireFreeDisk(path, 2 ** 60, 'a test')).rejects.toMatchObject({
    code: 'DISK_TOO_SMALL',
    message: expect.stringMatching(/\d+ MiB free, 1099511627776 MiB needed for a test/) as string,
  });
});
