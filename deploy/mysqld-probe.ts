import { access, constants, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PhxError } from '../base/errors.ts';
import { atLeast, type MysqlInstall, parseMysqlVersion } from '../base/mysql-install.ts';
import { runCommand } from '../base/run-command.ts';

/** A mysqld answers --version at once and --help in a tenth of a second. */
const ANSWER_MS_MAX = 20_000;

/** Plugins without which there is no synchronous commit and no way to re-provision a node. */
const PLUGINS_NEEDED: readonly (readonly [file: string, what: string])[] = [
  ['semisync_source.so', 'semi-synchronous replication'],
  ['mysql_clone.so', 'the CLONE plugin'],
];

/** Which dynamic loader and library folder Debian's packages use, by Node's name of the CPU architecture. */
const DEBIAN_ARCH: Readonly<Record<string, Readonly<{ debian: string; loader: string; triplet: string }>>> = {
  x64: { debian: 'amd64', loader: 'ld-linux-x86-64.so.2', triplet: 'x86_64-linux-gnu' },
  arm64: { debian: 'arm64', loader: 'ld-linux-aarch64.so.1', triplet: 'aarch64-linux-gnu' },
};

export function debianArch(arch: string = process.arch): Readonly<{ debian: string; loader: string; triplet: string }> {
  const found = DEBIAN_ARCH[arch];
  if (found !== undefined) return found;
  throw new PhxError('MYSQL_UNSUITABLE', `provision MySQL: no recipe for CPU architecture ${arch}`, {
    hint: `known are ${Object.keys(DEBIAN_ARCH).join(', ')}; install MySQL 8.0.26 or newer yourself and name it in PHXSQL_MYSQLD`,
  });
}

/**
 * What `mysqld --version` says, judged: `mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))`, Percona's the same.
 * Throws MYSQL_UNSUITABLE with the reason.
 */
export function judgeVersion(path: string, banner: string): string {
  const text = banner.trim();
  if (/mariadb/i.test(text)) {
    throw new PhxError(
      'MYSQL_UNSUITABLE',
      `use ${path}: it is MariaDB, whose GTIDs and semi-sync differ from MySQL's: ${text}`,
      {
        hint: 'install MySQL or Percona Server 8.0.26 or newer, or let phxsql provision one (leave PHXSQL_MYSQLD unset)',
      },
    );
  }
  const number = /\bVer (\d+\.\d+\.\d+)/.exec(text)?.[1];
  const version = number === undefined ? null : parseMysqlVersion(number);
  if (number === undefined || version === null) {
    throw new PhxError(
      'MYSQL_UNSUITABLE',
      `use ${path}: --version does not look like MySQL's: ${JSON.stringify(text.slice(0, 200))}`,
    );
  }
  if (!atLeast(version, [8, 0, 26])) {
    throw new PhxError(
      'MYSQL_UNSUITABLE',
      `use ${path}: version ${number} is older than 8.0.26, the first with semisync_source`,
      {
        hint: 'install MySQL or Percona Server 8.0.26 or newer, or let phxsql provision one (leave PHXSQL_MYSQLD unset)',
      },
    );
  }
  return number;
}

/** A mysqld binary that runs with the system's own libraries. */
export async function probeBinary(mysqld: string, source: MysqlInstall['source']): Promise<MysqlInstall> {
  const version = judgeVersion(mysqld, await ask([mysqld, '--version'], mysqld));
  const variables = await ask([mysqld, '--no-defaults', '--verbose', '--help'], mysqld);
  const pluginDir = /^plugin-dir\s+(\S.*?)\/?\s*$/m.exec(variables)?.[1];
  if (pluginDir === undefined) {
    throw new PhxError('MYSQL_UNSUITABLE', `use ${mysqld}: its --verbose --help names no plugin-dir`);
  }
  await requirePlugins(mysqld, pluginDir);
  const beside = [dirname(mysqld), join(dirname(mysqld), '..', 'bin')];
  const tool = async (name: string): Promise<readonly string[] | null> => {
    for (const folder of beside) if (await isExecutable(join(folder, name))) return [join(folder, name)];
    return null;
  };
  return {
    source,
    version,
    command: [mysqld],
    baseArgs: [],
    client: await tool('mysql'),
    mysqlbinlog: await tool('mysqlbinlog'),
    pluginDir,
    root: null,
  };
}

