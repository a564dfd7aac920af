import { describe, expect, it } from 'vitest';
import { monoMs, type NodeId, nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import type { Clock } from '../../../base/ports.ts';
import { planCluster, withNewNode, withoutNode } from '../../../cli/cluster-dir.ts';
import { added, elected, removed, replaced, seated, serving } from '../../../cli/member/goals.ts';
import { listText, memberList } from '../../../cli/member/list.ts';
import { type Goal, type MemberAccess, reach } from '../../../cli/member/reach.ts';
import { type Seen, seenOf, whomToAsk } from '../../../cli/member/seen.ts';
import type { Reply } from '../../../cli/status.ts';
import type { MemberChange, MemberKind, MemberOutcome, MemberStatus, View } from '../../../proto/binlogsvr-types.ts';
import { view } from '../proxy/fakes.ts';

const { nodes } = planCluster(5, 0);

const seat = (node: number, kind: MemberKind = 'voter'): MemberStatus => {
  const { id: _, ...where } = nodes[node - 1] as (typeof nodes)[number];
  return { node, storeId: `s${node}`, kind, election: 'neutral', ...where };
};

type Facts = Omit<Partial<View>, 'agent'> & { role?: 'replica' | 'master' | 'recovering' | null; executed?: number };

function up(node: number, members: readonly MemberStatus[], configVersion: number, facts: Facts = {}): Reply {
  const { role = 'replica', executed = 100, ...rest } = facts;
  const agent = role === null ? null : { role, servingReads: role === 'replica', servingWrites: role === 'master' };
  const full = view({ node, epoch: 4, master: 1, appliedIndex: 100, chosenIndex: 100, ...rest, agent });
  const common = { lagMs: 0, peers: [], pid: 1, pidsJson: '', version: '', uptimeMs: 1, purge: null };
  return { status: { view: full, executedIndex: executed, members, configVersion, ...common } };
}

function seen(replies: Readonly<Record<number, Reply>>): Seen {
  const map = new Map(Object.entries(replies).map(([id, reply]): [NodeId, Reply] => [nodeId(Number(id)), reply]));
  return seenOf(nodes, map);
}

const DOWN: Reply = { error: 'connection refused' };
const THREE = [seat(1), seat(2), seat(3)];
const FOUR = [...THREE, seat(4, 'learner')];
const MASTER: Facts = { role: 'master' };
/** Nodes 1 to 3 up, 1 the master; `others` beside them. */
const three = (members = THREE, version = 1, others: Readonly<Record<number, Reply>> = {}): Seen =>
  seen({ 1: up(1, members, version, MASTER), 2: up(2, members, version), 3: up(3, members, version), ...others });

describe('what a member lacks', () => {
  const learner = (facts: Facts): Seen => three(FOUR, 2, { 4: up(4, FOUR, 2, { voting: false, ...facts }) });
  const voter = [...THREE, seat(4)];
  const fourth = (facts: Facts): Seen => three(voter, 3, { 4: up(4, voter, 3, facts) });
  const witness = [...THREE, seat(4, 'witness')];

  it.each([
    ['down', seated(4, ''), three(THREE, 1, { 4: DOWN }), /does not answer: connection refused/],
    [
      'starting',
      seated(4, ''),
      three(THREE, 1, { 4: up(4, [], 0, { baseline: false, voting: false, votingReason: 'joining: waiting' }) }),
      /^joining: waiting/,
    ],
    ['taken in', seated(4, ''), learner({}), /^$/],
    ['behind', added(4, 'voter', 'neutral', ''), learner({ appliedIndex: 60 }), /catches up: its log lacks 40/],
    ['caught up', added(4, 'voter', 'neutral', ''), learner({}), /becomes a voter/],
    ['a learner for good', added(4, 'learner', 'neutral', ''), learner({}), /^$/],
    ['a member with a vote', added(4, 'voter', 'neutral', ''), fourth({}), /^$/],
    ['its vote not counted yet', serving(4, 'voter', ''), fourth({ voting: false, votingReason: 'x' }), /^x$/],
    ['mysqld starting', serving(4, 'voter', ''), fourth({ role: 'recovering' }), /its MySQL is recovering/],
    ['mysqld behind', serving(4, 'voter', ''), fourth({ executed: 1 }), /its MySQL lacks 99 instances/],
    ['to be cloned', serving(4, 'voter', ''), fourth({ needsClone: 'lacks a' }), /lacks a; it has to be cloned/],
    ['no agent yet', serving(4, 'voter', ''), fourth({ role: null }), /agent has not reported/],
    ['all there', serving(4, 'voter', ''), fourth({}), /^$/],
    [
      'a witness has no agent',
      serving(4, 'witness', ''),
      three(witness, 3, { 4: up(4, witness, 3, { role: null }) }),
      /^$/,
    ],
    ['the master to be removed', removed(1, ''), three(), /hands over first/],
    ['another one', removed(3, ''), three(), /asked of the master/],
    ['removed', removed(3, ''), three([seat(1), seat(2)], 2), /^$/],
    ['removed, but nobody answers', removed(3, ''), seen({ 1: DOWN, 2: DOWN }), /asked/],
    ['replaced', replaced(3, 4, ''), three([seat(1), seat(2), seat(4)], 3), /^$/],
    ['to be replaced', replaced(3, 4, ''), learner({ appliedIndex: 1 }), /node 4 catches up: its log lacks 99/],
    ['another rule', elected(3, 'never', ''), three(), /becomes never/],
    ['the rule it has', elected(3, 'neutral', ''), three(), /^$/],
  ] as readonly (readonly [string, Goal, Seen, RegExp])[])('%s', (_, goal, now, missing) => {
    expect(goal.missing(now)).toMatch(missing);
  });

  it('what will never be is an error that says what to do', () => {
    const membership = { kind: 'removed', election: 'neutral', standRefusal: '', standInMs: 0, handOverTo: 0 } as const;
    const gone = three(THREE, 2, { 4: up(4, THREE, 2, { membership }) });
    expect(() => seated(4, '').missing(gone)).toThrow(
      expect.objectContaining({ hint: expect.stringMatching(/empty/) }),
    );
    expect(() => added(3, 'witness', 'neutral', '').missing(three())).toThrow(/it is a voter already/);
    expect(() => replaced(3, 4, '').missing(three([seat(1), seat(2)], 2))).toThrow(/not a member/);
    expect(() => elected(9, 'never', '').missing(three())).toThrow(/members: 1, 2, 3/);
  });
});

/** Time passes as fast as it is waited for. */
class FastClock implements Clock {
  #now = 0;
  now = () => monoMs(this.#now);
  wall = () => this.#now;
  soon = (work: () => void) => queueMicrotask(work);
  after = (ms: number, work: () => void) => {
    const at = this.#now + ms;
    const timer = setImmediate(() => {
      this.#now = Math.max(this.#now, at);
      work();
    });
    return () => clearImmediate(timer);
  };
}

class FakeMembers implements MemberAccess {
  state: Seen;
  asked: number[] = [];
  answers: (Partial<MemberOutcome> | PhxError)[] = [];
  readonly #changed: Seen;
  readonly #doneAfter: number;
  /** After the call of that number the change is seen. */
  constructor(state: Seen, changed: Seen, doneAfter: number) {
    this.state = state;
    this.#changed = changed;
    this.#doneAfter = doneAfter;
  }
  async look(): Promise<Seen> {
    return this.state;
  }
  async change(node: NodeId, _change: MemberChange): Promise<MemberOutcome> {
    this.asked.push(node);
    if (this.asked.length >= this.#doneAfter) this.state = this.#changed;
    const answer = this.answers.shift() ?? { accepted: true };
    if (answer instanceof PhxError) throw answer;
    const outcome = { accepted: false, code: '', reason: '', instance: 0, epoch: 0, appendSeq: 0 };
    return { ...outcome, configVersion: 0, voters: 3, ask: 0, ...answer };
  }
}

describe('a change is asked for until the log shows it', () => {
  const after = three([seat(1), seat(2)], 2);
  const goal = removed(3, 'ask again');
  const run = (access: MemberAccess, what: Goal = goal, seconds = 60) => {
    const said: string[] = [];
    const done = reach(what, {
      access,
      clock: new FastClock(),
      deadline: seconds * 1000,
      say: (line) => said.push(line),
    });
    return done.then((now) => ({ now, said }));
  };

  it('nothing is asked for what is so already', async () => {
    const members = new FakeMembers(after, after, 1);
    expect((await run(members)).said).toEqual([]);
    expect(members.asked).toEqual([]);
  });

  it('asks the master, then whom it names, again when busy, and believes the log where the answer was lost', async () => {
    const members = new FakeMembers(three(), after, 4);
    members.answers = [
      { code: 'NOT_LEADER', reason: 'handed over', ask: 2 },
      { code: 'BUSY', reason: 'another change' },
      { code: 'NO_QUORUM', reason: 'no majority' },
      new PhxError('TIMEOUT', 'no answer'),
    ];
    expect((await run(members)).now).toBe(after);
    expect(members.asked).toEqual([1, 2, 1, 1]);
  });

  it('a refusal counts when it stands', async () => {
    const members = new FakeMembers(three(), after, Number.POSITIVE_INFINITY);
    members.answers = Array.from({ length: 99 }, () => ({ code: 'MEMBER_REFUSED', reason: 'no working majority' }));
    await expect(run(members)).rejects.toMatchObject({ code: 'MEMBER_REFUSED', message: /no working majority/ });
    expect(members.asked.length).toBeGreaterThan(5);
  });

  it('says what is missing when time is over', async () => {
    const members = new FakeMembers(three(), after, Number.POSITIVE_INFINITY);
    members.answers = Array.from({ length: 999 }, () => ({ code: 'BUSY', reason: 'binding a fresh store' }));
    await expect(run(members)).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: 'remove node 3: not in time: is asked of the master (last answer: binding a fresh store)',
      hint: 'ask again',
    });
  });

  it('does not wait for a cluster that is not there', async () => {
    const members = new FakeMembers(seen({ 1: DOWN, 2: DOWN }), after, 1);
    await expect(run(members, goal, 6000)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: /connection refused/,
    });
    expect(members.asked).toEqual([]);
  });

  it('shows progress while a call takes its time', async () => {
    const behind = (appliedIndex: number) =>
      three(FOUR, 2, { 4: up(4, FOUR, 2, { voting: false, votingReason: 'learner', appliedIndex }) });
    const voter = [...THREE, seat(4)];
    const members = new FakeMembers(behind(10), three(voter, 3), 1);
    let looks = 0;
    const looking: MemberAccess = {
      look: async () => (looks < 4 ? behind(10 + 20 * looks++) : members.look()),
      change: (node, change) =>
        new Promise((resolve) => {
          const again = (): void => {
            if (looks < 4) setImmediate(again);
            else resolve(members.change(node, change));
          };
          again();
        }),
    };
    const { said } = await run(looking, added(4, 'voter', 'neutral', ''));
    expect(said).toEqual([90, 70, 50, 30].map((left) => `add node 4: catches up: its log lacks ${left} instances`));
  });
});

