import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PercentReporter } from '../../../deploy/apt-download.ts';
import { provisionFromApt } from '../../../deploy/apt-mysql.ts';
import { defaultCacheDir } from '../../../deploy/cache-dir.ts';
import { findMysqld } from '../../../deploy/mysql-provision.ts';
import { debianArch, judgeVersion } from '../../../deploy/mysqld-probe.ts';

const ORACLE = '/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)';

describe('judgeVersion', () => {
  test.each([
    [ORACLE, '8.0.36'],
    ['/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))', '9.7.4'],
    ['mysqld  Ver 8.0.26 for Linux on x86_64 (MySQL Community Server - GPL)', '8.0.26'],
    ['/usr/sbin/mysqld  Ver 8.4.2-2 for Linux on x86_64 (Percona Server (GPL), Release 2, Revision 47601f19)', '8.4.2'],
    ['/usr/sbin/mysqld  Ver 8.0.41-0ubuntu0.24.04.1 for Linux on aarch64 ((Ubuntu))', '8.0.41'],
  ])('accepts %s', (banner, version) => {
    expect(judgeVersion('/x/mysqld', banner)).toBe(version);
  });

  test.each([
    ['mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)', /MariaDB/],
    ['/usr/sbin/mariadbd  Ver 11.4.2-MariaDB for Linux on x86_64', /MariaDB/],
    [
      '/usr/sbin/mysqld  Ver 8.0.25 for Linux on x86_64 (MySQL Community Server - GPL)',
      /8\.0\.25 is older than 8\.0\.26/,
    ],
    ['mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))', /5\.7\.44 is older/],
    ['hello', /does not look like/],
    ['', /does not look like/],
  ])('refuses %s', (banner, reason) => {
    expect(() => judgeVersion('/x/mysqld', banner)).toThrow(reason);
  });
});

