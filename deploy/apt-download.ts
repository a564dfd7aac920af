import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PhxError } from '../base/errors.ts';
import { type CommandResult, dyingWithUs, runCommand } from '../base/run-command.ts';
import { sourceLine } from './apt-sources.ts';

/** Slow lines included. */
const UPDATE_MS_MAX = 10 * 60_000;
const DOWNLOAD_MS_MAX = 60 * 60_000;
const PROGRESS_STEP_PERCENT = 20;

export type Verification = Readonly<{
  /** Files apt takes keys from; null = its global ones. */
  keyrings: readonly string[] | null;
  trusted: boolean;
}>;

export type UpdateResult =
  | Readonly<{ kind: 'ok' }>
  /** The release file is not signed by any of the keys. */
  | Readonly<{ kind: 'unsigned'; error: PhxError }>
  | Readonly<{ kind: 'failed'; error: PhxError }>;

/** What apt (gpgv or sqv) says when it has no key for any signature of a release file. */
const UNSIGNED =
  /NO_PUBKEY|is not signed|EXPKEYSIG|Missing key|couldn't be verified|no longer signed|No good signature/;

/**
 * apt with a state, cache and sources of its own in `dir`: it resolves and downloads as if nothing were installed, and writes
 * nowhere else. What the machine configures about networks (proxies, credentials, retries) stays in force.
 */
export class AptDownload {
  readonly #dir: string;
  readonly #arch: string;
  readonly #progress: (line: string) => void;
  readonly #signal: AbortSignal | undefined;

  private constructor(dir: string, arch: string, progress: (line: string) => void, signal: AbortSignal | undefined) {
    this.#dir = dir;
    this.#arch = arch;
    this.#progress = progress;
    this.#signal = signal;
  }

  /** `dir` may hold what an interrupted run left: finished and partial downloads are used. */
  static async prepare(
    dir: string,
    arch: string,
    progress: (line: string) => void,
    signal?: AbortSignal,
  ): Promise<AptDownload> {
    for (const folder of ['state/lists/partial', 'cache/archives/partial', 'none/partial', 'keys']) {
      await mkdir(join(dir, folder), { recursive: true, mode: 0o700 });
    }
    await writeFile(join(dir, 'state', 'status'), '');
    await writeFile(join(dir, 'apt.conf'), aptConf(dir, arch));
    return new AptDownload(dir, arch, progress, signal);
  }

