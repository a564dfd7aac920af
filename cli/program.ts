import { Command } from 'commander';
import { version } from './entry.ts';
import { DEFAULT_DIR, integer } from './program-flags.ts';
import { addInitCommand } from './program-init.ts';
import { addMemberCommands } from './program-member.ts';
import { addRestartCommand, addSwitchoverCommand, addUpgradeCommand } from './program-operate.ts';

/**
 * The commands and their flags. Each action loads its code when it is called, so that `status` does not wait for what only
 * a node needs.
 */
export async function run(argv: readonly string[]): Promise<void> {
  await buildProgram().parseAsync([...argv]);
}

export function buildProgram(): Command {
  const program = new Command('phxsql');
  program
    .description('A MySQL cluster on unmodified MySQL: a Paxos-replicated binlog, no acknowledged commit lost.')
    .version(version())
    .exitOverride()
    .showHelpAfterError('(phxsql --help tells more)')
    .addHelpText(
      'after',
      `
Examples:
  phxsql cluster start               three nodes on this machine, in ./.phxsql, until Ctrl-C
  phxsql cluster start --detach      the same in the background
  phxsql status                      who is master, and how every node is
  phxsql switchover                  another node becomes master
  phxsql node --config node.toml     one node of a cluster of several machines
  phxsql member add                  one more node, in ./.phxsql, while clients go on writing
`,
    );
  addClusterCommands(program);
  addNodeCommand(program);
  addStatusCommand(program);
  addSwitchoverCommand(program);
  addMemberCommands(program);
  addUpgradeCommand(program);
  addInitCommand(program);
  addInternalCommands(program);
  return program;
}

function addClusterCommands(program: Command): void {
  const cluster = program.command('cluster').description('a whole cluster on this machine');
  cluster
    .command('start')
    .description('start the cluster in DIR; the first time, make it')
    .option('--nodes <n>', 'number of nodes, 3 or 5 (default: 3, or what the cluster in DIR has)', integer)
    .option('--dir <dir>', 'where the cluster keeps everything', DEFAULT_DIR)
    .option('--detach', 'return when it serves writes and all nodes are up; it goes on in the background')
    .option('--port-offset <n>', 'added to every port', integer)
    .option('--settings <file>', 'of a new cluster: tables for the configuration of every node (TOML)')
    .option('--timeout <seconds>', 'with --detach: how long to wait until it is up', integer, 120)
    .option('--json', 'with --detach: print the status as JSON when it is up')
    .addHelpText(
      'after',
      `
Ports of the first node: RW 54321, RO 54322, dump 6000, RPC 17000, mysqld 11111; each further node adds 10.
root's password is taken from PHXSQL_ROOT_PASSWORD when the cluster is made, or generated, and kept in DIR/root.password.
Another start in the same DIR resumes it with all its data. --settings may hold [lease], [flow], [log], [proxy], [recovery] and
[mysqld]; later each node's own DIR/node-N/node.toml is edited.

Examples:
  phxsql cluster start
  phxsql cluster start --nodes 5 --dir /var/tmp/five --port-offset 1000 --detach
  PHXSQL_ROOT_PASSWORD=secret phxsql cluster start --detach
`,
    )
    .action(async (flags: StartOptions) => (await import('./commands/cluster-start.ts')).clusterStart(flags));
  cluster
    .command('stop')
    .description('stop the cluster in DIR; its data stays')
    .option('--dir <dir>', 'the cluster', DEFAULT_DIR)
    .addHelpText('after', '\nExample:\n  phxsql cluster stop --dir /var/tmp/five\n')
    .action(async (flags: { dir: string }) => (await import('./commands/cluster-stop.ts')).clusterStop(flags));
  cluster
    .command('destroy')
    .description('end the cluster in DIR at once and remove DIR with all data')
    .option('--dir <dir>', 'the cluster', DEFAULT_DIR)
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  phxsql cluster destroy --yes\n')
    .action(async (flags: { dir: string; yes?: true }) =>
      (await import('./commands/cluster-stop.ts')).clusterDestroy(flags),
    );
}

function addNodeCommand(program: Command): void {
  const node = program
    .command('node')
    .description('run one node: its MySQL server, log store, agent and proxies')
    .option('--config <file>', 'its configuration (TOML)')
    .addHelpText(
      'after',
      `
Runs in the foreground, logs JSON lines to stdout, ends in order on SIGTERM or SIGINT and at once on a second one.

Examples:
  phxsql node --config /etc/phxsql/node.toml
  phxsql node --config ./.phxsql/node-1/node.toml
`,
    )
    .action(async ({ config }: { config?: string }, command: Command) => {
      if (config === undefined) command.error("error: required option '--config <file>' not specified");
      await (await import('./commands/node.ts')).runNode(config);
    });
  addRestartCommand(node);
}

function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('show the state of the cluster; exit status 0 if it has a master')
    .option('--json', 'as JSON, for scripts')
    .option('--last-failover', 'instead: where the time went in the last change of master')
    .option('--dir <dir>', 'a cluster on this machine', DEFAULT_DIR)
    .option('--config <file>', 'or the configuration of one of its nodes')
    .option('--timeout <seconds>', 'how long a node has for its answer', integer)
    .addHelpText(
      'after',
      `
Without --timeout it answers within 2 s whatever is down; a node that takes longer counts as down, which on a very busy
machine says little.

Examples:
  phxsql status
  phxsql status --json | jq .master
  phxsql status --last-failover
`,
    )
    .action(async (flags: StatusOptions) => (await import('./commands/status.ts')).showStatus(flags));
}

/** What supervisors and `cluster start --detach` run; for nobody to type. */
function addInternalCommands(program: Command): void {
  const internal = program.command('internal', { hidden: true }).description('components, started by their supervisor');
  const component = (name: string, start: (config: string) => Promise<void>): void => {
    internal
      .command(name)
      .requiredOption('--config <file>', 'the configuration of the node')
      .action((flags: { config: string }) => start(flags.config));
  };
  component('binlogsvr', async (config) => (await import('./internal/binlogsvr.ts')).runBinlogsvr(config));
  component('agent', async (config) => (await import('./internal/agent.ts')).runAgent(config));
  component('proxy', async (config) => (await import('./internal/proxy.ts')).runProxy(config));
  internal
    .command('manager')
    .requiredOption('--dir <dir>', 'the cluster')
    .action(async (flags: { dir: string }) => (await import('./internal/manager.ts')).runManager(flags.dir));
}

export type StartOptions = Readonly<{
  nodes?: number;
  dir: string;
  detach?: true;
  portOffset?: number;
  settings?: string;
  timeout: number;
  json?: true;
}>;

export type StatusOptions = Readonly<{
  json?: true;
  lastFailover?: true;
  dir: string;
  config?: string;
  timeout?: number;
}>;
