import type { NodeId } from '../base/brands.ts';
import type { TurnAccount } from '../proto/binlogsvr-types.ts';
import type { Reply } from './status.ts';

/** What the nodes tell of the last change of master; each by its own clock. */
export type LastFailover = Readonly<{
  /** The epoch that began with it. */
  epoch: number;
  kind: TurnAccount['kind'];
  /** 0: that node does not answer, or was restarted since. */
  from: number;
  to: number;
  /** From the first mark to the first write as the next master counts it; null: nobody wrote yet, or it is not known. */
  toFirstWriteMs: number | null;
  accounts: readonly NodeAccount[];
}>;

export type NodeAccount = Readonly<{
  node: number;
  side: TurnAccount['side'];
  /** ISO 8601, by that node's wall clock. */
  detectedAt: string;
  /** Milliseconds since then. */
  ms: Readonly<Record<string, number>>;
  end: string;
}>;

/** Pure: the newest epoch anybody tells of, with every account of it; null: nothing is told. Undone hand-overs do not count. */
export function lastFailover(replies: ReadonlyMap<NodeId, Reply>): LastFailover | null {
  const told: { node: number; turn: TurnAccount }[] = [];
  for (const [node, reply] of replies) {
    if (!('status' in reply)) continue;
    for (const turn of reply.status.turns ?? []) {
      if (!turn.marks.some(({ name }) => name === 'undone')) told.push({ node, turn });
    }
  }
  const epoch = Math.max(0, ...told.map(({ turn }) => turn.epoch));
  const of = told.filter(({ turn }) => turn.epoch === epoch);
  const [first] = of;
  if (first === undefined) return null;
  const side = (which: TurnAccount['side']) => of.filter(({ turn }) => turn.side === which).at(-1);
  const next = side('next');
  return {
    epoch,
    kind: (next ?? first).turn.kind,
    from: side('former')?.node ?? 0,
    to: next?.node ?? 0,
    toFirstWriteMs: next?.turn.marks.find(({ name }) => name === 'first write')?.ms ?? null,
    accounts: [side('former'), next].filter((each) => each !== undefined).map(({ node, turn }) => account(node, turn)),
  };
}

function account(node: number, { side, atWall, marks, end }: TurnAccount): NodeAccount {
  const ms = Object.fromEntries(marks.map((mark) => [mark.name, mark.ms]));
  return { node, side, detectedAt: new Date(atWall).toISOString(), ms, end };
}

export function lastFailoverText(last: LastFailover | null): string {
  if (last === null) return 'no node remembers a change of master (they were all restarted since)';
  const { epoch, kind, from, to, accounts } = last;
  const nodes = `${to === 0 ? 'a node that does not tell' : `node ${to}`}${from === 0 ? '' : ` after node ${from}`}`;
  return [
    `last change of master: ${nodes}, epoch ${epoch}, ${kind}`,
    ...accounts.flatMap(({ node, side, detectedAt, ms, end }) => [
      '',
      `  node ${node}, ${side === 'former' ? 'the former master' : 'the next master'}: ${end}`,
      `    ${detectedAt} by its clock, then`,
      ...Object.entries(ms).map(([name, at]) => `    ${String(at).padStart(6)} ms  ${name}`),
    ]),
    '',
    'Each node counts from its own first mark; how far their wall clocks are apart nobody knows.',
  ].join('\n');
}
