import { stringify } from 'smol-toml';
import type { NodeId } from '../base/brands.ts';
import type { NodeAddress } from '../base/topology.ts';
import type { JoinConfig } from './config.ts';

/** What the configuration file of one node of a one-machine cluster says; paths relative to that file. */
export type RenderInput = Readonly<{
  cluster: string;
  node: NodeId;
  nodes: readonly NodeAddress[];
  join?: JoinConfig;
  dataDir: string;
  secretFile: string;
  rootPasswordFile: string;
  mysqlInstallFile: string;
  mysqlTemplateDir: string;
  /** Further tables. */
  settings: Readonly<Record<string, unknown>>;
}>;

export function renderNodeConfig(input: RenderInput): string {
  const body = stringify({
    cluster: input.cluster,
    node: input.node,
    data_dir: input.dataDir,
    secret_file: input.secretFile,
    root_password_file: input.rootPasswordFile,
    mysql_install_file: input.mysqlInstallFile,
    mysql_template_dir: input.mysqlTemplateDir,
    nodes: input.nodes.map(({ id, host, rw, ro, dump, rpc, mysql, http }) => ({
      id,
      host,
      rw,
      ro,
      dump,
      rpc,
      mysql,
      http,
    })),
    ...(input.join === undefined ? {} : { join: { ...input.join } }),
    ...input.settings,
  });
  return `# Written once, by \`phxsql cluster start\` or \`member add\`; yours to edit: [lease], [flow], [log], [proxy], [recovery], [mysqld]. The nodes are cluster.json's.\n${body}`;
}
