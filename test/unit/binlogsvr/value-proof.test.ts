import { describe, expect, it, onTestFinished } from 'vitest';
import { type Ballot, makeBallot, nodeId } from '../../../base/brands.ts';
import { Prng } from '../../../base/prng.ts';
import { switchOff } from '../../../base/rules.ts';
import { CHOSEN_BALLOT, type Holding } from '../../../binlogsvr/paxos/types.ts';
import type { Remains } from '../../../binlogsvr/store-port.ts';
import { type Heard, type Proof, type ProofFacts, proveValue } from '../../../binlogsvr/value-proof.ts';
import type { Member } from '../../../binlogsvr/values.ts';

const member = (node: number, storeId = `store-${node}`): Member => ({ node: nodeId(node), storeId });
const ballot = (round: number): Ballot => makeBallot(round, nodeId(1));
const bytes = (text: string): Buffer => Buffer.from(text);
const accepted = (round: number, text: string): Holding => ({
  kind: 'accepted',
  ballot: ballot(round),
  value: bytes(text),
});
const chosen = (text: string): Holding => ({ kind: 'chosen', value: bytes(text) });
const nothing: Holding = { kind: 'nothing' };
const unknown: Holding = { kind: 'unknown' };
const own = (round: number, text: string): Remains => ({
  ballot: ballot(round),
  fits: (value) => Buffer.from(value).toString() === text,
});

/** Node 1 asks; `said`: by node. */
function facts(said: Readonly<Record<number, Holding>>, more: Partial<ProofFacts> = {}): ProofFacts {
  const heard = Object.entries(said).map(([node, holding]): Heard => ({ ...member(Number(node)), holding }));
  return { self: member(1), voters: [1, 2, 3].map((n) => member(n)), own: null, heard, ...more };
}

const told = (proof: Proof): string =>
  'value' in proof ? Buffer.from(proof.value).toString() : `waits for ${proof.waitsFor}`;
const prove = (...given: Parameters<typeof facts>): string => told(proveValue(facts(...given)));

describe('which value was chosen', () => {
  it('a peer knows it', () => {
    expect(prove({ 2: chosen('v') })).toBe('v');
    expect(prove({ 4: chosen('v') }), 'whoever that is').toBe('v');
    expect(prove({ 2: chosen('v') }, { voters: null })).toBe('v');
  });

  it('a peer accepted it at the ballot of the own record', () => {
    expect(prove({ 2: accepted(5, 'v') }, { own: own(5, 'v') })).toBe('v');
    expect(prove({ 4: accepted(5, 'v') }, { own: own(5, 'v'), voters: null }), 'whoever that is').toBe('v');
    expect(prove({ 2: accepted(6, 'v') }, { own: own(5, 'v'), voters: null })).toContain(`at ballot ${ballot(5)}`);
  });

  it('an own ballot that does not fit is not believed: it may be what went bad', () => {
    expect(prove({ 2: accepted(5, 'w') }, { own: own(5, 'v') })).toContain('waits for 2 of the 3');
    expect(prove({ 2: accepted(7, 'w') }, { own: own(5, 'v') })).toContain('waits for 2 of the 3');
  });

  it('a majority of others said what it accepted', () => {
    expect(prove({ 2: accepted(5, 'v'), 3: accepted(5, 'v') })).toBe('v');
    expect(prove({ 2: accepted(4, 'w'), 3: accepted(5, 'v') }), 'the highest ballot counts').toBe('v');
    expect(prove({ 2: nothing, 3: accepted(5, 'v') })).toBe('v');
  });

  it('the own record counts where it makes no difference what it holds', () => {
    expect(prove({ 2: accepted(6, 'v') }, { own: own(5, 'v') })).toBe('v');
    expect(prove({ 2: accepted(4, 'w') }, { own: own(5, 'v') }), 'its ballot is the highest').toContain('waits');
    expect(prove({ 2: accepted(6, 'v') }, { own: own(5, 'v'), self: member(1, 'fresh') })).toContain('waits');
    const learned = { ballot: CHOSEN_BALLOT, fits: () => true };
    expect(prove({ 2: accepted(6, 'v') }, { own: learned }), 'learned, not accepted').toContain('waits');
  });

  it('less than a majority does not do', () => {
    expect(prove({ 2: accepted(5, 'v') })).toBe(
      'waits for 2 of the 3 acceptors that decided it to say what they accepted, 1 did; not yet: 3',
    );
    expect(prove({})).toContain('0 did; not yet: 2, 3');
  });

  it('who cannot tell, forgot or had no vote then does not count', () => {
    expect(prove({ 2: accepted(5, 'v'), 3: unknown })).toContain('waits');
    expect(prove({ 2: accepted(5, 'v'), 4: accepted(5, 'v') })).toContain('waits');
    const forgot: Heard = { ...member(3, 'fresh'), holding: nothing };
    expect(told(proveValue({ ...facts({}), heard: [{ ...member(2), holding: accepted(4, 'w') }, forgot] }))).toContain(
      'waits',
    );
  });

  it('a majority that accepted nothing proves nothing', () => {
    expect(prove({ 2: nothing, 3: nothing })).toContain('2 did');
  });

  it('without the rule the first to answer is believed', () => {
    expect(prove({ 2: accepted(1, 'w') })).toContain('waits');
    onTestFinished(switchOff('bad-value-needs-majority'));
    expect(prove({ 2: accepted(1, 'w') })).toBe('w');
  });

  it('never another value, whatever Paxos left behind and whoever answers', () => {
    expect(outcomes()).toMatchObject({ other: 0, right: expect.toSatisfy((n: number) => n > 3000) });
    onTestFinished(switchOff('bad-value-needs-majority'));
    expect(outcomes().other, 'without the rule').toBeGreaterThan(10);
  });
});

