import { stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { MysqlInstall } from '../base/mysql-install.ts';
import { provisionFromApt } from './apt-mysql.ts';
import { defaultCacheDir } from './cache-dir.ts';
import { isExecutable, probeBinary, probeFolder } from './mysqld-probe.ts';

export type FindMysqldOptions = Readonly<{
  /** Where downloads are kept; default PHXSQL_CACHE, else XDG_CACHE_HOME/phxsql, else ~/.cache/phxsql. */
  cacheDir?: string;
  env: NodeJS.ProcessEnv;
  /** One line for a person waiting. */
  progress(line: string): void;
  signal?: AbortSignal;
}>;

/** Folders where servers are installed although they are not in an ordinary user's PATH. */
const SERVER_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/mysql/bin', '/usr/libexec'];

const INSTALL_HINT =
  'install MySQL or Percona Server 8.0.26 or newer (Ubuntu: apt install mysql-server-core-8.0; Fedora, RHEL and relatives: ' +
  'dnf install mysql-server; openSUSE: the tarball; Arch: percona-server; others: the vendor’s generic Linux tarball, unpacked) ' +
  'and set PHXSQL_MYSQLD to its mysqld or to the unpacked folder';

/**
 * The MySQL server to run:
 *
 *   PHXSQL_MYSQLD ──set──► that one, or an error
 *        │unset
 *   PATH, sbin ──a suitable mysqld──► that one        (unsuitable ones are passed over, with a line that says why)
 *        │none
 *   cache ──► Debian's packages, downloaded once and unpacked for this user; nothing in the system is touched
 *
 * Throws MYSQL_UNSUITABLE, DISK_TOO_SMALL, UNAVAILABLE (download failed; try again), CANCELLED.
 */
export async function findMysqld(options: FindMysqldOptions): Promise<MysqlInstall> {
  const named = options.env['PHXSQL_MYSQLD'];
  if (named !== undefined && named !== '') return probeNamed(named);
  const passedOver: string[] = [];
  for (const path of await candidates(options.env['PATH'] ?? '')) {
    try {
      return await probeBinary(path, 'path');
    } catch (error) {
      if (!(error instanceof PhxError) || error.code !== 'MYSQL_UNSUITABLE') throw error;
      passedOver.push(error.message);
      options.progress(`passing over ${path}: ${error.message}`);
    }
  }
  const cacheDir = options.cacheDir ?? defaultCacheDir(options.env);
  try {
    return await provisionFromApt({ ...options, cacheDir });
  } catch (error) {
    if (!(error instanceof PhxError) || error.code !== 'MYSQL_UNSUITABLE') throw error;
    const tried = passedOver.length === 0 ? 'no mysqld in PATH' : passedOver.join('; ');
    throw new PhxError('MYSQL_UNSUITABLE', `find MySQL: ${tried}; ${error.message}`, {
      cause: error,
      hint: error.hint ?? INSTALL_HINT,
    });
  }
}

async function probeNamed(named: string): Promise<MysqlInstall> {
  const found = await stat(named).catch((cause: unknown) => {
    throw new PhxError('MYSQL_UNSUITABLE', `use PHXSQL_MYSQLD=${named}: ${reasonOf(cause)}`, { cause });
  });
  return found.isDirectory() ? probeFolder(named, 'env') : probeBinary(named, 'env');
}

async function candidates(path: string): Promise<readonly string[]> {
  const folders = [...path.split(delimiter).filter((folder) => folder.startsWith('/')), ...SERVER_FOLDERS];
  const found: string[] = [];
  for (const folder of new Set(folders)) {
    const mysqld = join(folder, 'mysqld');
    if (await isExecutable(mysqld)) found.push(mysqld);
  }
  return found;
}
