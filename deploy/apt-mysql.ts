import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { requireFreeDisk } from '../base/disk-space.ts';
import { PhxError } from '../base/errors.ts';
import { FileLock } from '../base/file-lock.ts';
import type { MysqlInstall } from '../base/mysql-install.ts';
import { dyingWithUs, runCommand } from '../base/run-command.ts';
import { AptDownload, type Verification } from './apt-download.ts';
import {
  type AptSource,
  type DebianMirror,
  debianMirrors,
  parseDeb822Sources,
  parseOneLineSources,
} from './apt-sources.ts';
import { debianArch, isExecutable, probeFolder } from './mysqld-probe.ts';

/** The suite that carries MySQL itself; Debian's stable suites carry MariaDB. */
const SUITE = 'sid';
const PACKAGES = ['mysql-server-core', 'mysql-client-core'];
/** 66 MB of packages, 60 MB of lists, 410 MB unpacked. */
const PROVISION_BYTES_MIN = 900 * 1024 * 1024;
/** How long to wait for another process that is downloading, in one go; a line of progress comes after each. */
const LOCK_WAIT_MS = 5000;
/** Slow lines included: 66 MB in half an hour is 37 KB/s. */
const LOCK_WAITS_MAX = 360;
const UNPACK_MS_MAX = 120_000;
const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Of an unpacked tree only this is of use; the rest (perl, manuals, locales) is removed. */
const TOOLS_KEPT: ReadonlySet<string> = new Set([
  ...[
    'mysql',
    'mysqladmin',
    'mysqlbinlog',
    'mysqlcheck',
    'mysqldump',
    'mysqlimport',
    'mysqlslap',
    'ibd2sdi',
    'innochecksum',
  ],
]);
const FOLDERS_DROPPED = ['doc', 'man', 'perl', 'perl5', 'locale', 'lintian', 'bug', 'info'].map((name) =>
  join('usr', 'share', name),
);

export type ProvisionOptions = Readonly<{
  cacheDir: string;
  progress(line: string): void;
  signal?: AbortSignal;
  /** For tests: the keyrings to begin with, instead of those the machine's sources name. */
  keyrings?: readonly string[];
  /** For tests: where apt's configuration is. */
  aptEtc?: string;
  /** For tests: CPU architecture by Node's name. */
  arch?: string;
  env: NodeJS.ProcessEnv;
}>;

/**
 *   cacheDir/mysql-<version>-<arch>/   a complete, pruned tree; appears by rename
 *   cacheDir/download/                 apt's private state; kept when interrupted, so that the next run goes on
 *   cacheDir/unpack/                   being filled
 *   cacheDir/lock                      held by whoever downloads
 *
 * Throws MYSQL_UNSUITABLE (no apt, no Debian mirror, unknown CPU), DISK_TOO_SMALL, UNAVAILABLE (network), CANCELLED.
 */
export async function provisionFromApt(options: ProvisionOptions): Promise<MysqlInstall> {
  const { cacheDir, progress } = options;
  const arch = debianArch(options.arch).debian;
  const cached = await findCached(cacheDir, arch, progress);
  if (cached !== null) return cached;
  const mirrors = await requireApt(options.aptEtc ?? '/etc/apt', options.env);
  await mkdir(cacheDir, { recursive: true, mode: 0o700 });
  await using _lock = await lockCache(options);
  const another = await findCached(cacheDir, arch, progress); // made while we waited
  if (another !== null) return another;
  await requireFreeDisk(cacheDir, PROVISION_BYTES_MIN, 'downloading and unpacking MySQL');
  progress(`no MySQL 8.0.26 or newer on this machine: downloading Debian's packages into ${cacheDir}`);

  const failures: PhxError[] = [];
  for (const mirror of mirrors) {
    try {
      return await fromMirror(mirror, arch, options);
    } catch (error) {
      if (!(error instanceof PhxError) || error.code === 'CANCELLED' || error.code === 'DISK_TOO_SMALL') throw error;
      progress(error.message);
      failures.push(error);
    }
  }
  const last = failures.at(-1) as PhxError;
  throw failures.length === 1
    ? last
    : new PhxError(last.code, failures.map((failure) => failure.message).join('; '), { cause: last, ...hintOf(last) });
}

