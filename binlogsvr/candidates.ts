import type { InstanceId, MonoMs, NodeId } from '../base/brands.ts';
import type { Clock } from '../base/ports.ts';
import type { View } from '../proto/binlogsvr-types.ts';
import { AppendTimes } from './append-times.ts';
import { isElectable } from './membership.ts';
import type { Progress } from './peer-transport.ts';
import type { Applied, ReplicatedState } from './state-types.ts';

/** A word older than this says nothing about now; one comes with every report of an agent (200 ms). */
export const PROGRESS_MS_MAX = 2_000;
/** After a large transaction was applied here, until an agent elsewhere has looked how far it is. */
const LOOK_MS = 1_000;

export type CandidatesPort = Readonly<{
  self: NodeId;
  clock: Clock;
  state: () => ReplicatedState;
  send: (to: NodeId, message: Progress) => void;
  /** What this node has to say of its own MySQL. */
  own: () => Omit<Progress, 'kind'>;
}>;

/** Who could take over soonest: how far behind it is, and how long it would take to execute the rest; null: not known yet. */
export type Candidate = Readonly<{ node: NodeId; lagMs: number; catchUpMs: number | null }>;

/** Why the node of `view` could not be elected if its master died now; '' if it could, once it has executed what it lacks. */
export function candidacy(view: View): string {
  const { agent, agentAlive, voting, membership, needsClone } = view;
  if (!voting) return 'its store does not vote';
  if (agent === null || !agentAlive) return 'its agent does not report';
  if (agent.role !== 'replica') return `it is ${agent.role}`;
  if (needsClone !== '') return needsClone;
  if (!agent.ioRunning || !agent.sqlRunning) return 'its replication does not run';
  return membership?.standRefusal ?? '';
}

/**
 * How far the nodes are that could take over from this one. Every node tells the master how much of the log its MySQL has
 * executed; how long that is ago, the master reads off its own clock, so that what a node's log lacks counts as well.
 */
export class Candidates {
  readonly #p: CandidatesPort;
  readonly #times = new AppendTimes();
  /** The last transaction that came in chunks. */
  #large: Readonly<{ instance: InstanceId; at: MonoMs }> | null = null;
  readonly #words = new Map<NodeId, Readonly<{ word: Progress; at: MonoMs }>>();

  constructor(port: CandidatesPort) {
    this.#p = port;
  }

  applied({ instance, value, transactions }: Applied): void {
    if (transactions.length === 0) return;
    const at = this.#p.clock.now();
    this.#times.applied(instance, at);
    if (value.kind === 'append' && value.items.some((item) => item.kind === 'part' && !item.first)) {
      this.#large = { instance, at };
    }
  }

  /** There is a large transaction that who has executed up to `executed` has not. */
  hasLargeBeyond(executed: InstanceId): boolean {
    return this.#large !== null && this.#large.instance > executed;
  }

  /** The agent of this node reported. */
  reported(): void {
    const { self, send, state, own } = this.#p;
    const { master } = state();
    if (master !== 0 && master !== self) send(master as NodeId, { kind: 'progress', ...own() });
  }

  heard(from: NodeId, word: Progress): void {
    this.#words.set(from, { word, at: this.#p.clock.now() });
  }

  /** The least-lagged node that may be elected; null: there is none, or this node is not the master. */
  least(): Candidate | null {
    const { self, clock, state } = this.#p;
    const { master, open, members } = state();
    if (!open || master !== self) return null;
    const now = clock.now();
    let least: Candidate | null = null;
    for (const member of members) {
      const heard = this.#words.get(member.node);
      if (member.node === self || !isElectable(member) || heard === undefined) continue;
      const { word, at } = heard;
      if (now - at > PROGRESS_MS_MAX || word.refusal !== '') continue;
      const lagMs = this.#times.lagMs(word.executed, at);
      // What it said before it can have looked at a large transaction says nothing about that.
      const knows = !this.hasLargeBeyond(word.executed) || at - (this.#large?.at ?? at) > LOOK_MS;
      const catchUpMs = knows ? word.catchUpMs : null;
      if (least === null || lagMs < least.lagMs) least = { node: member.node, lagMs, catchUpMs };
    }
    return least;
  }
}
