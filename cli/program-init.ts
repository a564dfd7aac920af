import type { Command } from 'commander';
import { DEFAULT_DIR, integer } from './program-flags.ts';

export type InitOptions = Readonly<{
  adopt: true;
  datadir: string;
  binlogIndex?: string;
  dir: string;
  config?: string;
  portOffset?: number;
}>;

export function addInitCommand(program: Command): void {
  program
    .command('init')
    .description('make an existing MySQL server node 1 of a new cluster, with its data, without a dump')
    .requiredOption('--adopt', 'what is to be made of it (there is nothing else yet)')
    .requiredOption('--datadir <dir>', 'its data directory; the server is stopped')
    .option('--binlog-index <file>', 'the index of its binlogs, if that is not in the data directory')
    .option('--dir <dir>', 'the cluster, on this machine', DEFAULT_DIR)
    .option('--port-offset <n>', 'added to every port of a cluster in DIR', integer)
    .option('--config <file>', 'or the configuration of the node it becomes')
    .addHelpText(
      'after',
      `
The data directory is moved, not copied, into that of the node. Refused, with what to do, and left as it was: a server that runs or
was not stopped in order, gtid_mode OFF, tables that are not InnoDB, encrypted binlogs, another MySQL series, prepared XA
transactions, a replica. What its accounts hold that would go around the log (SUPER, SHUTDOWN, writes on schema mysql, …) is
taken from them. Further nodes join with phxsql member add.

Examples:
  phxsql init --adopt --datadir /var/lib/mysql --dir /var/lib/phxsql
  phxsql init --adopt --datadir /var/lib/mysql --config /etc/phxsql/node.toml
`,
    )
    .action(async (flags: InitOptions) => (await import('./commands/init.ts')).init(flags));
}
