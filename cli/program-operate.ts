import type { Command } from 'commander';
import { DEFAULT_DIR, integer } from './program-flags.ts';

export type SwitchoverOptions = Readonly<{ json?: true; timeout: number; dir: string; config?: string }>;

export function addSwitchoverCommand(program: Command): void {
  program
    .command('switchover')
    .description('make another node the master, as planned: its sessions are cut, nothing else is lost')
    .argument(
      '[node]',
      'the next master (default: a preferred node, else the freshest slave that may be elected)',
      integer,
    )
    .option('--json', 'print what came of it as JSON')
    .option('--timeout <seconds>', 'how long it may take before it is given up', integer, 10)
    .option('--dir <dir>', 'a cluster on this machine', DEFAULT_DIR)
    .option('--config <file>', 'or the configuration of one of its nodes')
    .addHelpText(
      'after',
      `
Nothing is closed before the next master is close behind; if a step fails the old one goes on as master.
Exit status: 0 done, 1 refused or undone (the master is the same), 3 nobody can tell yet (phxsql status will).

Examples:
  phxsql switchover
  phxsql switchover 2 --timeout 5
`,
    )
    .action(async (node: number | undefined, flags: SwitchoverOptions) =>
      (await import('./commands/switchover.ts')).switchover(node ?? 0, flags),
    );
}

export type RestartOptions = Readonly<{ all?: true; timeout: number; dir: string; config?: string }>;

/** `node` is the command it belongs to; that has --config, too. */
export function addRestartCommand(node: Command): void {
  node
    .command('restart')
    .description('restart nodes of this machine, one after the other, the master after a switchover')
    .argument('[node]', 'which one', integer)
    .option('--all', 'all nodes, the master last')
    .option('--timeout <seconds>', 'how long each may take to be healthy again', integer, 120)
    .option('--dir <dir>', 'a cluster on this machine', DEFAULT_DIR)
    .option('--config <file>', 'or the configuration of the node')
    .addHelpText(
      'after',
      `
Refused where the others would be no majority. Whoever runs the nodes (phxsql cluster start, systemd) starts them again, with what
is installed by then. It may be broken off: the node that is under way comes back by itself, the others are left as they are.

Examples:
  phxsql node restart 2
  phxsql node restart --all
  phxsql node restart 3 --config /etc/phxsql/node.toml
`,
    )
    .action(async (which: number | undefined, _: unknown, command: Command) => {
      const { restartNodes } = await import('./commands/node-restart.ts');
      await restartNodes(which === undefined ? [] : [which], command.optsWithGlobals<RestartOptions>());
    });
}

export type FinalizeOptions = Readonly<{ dir: string; config?: string }>;

export function addUpgradeCommand(program: Command): void {
  program
    .command('upgrade')
    .description('what belongs to upgrading the nodes one after the other')
    .command('finalize')
    .description('say that all nodes run their new version: from here on there is no way back')
    .option('--dir <dir>', 'a cluster on this machine', DEFAULT_DIR)
    .option('--config <file>', 'or the configuration of one of its nodes')
    .addHelpText(
      'after',
      `
While nodes run different series of MySQL (8.4 and 9.7) the newer ones are not elected as long as an older voter is alive: an older
MySQL cannot follow a newer one. Upgrade all (phxsql node restart), then finalize; it is refused until all members are connected
and have reached the same series.

Example:
  phxsql upgrade finalize
`,
    )
    .action(async (flags: FinalizeOptions) => (await import('./commands/upgrade.ts')).finalizeUpgrade(flags));
}