async function fromMirror(mirror: DebianMirror, arch: string, options: ProvisionOptions): Promise<MysqlInstall> {
  const { cacheDir, progress } = options;
  const download = await AptDownload.prepare(join(cacheDir, 'download'), arch, progress, options.signal);
  progress(`reading the package lists of ${mirror.uri} ${SUITE}`);
  await updateVerified(download, mirror, options);
  const debs = await download.packages(PACKAGES);
  const unpacked = join(cacheDir, 'unpack');
  await rm(unpacked, { recursive: true, force: true });
  await mkdir(unpacked, { mode: 0o700 });
  let done = 0;
  for (const deb of debs) {
    const result = await runCommand(dyingWithUs(['dpkg', '--extract', deb, unpacked]), {
      timeoutMs: UNPACK_MS_MAX,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (result.code !== 0) {
      await rm(deb, { force: true }); // damaged perhaps: fetched anew by the next run
      throw new PhxError('UNAVAILABLE', `unpack ${deb}: ${result.stderr.trim()}`);
    }
    done += 1;
    if (done % 15 === 0 || done === debs.length) progress(`unpacked ${done} of ${debs.length} packages`);
  }
  await prune(unpacked);
  const probed = await probeFolder(unpacked, 'cache');
  await syncFileSystem(unpacked);
  const target = join(cacheDir, `mysql-${probed.version}-${arch}`);
  await rm(target, { recursive: true, force: true });
  await rename(unpacked, target);
  await rm(join(cacheDir, 'download'), { recursive: true, force: true });
  progress(`MySQL ${probed.version} is ready in ${target}`);
  return probeFolder(target, 'cache');
}

/**
 * Package lists are accepted only with a signature by a key this machine already trusts. If the suite has moved on to keys
 * that are newer than the machine's, they come from a debian-archive-keyring package which those older keys vouch for.
 */
async function updateVerified(download: AptDownload, mirror: DebianMirror, options: ProvisionOptions): Promise<void> {
  const { progress } = options;
  const keyrings = options.keyrings ?? (await machineKeyrings(mirror, download));
  if (mirror.trusted) progress(`${mirror.uri} is marked as trusted by this machine's administrator`);
  const own: Verification = { keyrings, trusted: mirror.trusted };
  const first = await download.update(mirror.uri, SUITE, own);
  if (first.kind === 'ok') return;
  if (first.kind === 'failed') throw first.error;
  const tried = new Set<string>();
  for (const suite of [...mirror.suites, 'stable', 'testing']) {
    if (suite === SUITE || suite === 'unstable' || tried.has(suite)) continue;
    tried.add(suite);
    progress(`${SUITE} is signed with newer keys than this machine has; looking for them in ${suite}`);
    const newer = await download.keyringFrom(mirror.uri, suite, own);
    if (newer === null) continue;
    const again = await download.update(mirror.uri, SUITE, { keyrings: [...(keyrings ?? []), newer], trusted: false });
    if (again.kind === 'ok') return;
    if (again.kind === 'failed') throw again.error;
  }
  if (options.env['PHXSQL_ALLOW_UNVERIFIED'] === '1') {
    progress(`WARNING: downloading from ${mirror.uri} without verifying signatures, as PHXSQL_ALLOW_UNVERIFIED=1 says`);
    const blind = await download.update(mirror.uri, SUITE, { keyrings: null, trusted: true });
    if (blind.kind === 'ok') return;
    throw blind.error;
  }
  throw new PhxError('MYSQL_UNSUITABLE', `${first.error.message}; no newer keys either`, {
    cause: first.error,
    hint: 'update the package debian-archive-keyring, or install MySQL yourself and set PHXSQL_MYSQLD, or, if you trust the network, set PHXSQL_ALLOW_UNVERIFIED=1',
  });
}

/** Those the machine's source names, and Debian's own; null leaves apt its global keyrings. */
async function machineKeyrings(mirror: DebianMirror, download: AptDownload): Promise<readonly string[] | null> {
  const named = mirror.signedBy;
  const files = named === null ? [] : 'files' in named ? [...named.files] : [await download.saveKey(named.key)];
  // `signed-by` may also hold fingerprints of keys in the global keyrings: those only apt can look up.
  const paths = files.filter((file) => file.startsWith('/'));
  const found: string[] = [];
  for (const path of new Set([...paths, DEBIAN_KEYRING])) {
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      found.push(path);
  }
  return found.length === 0 ? null : found;
}

/** The machine's Debian mirrors, or why there is no provisioning here. */
async function requireApt(aptEtc: string, env: NodeJS.ProcessEnv): Promise<readonly DebianMirror[]> {
  const missing: string[] = [];
  for (const tool of ['apt-get', 'dpkg', 'setpriv', 'flock']) {
    const folders = ['/usr/bin', '/bin', ...(env['PATH'] ?? '').split(':')];
    const found = await Promise.all(folders.map((folder) => isExecutable(join(folder, tool))));
    if (!found.includes(true)) missing.push(tool);
  }
  if (missing.length > 0) {
    throw new PhxError(
      'MYSQL_UNSUITABLE',
      `this system has no ${missing.join(', ')}, so Debian's packages cannot be used`,
    );
  }
  const mirrors = debianMirrors(await readSources(aptEtc));
  if (mirrors.length > 0) return mirrors;
  throw new PhxError('MYSQL_UNSUITABLE', `the apt sources in ${aptEtc} name no mirror of the Debian archive`);
}

async function readSources(aptEtc: string): Promise<readonly AptSource[]> {
  const parts = join(aptEtc, 'sources.list.d');
  const names = (await readdir(parts).catch(() => [])).sort();
  const files = [join(aptEtc, 'sources.list'), ...names.map((name) => join(parts, name))];
  const sources: AptSource[] = [];
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (file.endsWith('.list')) sources.push(...parseOneLineSources(text));
    else if (file.endsWith('.sources')) sources.push(...parseDeb822Sources(text));
  }
  return sources;
}

/** The newest usable tree of the cache; one that is damaged is passed over and in the end replaced. */
async function findCached(
  cacheDir: string,
  arch: string,
  progress: (line: string) => void,
): Promise<MysqlInstall | null> {
  const names = await readdir(cacheDir).catch(() => []);
  const trees = names.filter((name) => name.startsWith('mysql-') && name.endsWith(`-${arch}`));
  trees.sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  for (const tree of trees) {
    try {
      return await probeFolder(join(cacheDir, tree), 'cache');
    } catch (error) {
      if (!(error instanceof PhxError) || error.code !== 'MYSQL_UNSUITABLE') throw error;
      progress(`passing over ${join(cacheDir, tree)}: ${error.message}`);
    }
  }
  return null;
}

async function lockCache({ cacheDir, progress, signal }: ProvisionOptions): Promise<FileLock> {
  for (let i = 0; i < LOCK_WAITS_MAX; i += 1) {
    if (signal?.aborted) throw new PhxError('CANCELLED', 'wait for the MySQL download: cancelled');
    const lock = await FileLock.tryAcquire(join(cacheDir, 'lock'), i === 0 ? 0 : LOCK_WAIT_MS);
    if (lock !== null) return lock;
    if (i % 6 === 0) progress('another process is downloading MySQL into the same cache; waiting for it');
  }
  throw new PhxError('TIMEOUT', `wait for ${join(cacheDir, 'lock')}: another process has held it for half an hour`);
}

async function prune(root: string): Promise<void> {
  const bin = join(root, 'usr', 'bin');
  for (const name of await readdir(bin).catch(() => [])) {
    if (!TOOLS_KEPT.has(name)) await rm(join(bin, name), { recursive: true, force: true });
  }
  for (const folder of FOLDERS_DROPPED) await rm(join(root, folder), { recursive: true, force: true });
}

/** syncfs(2) through sync(1): a renamed tree must not be hollow after a power cut. */
async function syncFileSystem(path: string): Promise<void> {
  await runCommand(['sync', '--file-system', path], { timeoutMs: UNPACK_MS_MAX });
}

function hintOf(error: PhxError): { hint?: string } {
  return error.hint === undefined ? {} : { hint: error.hint };
}