/** What is proven in many histories of an instance, asked by a node that applied its value. */
function outcomes(): { right: number; other: number } {
  const prng = new Prng(20_261_121);
  const counts = { right: 0, other: 0 };
  for (let round = 0; round < 20_000; round += 1) {
    const { voters, records, value } = history(prng);
    const self = 1 + prng.below(voters);
    const mine = records.get(self);
    if (mine !== undefined && textOf(mine) !== value) continue;
    const heard: Heard[] = [];
    for (let node = 1; node <= voters; node += 1) {
      if (node === self || prng.chance(1, 3)) continue;
      const mood = prng.below(8);
      if (mood === 0) heard.push({ ...member(node, 'fresh'), holding: prng.pick([nothing, unknown]) });
      else heard.push({ ...member(node), holding: mood === 1 ? unknown : (records.get(node) ?? nothing) });
    }
    const proof = proveValue({
      self: member(self),
      voters: Array.from({ length: voters }, (_, i) => member(i + 1)),
      own: mine !== undefined && prng.chance(1, 2) ? own(roundOf(mine.ballot), value) : null,
      heard,
    });
    if ('value' in proof) counts[told(proof) === value ? 'right' : 'other'] += 1;
  }
  return counts;
}

type Accepted = Extract<Holding, { kind: 'accepted' }>;
const roundOf = (of: Ballot): number => Math.floor(of / 256);
const textOf = (holding: Accepted): string => Buffer.from(holding.value).toString();

function shuffled(prng: Prng, nodes: readonly number[]): number[] {
  const left = [...nodes];
  return nodes.map(() => left.splice(prng.below(left.length), 1)[0] as number);
}

/** One instance, ballot by ballot, as Paxos has it: what each acceptor is left with, and the value that was chosen. */
function history(prng: Prng) {
  const voters = prng.pick([3, 4, 5]);
  const nodes = Array.from({ length: voters }, (_, i) => i + 1);
  const majority = Math.floor(voters / 2) + 1;
  for (;;) {
    const promised = new Map<number, number>();
    const records = new Map<number, Accepted>();
    const votes = new Map<number, Set<number>>();
    const late: { node: number; round: number; text: string }[] = [];
    let value: string | null = null;
    const accept = ({ node, round, text }: { node: number; round: number; text: string }): void => {
      if ((promised.get(node) ?? 0) > round) return;
      promised.set(node, round);
      records.set(node, accepted(round, text) as Accepted);
      const had = votes.get(round) ?? new Set();
      votes.set(round, had.add(node));
      if (had.size >= majority) value ??= text;
    };
    for (let round = 1 + prng.below(4); round <= 5; round += 1) {
      let highest: Accepted | null = null;
      for (const node of shuffled(prng, nodes).slice(0, majority)) {
        promised.set(node, round);
        const record = records.get(node);
        if (record !== undefined && (highest === null || record.ballot > highest.ballot)) highest = record;
      }
      const text = highest === null ? `value ${round}` : textOf(highest);
      // Phase 2 reaches some at once, others later or never.
      const reach = prng.pick([1, 1, 5]);
      for (const node of nodes) {
        if (prng.chance(reach, 6)) accept({ node, round, text });
        else late.push({ node, round, text });
        if (late.length > 0 && prng.chance(1, 20)) accept(prng.pick(late));
      }
    }
    if (value !== null) return { voters, records, value };
  }
}
