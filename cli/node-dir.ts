import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { MysqlInstall } from '../base/mysql-install.ts';
import type { NodeConfig } from './config.ts';

/** Which MySQL server this node runs: as `cluster start` or this node's supervisor found it, as JSON. */
export const mysqlFileOfNode = (config: NodeConfig): string =>
  config.mysqlInstallFile ?? join(config.dataDir, 'run', 'mysql.json');

export function readMysqlInstall(config: NodeConfig): MysqlInstall {
  const path = mysqlFileOfNode(config);
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as MysqlInstall;
  } catch (error) {
    throw new PhxError('CONFIG_INVALID', `read ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