/**
 * A folder with an unpacked server: Debian's packages with their libraries (run through the dynamic loader among them),
 * or a vendor's tarball with bin/mysqld.
 */
export async function probeFolder(root: string, source: MysqlInstall['source']): Promise<MysqlInstall> {
  const tarball = join(root, 'bin', 'mysqld');
  if (await isExecutable(tarball)) return { ...(await probeBinary(tarball, source)), root };
  const mysqld = join(root, 'usr', 'sbin', 'mysqld');
  if (!(await isExecutable(mysqld))) {
    throw new PhxError('MYSQL_UNSUITABLE', `use ${root}: neither bin/mysqld nor usr/sbin/mysqld in it`, {
      hint: 'PHXSQL_MYSQLD names a mysqld binary, or a folder with an unpacked MySQL tarball or Debian packages',
    });
  }
  const { loader, triplet } = debianArch();
  const dynamicLoader = await firstExecutable([
    join(root, 'usr', 'lib64', loader),
    join(root, 'usr', 'lib', loader),
    join(root, 'usr', 'lib', triplet, loader),
    join(root, 'lib64', loader),
    join(root, 'lib', loader),
  ]);
  const libraries = [join(root, 'usr', 'lib', triplet), join(root, 'lib', triplet)].join(':');
  const prefix = dynamicLoader === null ? [] : [dynamicLoader, '--library-path', libraries];
  const command = [...prefix, mysqld];
  const version = judgeVersion(mysqld, await ask([...command, '--version'], mysqld));
  const pluginDir = join(root, 'usr', 'lib', 'mysql', 'plugin');
  await requirePlugins(mysqld, pluginDir);
  const share = join(root, 'usr', 'share', 'mysql');
  const tool = async (name: string): Promise<readonly string[] | null> => {
    const path = join(root, 'usr', 'bin', name);
    return (await isExecutable(path)) ? [...prefix, path] : null;
  };
  return {
    source,
    version,
    command,
    baseArgs: [
      `--basedir=${join(root, 'usr')}`,
      `--lc-messages-dir=${share}`,
      `--character-sets-dir=${join(share, 'charsets')}`,
      `--plugin-dir=${pluginDir}`,
    ],
    client: await tool('mysql'),
    mysqlbinlog: await tool('mysqlbinlog'),
    pluginDir,
    root,
  };
}

async function requirePlugins(mysqld: string, pluginDir: string): Promise<void> {
  for (const [file, what] of PLUGINS_NEEDED) {
    if (
      await stat(join(pluginDir, file)).then(
        (found) => found.isFile(),
        () => false,
      )
    )
      continue;
    throw new PhxError('MYSQL_UNSUITABLE', `use ${mysqld}: ${what} is missing: no ${file} in ${pluginDir}`, {
      hint: 'install the full server package of MySQL or Percona Server, or let phxsql provision one (leave PHXSQL_MYSQLD unset)',
    });
  }
}

/** The output of a program that should just answer. */
async function ask(argv: readonly string[], mysqld: string): Promise<string> {
  const result = await runCommand(argv, { timeoutMs: ANSWER_MS_MAX }).catch((cause: unknown) => {
    throw new PhxError('MYSQL_UNSUITABLE', `use ${mysqld}: it cannot be run: ${(cause as Error).message}`, { cause });
  });
  if (result.code === 0) return result.stdout;
  const reason = result.stderr.trim().split('\n').slice(-3).join(' | ');
  throw new PhxError(
    'MYSQL_UNSUITABLE',
    `use ${mysqld}: ${argv.at(-1)} ended with ${result.code ?? result.signal}: ${reason}`,
  );
}

export async function isExecutable(path: string): Promise<boolean> {
  const file = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
  return (
    file &&
    access(path, constants.X_OK).then(
      () => true,
      () => false,
    )
  );
}

async function firstExecutable(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) if (await isExecutable(path)) return path;
  return null;
}
