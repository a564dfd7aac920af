import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { parseNodeConfig, parseToml, SECRET_LENGTH_MIN } from './config.ts';
import { renderNodeConfig } from './config-render.ts';
import { nodeSchema } from './config-schema.ts';
import { writeAtomically } from './files.ts';

/** Tables of settings (`[log]`, `[mysqld]`, …) that every node of a one-machine cluster begins with. */
export type SharedSettings = Readonly<Record<string, unknown>>;

/** What a node of a one-machine cluster is told by the cluster. */
const NOT_SHARED: ReadonlySet<string> = new Set([
  ...['cluster', 'node', 'nodes', 'join', 'tls', 'data_dir', 'secret_file'],
  ...['root_password_file', 'mysql_install_file', 'mysql_template_dir'],
]);

/** They are kept in DIR for nodes that are added later. */
export const SETTINGS_FILE = 'settings.toml';

/** `path` is what errors name. Throws CONFIG_INVALID with every fault found. */
export function parseSettings(text: string, path: string): SharedSettings {
  const settings = parseToml(text, path);
  const foreign = Object.keys(settings).filter((key) => NOT_SHARED.has(key));
  if (foreign.length > 0) {
    throw new PhxError('CONFIG_INVALID', `read settings ${path}: ${foreign.join(', ')}: not for all nodes alike`, {
      hint: 'tables of settings only, such as [log], [recovery] or [mysqld]',
    });
  }
  const some = renderNodeConfig({
    ...{
      cluster: 'some',
      node: nodeId(1),
      nodes: [{ ...nodeSchema.parse({ id: 1, host: 'localhost' }), id: nodeId(1) }],
    },
    ...{ dataDir: '.', secretFile: 's', rootPasswordFile: 'p', mysqlInstallFile: 'm', mysqlTemplateDir: 't', settings },
  });
  parseNodeConfig(some, path, { secret: () => 's'.repeat(SECRET_LENGTH_MIN), readFile: () => '' });
  return settings;
}

/** None if the cluster in `dir` was made without. */
export function readSettings(dir: string): SharedSettings {
  const path = join(dir, SETTINGS_FILE);
  return existsSync(path) ? parseSettings(readFileSync(path, 'utf8'), path) : {};
}

export function writeSettings(dir: string, text: string): void {
  writeAtomically(join(dir, SETTINGS_FILE), text, 'durable');
}
