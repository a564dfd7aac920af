import { type Command, Option } from 'commander';
import type { ElectionRule, MemberKind } from '../proto/binlogsvr-types.ts';
import { DEFAULT_DIR, integer } from './program-flags.ts';

export type MemberOptions = Readonly<{ dir: string; config?: string; json?: true; timeout: number }>;
export type AddOptions = MemberOptions & Readonly<{ kind?: MemberKind; election?: ElectionRule }>;
export type ReplaceOptions = AddOptions & Readonly<{ by?: number }>;
export type SetOptions = MemberOptions & Readonly<{ election: ElectionRule }>;
export type RemoveOptions = MemberOptions & Readonly<{ deleteData?: true }>;

export function addMemberCommands(program: Command): void {
  const member = program.command('member').description('who belongs to the cluster: add, remove, replace nodes');
  const common = (command: Command): Command =>
    command
      .option('--dir <dir>', 'a cluster on this machine', DEFAULT_DIR)
      .option('--config <file>', 'or the configuration of one of its nodes, or of the new one')
      .option('--timeout <seconds>', 'how long to go on trying', integer, 600)
      .option('--json', 'print the members as JSON when it is done');
  const kind = (): Option =>
    new Option('--kind <kind>', 'voter: MySQL and a vote; learner: no vote; witness: no MySQL').choices([
      ...['voter', 'learner', 'witness'],
    ]);
  const election = (): Option =>
    new Option('--election <rule>', 'prefer: the others let it be master first; never: it is not elected').choices([
      ...['prefer', 'neutral', 'never'],
    ]);
  const load = async () => import('./commands/member.ts');
  common(member.command('list').description('who is a member, who votes, how far behind each is'))
    .addHelpText('after', '\nExamples:\n  phxsql member list\n  phxsql member list --json | jq .members\n')
    .action(async (flags: MemberOptions) => (await load()).memberListed(flags));
  common(
    member
      .command('add')
      .description('add a node; returns when it has caught up and votes')
      .argument('[node]', 'a node that is connected already, or whose addition was broken off', integer),
  )
    .addOption(kind())
    .addOption(election())
    .addHelpText(
      'after',
      `
On a cluster on this machine it makes the next node in DIR and starts it. With --config FILE, on a new host, it starts the node
of FILE in the background if it does not run yet; FILE has a [join] table, and [[nodes]] lists the node and members to ask.

Examples:
  phxsql member add
  phxsql member add --kind witness
  phxsql member add --config /etc/phxsql/node.toml
`,
    )
    .action(async (node: number | undefined, flags: AddOptions) => (await load()).memberAdd(node, flags));
  common(
    member
      .command('remove')
      .description('remove a node; a master hands over first')
      .argument('<node>', 'its id', integer)
      .option('--delete-data', 'on this machine: delete its directory, too'),
  )
    .addHelpText('after', '\nExamples:\n  phxsql member remove 4\n  phxsql member remove 4 --delete-data\n')
    .action(async (node: number, flags: RemoveOptions) => (await load()).memberRemove(node, flags));
  common(
    member
      .command('replace')
      .description('a new node takes the seat of one that is gone')
      .argument('<node>', 'the id of the one that leaves', integer)
      .option('--by <id>', 'a node that is connected already, or whose replacement was broken off', integer),
  )
    .addHelpText(
      'after',
      '\nThe new node is made and started as by `member add`.\n\nExamples:\n  phxsql member replace 3\n  phxsql member replace 3 --config /etc/phxsql/node.toml\n',
    )
    .action(async (node: number, flags: ReplaceOptions) => (await load()).memberReplace(node, flags));
  common(
    member
      .command('set')
      .description('change the election rule of a member')
      .argument('<node>', 'its id', integer)
      .addOption(election().makeOptionMandatory()),
  )
    .addHelpText('after', '\nExample:\n  phxsql member set 3 --election never\n')
    .action(async (node: number, flags: SetOptions) => (await load()).memberSet(node, flags));
}