  /** Makes `suite` of the mirror the one source and reads its package list. */
  async update(uri: string, suite: string, verification: Verification): Promise<UpdateResult> {
    await writeFile(join(this.#dir, 'sources.list'), `${sourceLine(uri, suite, this.#arch, verification)}\n`);
    const result = await this.#apt(['update', '--error-on=any'], UPDATE_MS_MAX).catch(
      (error: unknown) => error as PhxError,
    );
    if (result instanceof PhxError) {
      if (result.code === 'CANCELLED') throw result;
      return { kind: 'failed', error: result };
    }
    if (result.code === 0) return { kind: 'ok' };
    const output = `${result.stdout}\n${result.stderr}`;
    const error = (code: 'MYSQL_UNSUITABLE' | 'UNAVAILABLE', what: string): PhxError =>
      new PhxError(code, `${what} ${uri} ${suite}: ${complaints(result)}`, {
        hint: 'is the network reachable and apt configured for it (proxy)? the same run can simply be repeated',
      });
    if (UNSIGNED.test(output)) return { kind: 'unsigned', error: error('MYSQL_UNSUITABLE', 'verify') };
    return { kind: 'failed', error: error('UNAVAILABLE', 'read package lists of') };
  }

  /** Downloads packages and all they depend on; the paths of the files, each verified against the signed list by apt. */
  async packages(names: readonly string[]): Promise<readonly string[]> {
    const archives = join(this.#dir, 'cache', 'archives');
    // Planned against an empty archive folder, else apt leaves out what an interrupted run has already fetched.
    const empty = ['-o', `Dir::Cache::archives=${join(this.#dir, 'none')}/`];
    const plan = await this.#apt(['install', '--print-uris', '--yes', ...empty, ...names], UPDATE_MS_MAX);
    if (plan.code !== 0) throw this.#failed(names, plan);
    // 'uri' file-name bytes hash
    const wanted = new Map<string, number>();
    for (const match of plan.stdout.matchAll(/^'[^']*' (\S+\.deb) (\d+)/gm))
      wanted.set(match[1] as string, Number(match[2]));
    const before = new Set(await readdir(archives));
    const bytes = [...wanted].reduce((sum, [name, size]) => sum + (before.has(name) ? 0 : size), 0);
    this.#progress(`downloading ${wanted.size} packages, ${Math.ceil(bytes / 1e6)} MB still to come`);
    const reporter = new PercentReporter(bytes, this.#progress);
    const result = await this.#apt(
      ['install', '--download-only', '--yes', '-o', 'APT::Status-Fd=1', ...names],
      DOWNLOAD_MS_MAX,
      (line) => reporter.line(line),
    );
    if (result.code !== 0) throw this.#failed(names, result);
    // An interrupted run may have left packages in other versions: only those of this plan are unpacked.
    const present = new Set(await readdir(archives));
    const missing = [...wanted.keys()].filter((name) => !present.has(name));
    if (missing.length > 0 || wanted.size === 0) {
      throw new PhxError(
        'UNAVAILABLE',
        `download ${names.join(', ')}: apt-get left out ${missing.join(', ') || 'everything'}`,
      );
    }
    return [...wanted.keys()].map((name) => join(archives, name)).sort();
  }

  /** The keys in debian-archive-keyring of another suite, as that suite's own signature vouches for them; null if it has none. */
  async keyringFrom(uri: string, suite: string, verification: Verification): Promise<string | null> {
    const updated = await this.update(uri, suite, verification);
    if (updated.kind !== 'ok') return null;
    const root = join(this.#dir, 'keys', suite);
    await rm(root, { recursive: true, force: true });
    await mkdir(root, { recursive: true });
    const fetched = await this.#apt(['download', 'debian-archive-keyring'], DOWNLOAD_MS_MAX, undefined, root);
    const deb = (await readdir(root)).find((name) => name.endsWith('.deb'));
    if (fetched.code !== 0 || deb === undefined) return null;
    const unpacked = await runCommand(dyingWithUs(['dpkg', '--extract', join(root, deb), root]), {
      timeoutMs: UPDATE_MS_MAX,
      ...(this.#signal === undefined ? {} : { signal: this.#signal }),
    });
    if (unpacked.code !== 0) return null;
    const folder = join(root, 'usr', 'share', 'keyrings');
    const names = await readdir(folder).catch((): string[] => []);
    for (const name of ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp']) {
      if (names.includes(name)) return join(folder, name);
    }
    return null;
  }

  /** A key block that stood in the sources themselves. */
  async saveKey(key: string): Promise<string> {
    const file = join(this.#dir, 'keys', 'embedded.asc');
    await writeFile(file, key);
    return file;
  }

  #apt(
    args: readonly string[],
    timeoutMs: number,
    onLine?: (line: string) => void,
    cwd?: string,
  ): Promise<CommandResult> {
    // --config-file is read last, after the machine's own configuration.
    return runCommand(dyingWithUs(['apt-get', '--config-file', join(this.#dir, 'apt.conf'), ...args]), {
      // English messages; no terminal dialogues.
      env: { ...process.env, LC_ALL: 'C.UTF-8', LANGUAGE: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      timeoutMs,
      ...(this.#signal === undefined ? {} : { signal: this.#signal }),
      ...(onLine === undefined ? {} : { onLine }),
      ...(cwd === undefined ? {} : { cwd }),
    });
  }

  #failed(names: readonly string[], result: CommandResult): PhxError {
    const absent = /Unable to locate package|has no installation candidate/.test(result.stderr);
    return absent
      ? new PhxError('MYSQL_UNSUITABLE', `download ${names.join(', ')}: ${complaints(result)}`)
      : new PhxError('UNAVAILABLE', `download ${names.join(', ')}: ${complaints(result)}`, {
          hint: 'run it again: what has been downloaded is kept',
        });
  }
}

/** Turns apt's `dlstatus:<n>:<percent>:<text>` lines into few lines for a person. */
export class PercentReporter {
  readonly #bytes: number;
  readonly #progress: (line: string) => void;
  #next = PROGRESS_STEP_PERCENT;

  constructor(bytes: number, progress: (line: string) => void) {
    this.#bytes = bytes;
    this.#progress = progress;
  }

  line(line: string): void {
    const percent = Number(/^dlstatus:\d+:([\d.]+):/.exec(line)?.[1] ?? Number.NaN);
    if (!(percent >= this.#next)) return;
    this.#progress(
      `downloaded ${Math.round((this.#bytes * percent) / 100 / 1e6)} of ${Math.ceil(this.#bytes / 1e6)} MB`,
    );
    this.#next = (Math.floor(percent / PROGRESS_STEP_PERCENT) + 1) * PROGRESS_STEP_PERCENT;
  }
}

function complaints(result: CommandResult): string {
  const lines = result.stderr.split('\n').filter((line) => /^[EW]: /.test(line));
  const errors = lines.filter((line) => line.startsWith('E: '));
  const chosen = errors.length > 0 ? errors : lines;
  return chosen.length === 0 ? `apt-get ended with ${result.code ?? result.signal}` : chosen.slice(0, 3).join(' | ');
}

/** Hooks and pins of the machine are for its own packages; #clear removes what its configuration set before this file was read. */
function aptConf(dir: string, arch: string): string {
  const cleared = ['APT::Update::Pre-Invoke', 'APT::Update::Post-Invoke', 'APT::Update::Post-Invoke-Success'];
  const hooks = [
    'DPkg::Pre-Invoke',
    'DPkg::Post-Invoke',
    'DPkg::Pre-Install-Pkgs',
    'APT::Architectures',
    'APT::Default-Release',
  ];
  const set: readonly (readonly [string, string])[] = [
    ['Dir::Etc::sourcelist', join(dir, 'sources.list')],
    ['Dir::Etc::sourceparts', join(dir, 'none', 'partial')],
    ['Dir::Etc::preferences', '/dev/null'],
    ['Dir::Etc::preferencesparts', join(dir, 'none', 'partial')],
    ['Dir::State', join(dir, 'state')],
    ['Dir::State::status', join(dir, 'state', 'status')],
    ['Dir::State::lists', join(dir, 'state', 'lists')],
    ['Dir::State::extended_states', join(dir, 'state', 'extended_states')],
    ['Dir::Cache', join(dir, 'cache')],
    ['Dir::Cache::archives', join(dir, 'cache', 'archives')],
    ['Dir::Cache::pkgcache', ''],
    ['Dir::Cache::srcpkgcache', ''],
    ['Dir::Log', join(dir, 'log')],
    ['APT::Architecture', arch],
    ['APT::Install-Recommends', 'false'],
    ['APT::Install-Suggests', 'false'],
    // apt run by root would download as user _apt, who may not enter a private folder.
    ['APT::Sandbox::User', 'root'],
    ['Acquire::Languages', 'none'],
    ['Acquire::Retries', '3'],
    ['Acquire::AllowInsecureRepositories', 'false'],
  ];
  const quoted = (text: string): string => {
    if (/["\n\\]/.test(text))
      throw new PhxError('CONFIG_INVALID', `use cache folder ${JSON.stringify(dir)}: apt cannot quote it`);
    return `"${text}"`;
  };
  return [
    ...[...cleared, ...hooks].map((name) => `#clear ${name};`),
    ...set.map(([name, value]) => `${name} ${quoted(value)};`),
    `APT::Architectures { ${quoted(arch)}; };`,
    '',
  ].join('\n');
}