describe('findMysqld', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'phx-find-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const PLUGINS = ['semisync_source.so', 'mysql_clone.so'];
  const executable = (path: string, script: string): string => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  /** A mysqld that answers --version and --help. */
  const fake = (folder: string, banner: string, plugins: readonly string[] = PLUGINS): string => {
    const pluginDir = join(dir, folder, 'plugin');
    mkdirSync(pluginDir, { recursive: true });
    for (const plugin of plugins) writeFileSync(join(pluginDir, plugin), '');
    return executable(
      join(dir, folder, 'bin', 'mysqld'),
      `case "$1" in
         --version) echo '${banner}';;
         *) [ "$*" = '--no-defaults --verbose --help' ] && echo 'plugin-dir      ${pluginDir}/';;
       esac`,
    );
  };
  const lines: string[] = [];
  const find = (env: NodeJS.ProcessEnv) =>
    findMysqld({ cacheDir: join(dir, 'cache'), env, progress: (line) => void lines.push(line) });

  test('PHXSQL_MYSQLD: a binary, and a tarball folder with its tools', async () => {
    const mysqld = fake('tar', ORACLE);
    executable(join(dir, 'tar', 'bin', 'mysql'), '');
    const expected = {
      version: '8.0.36',
      command: [mysqld],
      baseArgs: [],
      client: [join(dir, 'tar', 'bin', 'mysql')],
      mysqlbinlog: null,
      pluginDir: join(dir, 'tar', 'plugin'),
    };
    expect(await find({ PHXSQL_MYSQLD: mysqld })).toEqual({ ...expected, source: 'env', root: null });
    expect(await find({ PHXSQL_MYSQLD: join(dir, 'tar') })).toEqual({
      ...expected,
      source: 'env',
      root: join(dir, 'tar'),
    });
  });

  test('PHXSQL_MYSQLD is used or refused, never passed over', async () => {
    const good = fake('good', ORACLE);
    const maria = fake('maria', 'mysqld  Ver 10.11.6-MariaDB for Linux on x86_64');
    const PATH = dirname(good);
    await expect(find({ PATH, PHXSQL_MYSQLD: maria })).rejects.toMatchObject({
      code: 'MYSQL_UNSUITABLE',
      message: expect.stringContaining('MariaDB') as string,
      hint: expect.stringContaining('8.0.26') as string,
    });
    await expect(find({ PATH, PHXSQL_MYSQLD: join(dir, 'absent') })).rejects.toThrow(/ENOENT/);
    mkdirSync(join(dir, 'empty'));
    await expect(find({ PATH, PHXSQL_MYSQLD: join(dir, 'empty') })).rejects.toThrow(
      /neither bin\/mysqld nor usr\/sbin\/mysqld/,
    );
  });

  test.each([
    ['semisync_source.so', 'semi-synchronous replication is missing'],
    ['mysql_clone.so', 'the CLONE plugin is missing'],
  ])('a server without %s is refused', async (plugin, reason) => {
    const mysqld = fake(
      'bare',
      ORACLE,
      PLUGINS.filter((name) => name !== plugin),
    );
    await expect(find({ PHXSQL_MYSQLD: mysqld })).rejects.toThrow(reason);
  });

  test('a program that fails says so with its last words', async () => {
    const broken = executable(
      join(dir, 'broken', 'mysqld'),
      'echo "error while loading shared libraries: libaio.so.1" >&2; exit 127',
    );
    await expect(find({ PHXSQL_MYSQLD: broken })).rejects.toThrow(
      /ended with 127: error while loading shared libraries: libaio/,
    );
  });

  test('PATH: unsuitable ones are passed over with a line that says why', async () => {
    const maria = fake('maria', 'mysqld  Ver 10.11.6-MariaDB for Linux on x86_64');
    const old = fake('old', 'mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))');
    const good = fake('good', ORACLE);
    lines.length = 0;
    const install = await find({ PATH: [maria, old, good].map(dirname).join(':') });
    expect(install).toMatchObject({ source: 'path', command: [good] });
    expect(lines).toEqual([
      expect.stringMatching(/^passing over .*maria.*MariaDB/) as string,
      expect.stringMatching(/^passing over .*old.*5\.7\.44 is older/) as string,
    ]);
  });

  test('no apt sources of Debian: why, and what to install', async () => {
    const etc = join(dir, 'etc-apt');
    mkdirSync(join(etc, 'sources.list.d'), { recursive: true });
    writeFileSync(join(etc, 'sources.list'), 'deb http://ubuntu.example/ubuntu noble main\n');
    const attempt = provisionFromApt({ cacheDir: join(dir, 'cache'), env: process.env, progress() {}, aptEtc: etc });
    await expect(attempt).rejects.toMatchObject({
      code: 'MYSQL_UNSUITABLE',
      message: expect.stringContaining('no mirror of the Debian archive') as string,
    });
  });

  test('an unknown CPU architecture', () => {
    expect(() => debianArch('mips')).toThrow(/no recipe for CPU architecture mips/);
    expect(debianArch('arm64')).toMatchObject({ debian: 'arm64', loader: 'ld-linux-aarch64.so.1' });
  });
});

test('defaultCacheDir', () => {
  expect(defaultCacheDir({ PHXSQL_CACHE: '/c', HOME: '/h' })).toBe('/c');
  expect(defaultCacheDir({ XDG_CACHE_HOME: '/x', HOME: '/h' })).toBe('/x/phxsql');
  expect(defaultCacheDir({ PHXSQL_CACHE: '', XDG_CACHE_HOME: '', HOME: '/h' })).toBe('/h/.cache/phxsql');
});

test('PercentReporter says little', () => {
  const lines: string[] = [];
  const reporter = new PercentReporter(66_000_000, (line) => lines.push(line));
  for (let percent = 0; percent <= 100; percent += 1) reporter.line(`dlstatus:1:${percent}.0000:Retrieving file`);
  reporter.line('Get:1 something else');
  expect(lines).toEqual(
    [20, 40, 60, 80, 100].map((percent) => `downloaded ${Math.round((66 * percent) / 100)} of 66 MB`),
  );
});
