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
