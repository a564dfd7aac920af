import type { Ballot, NodeId } from '../base/brands.ts';
import { ruleHolds } from '../base/rules.ts';
import { Quorum } from './paxos/quorum.ts';
import type { Holding, ValueBytes } from './paxos/types.ts';
import type { Remains } from './store-port.ts';
import type { Member } from './values.ts';

/** One peer's word, and of which store it is. */
export type Heard = Readonly<{ node: NodeId; storeId: string; holding: Holding }>;

export type ProofFacts = Readonly<{
  self: Member;
  /** The acceptors that decided the instance; null: this node no longer knows. */
  voters: readonly Member[] | null;
  /** What can be read of this node's own record; null: nothing. */
  own: Remains | null;
  heard: readonly Heard[];
}>;

/** The value, by which of the three ways, and in words; or what is missing. */
export type Proof = Readonly<
  { value: ValueBytes; by: 'chosen' | 'ballot' | 'majority'; because: string } | { waitsFor: string }
>;

type Accepted = Readonly<{ node: NodeId; ballot: Ballot; value: ValueBytes }>;

/**
 * Which value was chosen at an instance this node knows to be chosen but can no longer read. Pure. Proven by any of:
 *
 *   chosen     a peer knows it
 *   ballot     a peer accepted it at the ballot of the own record: a ballot has one value per instance
 *   majority   of the acceptors that decided it a majority said what they accepted: the value of the highest ballot among
 *              them. They share an acceptor with the majority that chose it, and whatever was proposed at that ballot or
 *              above is that value.
 *
 * The own record's ballot is believed only if record, ballot and value together have the checksum the store remembers: what
 * went bad might be the ballot. The checksum alone proves nothing. An acceptor that forgot is none of those that decided.
 */
export function proveValue({ self, voters, own, heard }: ProofFacts): Proof {
  for (const { node, holding } of heard) {
    if (holding.kind !== 'chosen') continue;
    return { value: holding.value, by: 'chosen', because: `node ${node} knows it to be chosen` };
  }
  const accepted = acceptedOf(heard);
  const same = accepted.find(({ ballot, value }) => own?.ballot === ballot && own.fits(value));
  if (same !== undefined) {
    return {
      value: same.value,
      by: 'ballot',
      because: `node ${same.node} accepted it at the ballot of the own record`,
    };
  }
  if (!ruleHolds('bad-value-needs-majority')) {
    const guess = highestOf(accepted);
    if (guess === null) return { waitsFor: 'a peer' };
    return { value: guess.value, by: 'majority', because: `node ${guess.node} accepted it` };
  }
  if (voters === null) return { waitsFor: `a peer that knows it to be chosen${atBallot(own)}` };
  return byMajority(self, voters, own, heard);
}

function byMajority(self: Member, voters: readonly Member[], own: Remains | null, heard: readonly Heard[]): Proof {
  const told = heard.filter((each) => each.holding.kind !== 'unknown' && isOneOf(voters, each));
  const highest = highestOf(acceptedOf(told));
  const answered = new Set(told.map(({ node }) => node));
  // What the own record held at its ballot is not known. At a ballot not above the highest heard it makes no difference.
  const counts = own !== null && highest !== null && own.ballot <= highest.ballot && own.fits(highest.value);
  if (counts && isOneOf(voters, self)) answered.add(self.node);
  const quorum = new Quorum(voters.map(({ node }) => node));
  if (highest !== null && quorum.reached(answered)) {
    const nodes = [...answered].sort((a, b) => a - b).join(', ');
    return {
      value: highest.value,
      by: 'majority',
      because: `it has the highest ballot a majority accepted (nodes ${nodes})`,
    };
  }
  const open = voters.filter(({ node }) => node !== self.node && !answered.has(node)).map(({ node }) => node);
  const missing = open.length === 0 ? '' : `; not yet: ${open.join(', ')}`;
  return {
    waitsFor: `${quorum.majority} of the ${voters.length} acceptors that decided it to say what they accepted, ${answered.size} did${missing}`,
  };
}

const isOneOf = (voters: readonly Member[], { node, storeId }: Pick<Member, 'node' | 'storeId'>): boolean =>
  voters.some((voter) => voter.node === node && voter.storeId === storeId);

function acceptedOf(heard: readonly Heard[]): readonly Accepted[] {
  return heard.flatMap(({ node, holding }) => (holding.kind === 'accepted' ? [{ node, ...holding }] : []));
}

function highestOf(accepted: readonly Accepted[]): Accepted | null {
  let highest: Accepted | null = null;
  for (const each of accepted) if (highest === null || each.ballot > highest.ballot) highest = each;
  return highest;
}

const atBallot = (own: Remains | null): string => (own === null ? '' : `, or accepted it at ballot ${own.ballot}`);
