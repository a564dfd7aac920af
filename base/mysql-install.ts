/**
 * A MySQL server that can be run, wherever it came from (deploy/mysql-provision.ts finds it, the agent runs it).
 * An unpacked one runs through its own dynamic loader, so a program is an argv prefix, never just a path.
 */
export type MysqlInstall = Readonly<{
  source: 'env' | 'path' | 'cache';
  /** `8.0.36`, `9.7.4`: numbers only, without the vendor's suffix. */
  version: string;
  /** argv prefix of mysqld. */
  command: readonly string[];
  /** Options that tell a relocated mysqld where its own files are. They follow --defaults-file, which must be first. */
  baseArgs: readonly string[];
  /** argv prefix of the `mysql` command line client, if one came along. */
  client: readonly string[] | null;
  mysqlbinlog: readonly string[] | null;
  pluginDir: string;
  /** The folder holding an unpacked server; null for one installed in the system. */
  root: string | null;
}>;

/** Numbers of `8.0.36`, comparable with `atLeast`. */
export type MysqlVersion = readonly [major: number, minor: number, patch: number];

export function parseMysqlVersion(text: string): MysqlVersion | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})/.exec(text);
  return match === null ? null : [Number(match[1]), Number(match[2]), Number(match[3])];
}

export function atLeast(version: MysqlVersion, wanted: MysqlVersion): boolean {
  for (let i = 0; i < 3; i += 1) {
    const difference = (version[i] as number) - (wanted[i] as number);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