describe('whom to ask', () => {
  it.each([
    ['the master of the newest epoch', three(), 1],
    [
      'not a master that was deposed',
      seen({ 1: up(1, THREE, 1, MASTER), 2: up(2, THREE, 1, { epoch: 5, master: 2 }) }),
      2,
    ],
    [
      'the proposer when nobody is master',
      seen({ 1: up(1, THREE, 1, { open: false }), 3: up(3, THREE, 1, { open: false, leader: true }) }),
      3,
    ],
    [
      'whoever votes, else',
      seen({ 1: up(1, THREE, 1, { open: false, voting: false }), 2: up(2, THREE, 1, { open: false }) }),
      2,
    ],
    ['nobody', seen({ 1: DOWN }), null],
  ] as readonly (readonly [string, Seen, number | null])[])('%s', (_, now, node) => {
    expect(whomToAsk(now)).toBe(node);
  });
});

describe('the list', () => {
  it('has the agreed names, and a line for each member', () => {
    const now = three(FOUR, 7, {
      3: DOWN,
      4: up(4, FOUR, 7, { voting: false, votingReason: 'a learner', executed: 90 }),
    });
    const list = memberList(now);
    expect(list).toMatchObject({ configVersion: 7, voters: 3, mayLose: 1 });
    expect(list.members.map(({ node, voting, mysqlBehind }) => [node, voting, mysqlBehind])).toEqual([
      [1, true, 0],
      [2, true, 0],
      [3, null, null],
      [4, false, 10],
    ]);
    const names = 'node kind election storeId host rpc rw ro dump mysql reachable voting logBehind mysqlBehind reason';
    for (const member of list.members) expect(Object.keys(member)).toEqual(names.split(' '));
    const text = listText(now);
    expect(text).toContain('configuration 7: 3 vote, 1 of them may be lost');
    expect(text).toMatch(/3 +voter +neutral +\? +127\.0\.0\.1:17020 +- +- +connection refused/);
    expect(text).toMatch(/4 +learner +- +no +127\.0\.0\.1:17030 +0 +10/);
  });
});

describe('the nodes of a directory', () => {
  it('get ids and ports nobody had', () => {
    const { cluster, node } = withNewNode(planCluster(3, 100), []);
    expect(node).toMatchObject({ id: 4, rw: 54451, rpc: 17130 });
    const without = withoutNode(cluster, 4);
    expect(without.removed).toEqual([4]);
    expect(withNewNode(without, []).node.id).toBe(5);
    expect(withNewNode(without, [9]).node.id).toBe(10);
    expect(() => withNewNode(without, [255])).toThrow(/255 is the highest node id/);
  });
});
