import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { MysqlInstall } from '../../../base/mysql-install.ts';
import { runCommand } from '../../../base/run-command.ts';
import { provisionFromApt } from '../../../deploy/apt-mysql.ts';
import { findMysqld } from '../../../deploy/mysql-provision.ts';
import { testMysqlInstall } from '../../support/mysqld.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';

/** Only where the server came out of a download is there a mirror that can be asked again. */
const DOWNLOADS = testMysqlInstall().source === 'cache';
const KEYRINGS = '/usr/share/keyrings';
/** Signs Debian 12 itself, but not the suite the packages come from. */
const OLD_KEY = join(KEYRINGS, 'debian-archive-bookworm-stable.gpg');
/** Of releases long gone. */
const REMOVED_KEYS = join(KEYRINGS, 'debian-archive-removed-keys.gpg');

const dir = mkdtempSync(join(tmpdir(), 'phx-provision-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
/** No mysqld of the machine is found. */
const env = { ...process.env, PATH: '/usr/bin:/bin', PHXSQL_MYSQLD: '' };

async function answers(install: MysqlInstall): Promise<void> {
  const version = await runCommand([...install.command, '--version']);
  expect(version.stdout).toContain(`Ver ${install.version}`);
  for (const tool of [install.client, install.mysqlbinlog]) {
    expect((await runCommand([...(tool ?? []), '--version'])).stdout).toContain(install.version);
  }
}

describe.skipIf(!DOWNLOADS)('provisioning from the machine’s own Debian mirror', () => {
  const cacheDir = join(dir, 'cache');
  const lines: string[] = [];
  const progress = (line: string): void => void lines.push(line);

  test('an empty cache: two runs at once, one download, signatures verified', async () => {
    const [one, two] = await Promise.all([
      findMysqld({ cacheDir, env, progress }),
      findMysqld({ cacheDir, env, progress }),
    ]);
    expect(two).toEqual(one);
    expect(one?.source).toBe('cache');
    await answers(one as MysqlInstall);
    expect(lines.filter((line) => /^downloading \d+ packages, \d+ MB/.test(line))).toHaveLength(1);
    expect(lines).toContain('another process is downloading MySQL into the same cache; waiting for it');
    expect(lines.join('\n')).not.toContain('WARNING');
    expect(readdirSync(cacheDir).filter((name) => name !== 'lock')).toEqual([
      `mysql-${one?.version}-${archOf(one as MysqlInstall)}`,
    ]);
    expect(statSync(cacheDir).mode & 0o077).toBe(0);
  });

  test('a full cache answers at once and needs neither network nor apt', async () => {
    const from = performance.now();
    const again = await findMysqld({ cacheDir, env: { ...env, PATH: '/nonexistent' }, progress });
    expect(again.source).toBe('cache');
    expect(performance.now() - from).toBeLessThan(3000);
  });

  test('PHXSQL_MYSQLD names the unpacked folder', async () => {
    const root = join(cacheDir, readdirSync(cacheDir).find((name) => name.startsWith('mysql-')) as string);
    const install = await findMysqld({ env: { ...env, PHXSQL_MYSQLD: root }, progress });
    expect(install).toMatchObject({ source: 'env', root });
    await answers(install);
  });

  test.skipIf(!existsSync(REMOVED_KEYS))('a key that signs nothing here: refused, nothing is downloaded', async () => {
    const refusing = join(dir, 'refusing');
    const attempt = provisionFromApt({ cacheDir: refusing, env, progress, keyrings: [REMOVED_KEYS] });
    await expect(attempt).rejects.toMatchObject({
      code: 'MYSQL_UNSUITABLE',
      hint: expect.stringContaining('debian-archive-keyring') as string,
    });
    expect(
      readdirSync(join(refusing, 'download', 'cache', 'archives')).filter((name) => name.endsWith('.deb')),
    ).toEqual([]);
  });

  test.skipIf(!FULL || !existsSync(OLD_KEY))(
    'newer keys are fetched through older ones; a run killed during the download is resumed',
    async () => {
      const resumed = join(dir, 'resumed');
      const archives = join(resumed, 'download', 'cache', 'archives');
      const script = `
        import { provisionFromApt } from ${JSON.stringify(join(import.meta.dirname, '../../../deploy/apt-mysql.ts'))};
        await provisionFromApt({ cacheDir: ${JSON.stringify(resumed)}, env: process.env, progress() {}, keyrings: [${JSON.stringify(OLD_KEY)}] });`;
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], { env, stdio: 'ignore' });
      const ended = new Promise((resolve) => child.once('close', resolve));
      await eventually(
        'some packages are there',
        120_000,
        () => existsSync(archives) && readdirSync(archives).some((name) => name.endsWith('.deb')),
      );
      child.kill('SIGKILL');
      await ended;
      const notes: string[] = [];
      const install = await provisionFromApt({
        cacheDir: resumed,
        env,
        progress: (line) => void notes.push(line),
        keyrings: [OLD_KEY],
      });
      await answers(install);
      expect(notes.join('\n')).toMatch(/signed with newer keys than this machine has; looking for them in/);
      expect(readdirSync(resumed).filter((name) => name !== 'lock')).toHaveLength(1);
    },
  );

  test.skipIf(!FULL || process.getuid?.() !== 0)('an ordinary user can do it too', async () => {
    const home = join(dir, 'home');
    chmodSync(dir, 0o755);
    mkdirSync(home, { mode: 0o777 });
    chmodSync(home, 0o777);
    const script = `
      import { findMysqld } from ${JSON.stringify(join(import.meta.dirname, '../../../deploy/mysql-provision.ts'))};
      const install = await findMysqld({ env: process.env, progress() {} });
      console.log(install.root);`;
    const user = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const result = await runCommand([...user, process.execPath, '--input-type=module-typescript', '-e', script], {
      env: { ...env, HOME: home, XDG_CACHE_HOME: '', PHXSQL_CACHE: '' },
      timeoutMs: 240_000,
    });
    expect(result.stderr).toBe('');
    expect(result.stdout.trim()).toMatch(new RegExp(`^${home}/.cache/phxsql/mysql-`));
  });
});

function archOf(install: MysqlInstall): string {
  return install.root?.split('-').at(-1) ?? '';
}
