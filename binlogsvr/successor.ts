import type { NodeId } from '../base/brands.ts';
import { electionOf, isElectable } from './membership.ts';
import type { SuccessorSays } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Member } from './values.ts';

/** What a master knows of another member. */
export type SuccessorFacts = Readonly<{
  /** The store the log names is connected. */
  connected: boolean;
  /** How far that store said it is, durably. */
  chosenUpTo: number;
  /** What it says of taking over, null if nothing. Left out: it was not asked. */
  word?: SuccessorSays | null;
}>;

/** A successor may lack this much of the log when it is chosen: it has it before it is made master. */
export const SUCCESSOR_LAG_MAX = 64;
/** ... and its MySQL may be so far behind when the master begins to close: that long, or longer, nobody can write. */
export const SUCCESSOR_LAG_MS_MAX = 250;

/**
 * To whom the master hands over: an electable, connected member that has the log and, if asked, agrees; preferred ones first,
 * then who has executed, or has, most of it, then the lower number. That its MySQL has executed everything is for the apply rule to hold (I4).
 */
export function chooseSuccessor(
  state: ReplicatedState,
  from: NodeId,
  chosenUpTo: number,
  factsOf: (member: Member) => SuccessorFacts,
): Readonly<{ node: NodeId } | { node: null; reason: string }> {
  const faults: string[] = [];
  const able: { member: Member; has: number }[] = [];
  for (const member of state.members) {
    if (member.node === from) continue;
    const { connected, chosenUpTo: has, word } = factsOf(member);
    if (!isElectable(member)) faults.push(`node ${member.node} is ${member.kind ?? 'never elected'}`);
    else if (!connected) faults.push(`node ${member.node} is not connected`);
    else if (has + SUCCESSOR_LAG_MAX < chosenUpTo)
      faults.push(`node ${member.node} is ${chosenUpTo - has} values behind`);
    else if (word === null) faults.push(`node ${member.node} does not answer`);
    else if (word !== undefined && word.refusal !== '') faults.push(`node ${member.node}: ${word.refusal}`);
    else if (word !== undefined && word.lagMs > SUCCESSOR_LAG_MS_MAX)
      faults.push(`node ${member.node} is ${Math.round(word.lagMs)} ms behind`);
    else able.push({ member, has: word?.executed ?? has });
  }
  const rank = (member: Member): number => (electionOf(member) === 'prefer' ? 0 : 1);
  able.sort((a, b) => rank(a.member) - rank(b.member) || b.has - a.has || a.member.node - b.member.node);
  const best = able[0];
  if (best !== undefined) return { node: best.member.node };
  return { node: null, reason: faults.length === 0 ? 'there is no other member' : faults.join('; ') };
}
