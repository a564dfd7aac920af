import type { MysqlInstall } from '../base/mysql-install.ts';

/** How mysqld is started from an option file: --defaults-file comes first or is not read at all. */
export function mysqldCommand(
  install: MysqlInstall,
  defaultsFile: string,
  extra: readonly string[] = [],
): Readonly<{ file: string; args: readonly string[] }> {
  const [file, ...args] = [...install.command, `--defaults-file=${defaultsFile}`, ...install.baseArgs, ...extra];
  return { file: file as string, args };
}

/** Environment of mysqld: with a parent pid in it RESTART would work, and a restart must go through the agent. */
export function mysqldEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { MYSQLD_PARENT_PID: _, MYSQLD_RESTART_EXIT: __, NOTIFY_SOCKET: ___, MYSQL_GROUP_SUFFIX: ____, ...rest } = env;
  return rest;
}
