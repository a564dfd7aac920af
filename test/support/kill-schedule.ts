import type { Prng } from '../../base/prng.ts';
import type { NodeStatus, Status } from './cluster.ts';

/** `supervisor`: alone; the kernel ends all it started. `node`: every process of it at once. */
export const KILL_KINDS = ['mysqld', 'binlogsvr', 'agent', 'proxy', 'supervisor', 'node'] as const;
export type KillKind = (typeof KILL_KINDS)[number];
export type Victim = Readonly<{ node: number; kind: KillKind; pids: readonly number[] }>;

/** sync lives in binlogsvr. Empty: nothing of that kind runs there now. */
export function pidsOf({ pids }: NodeStatus, kind: KillKind, random: Prng): readonly number[] {
  const known = (list: readonly (number | null)[]): number[] =>
    list.filter((pid) => pid !== null && pid > 0) as number[];
  switch (kind) {
    case 'proxy':
      return pids.proxy.length === 0 ? [] : [random.pick(pids.proxy)];
    case 'node':
      // The supervisor first, or it starts again what it sees die.
      return known([pids.supervisor, pids.mysqld, pids.binlogsvr, pids.agent, ...pids.proxy]);
    default:
      return known([pids[kind]]);
  }
}

/**
 * Whom to kill next, of what `phxsql status --json` says is alive: any kind and any node as likely as any other. What a kill
 * before took down may not be back yet; then it is another's turn. null: nobody is known.
 */
export function pickVictim(status: Status, random: Prng): Victim | null {
  const kinds = shuffled(KILL_KINDS, random);
  const nodes = shuffled(status.nodes, random);
  for (const node of nodes) {
    for (const kind of kinds) {
      const pids = pidsOf(node, kind, random);
      if (pids.length > 0) return { node: node.id, kind, pids };
    }
  }
  return null;
}

function shuffled<T>(list: readonly T[], random: Prng): T[] {
  const left = [...list];
  return list.map(() => left.splice(random.below(left.length), 1)[0] as T);
}
