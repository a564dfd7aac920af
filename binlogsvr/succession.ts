import type { InstanceId, NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock } from '../base/ports.ts';
import type { AgentReport } from '../proto/binlogsvr-types.ts';
import { Conditions } from './conditions.ts';
import type { SuccessorAsk, SuccessorSays } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';

/** The master asks this often; a word comes back at once, and again with each step of the successor's MySQL. */
export const ASK_MS = 20;
/** A question, or a word, older than this says nothing about now. */
export const WORD_MS_MAX = 500;

export type SuccessionPort = Readonly<{
  self: NodeId;
  clock: Clock;
  state: () => ReplicatedState;
  send: (to: NodeId, message: SuccessorAsk | SuccessorSays) => void;
  /** The last report of this node's agent, if it is alive. */
  agent: () => AgentReport | null;
  executed: () => InstanceId;
  lagMs: () => number;
  /** This node's view changed. */
  changed: () => void;
}>;

type Word = SuccessorSays & Readonly<{ at: number }>;

/**
 * What the binlogsvrs of a master and of who may follow it say to each other before a planned hand-over.
 *
 *   master                          successor
 *   asks, again and again ────────► its view shows it; its agent looks at mysqld often and agrees, or says why not
 *        ◄───────────────────────── how far its MySQL is
 *   all executed ─► Transfer in the log
 */
export class Succession {
  readonly #p: SuccessionPort;
  readonly #words = new Map<NodeId, Word>();
  readonly #conditions = new Conditions();
  #asked: Readonly<{ by: NodeId; epoch: number; at: number }> | null = null;

  constructor(port: SuccessionPort) {
    this.#p = port;
  }

  /** The epoch whose master asks whether this node can take over; 0: nobody asks. */
  get takesOver(): number {
    const { state, clock } = this.#p;
    const asked = this.#asked;
    if (asked === null || clock.now() - asked.at > WORD_MS_MAX) return 0;
    const { open, epoch, master } = state();
    return open && epoch === asked.epoch && master === asked.by ? asked.epoch : 0;
  }

  heard(from: NodeId, message: SuccessorAsk | SuccessorSays): void {
    const at = this.#p.clock.now();
    if (message.kind === 'successorAsk') {
      const before = this.takesOver;
      this.#asked = { by: from, epoch: message.epoch, at };
      if (this.takesOver !== before) this.#p.changed();
      this.#answer();
      return;
    }
    this.#words.set(from, { ...message, at });
    this.poke();
  }

  /** The agent of this node reported. */
  reported(): void {
    if (this.takesOver !== 0) this.#answer();
    this.poke();
  }

  poke(): void {
    this.#conditions.poke(this.#p.clock.now());
  }

  close(): void {
    this.#conditions.close();
  }

  /** What `node` last said of taking `epoch` over; null: nothing, lately. */
  wordOf(node: NodeId, epoch: number): SuccessorSays | null {
    const word = this.#words.get(node);
    if (word === undefined || word.epoch !== epoch || this.#p.clock.now() - word.at > WORD_MS_MAX) return null;
    return word;
  }

  /** Asks `nodes` again and again until `holds` or `deadline`: whether it held. */
  async until(nodes: readonly NodeId[], epoch: number, holds: () => boolean, deadline: number): Promise<boolean> {
    const { clock, send } = this.#p;
    for (;;) {
      for (const node of nodes) send(node, { kind: 'successorAsk', epoch });
      const end = Math.min(deadline, clock.now() + ASK_MS);
      const cancel = clock.after(Math.max(0, end - clock.now()), () => this.poke());
      const held = await this.#conditions.wait(holds, end).finally(cancel);
      if (held || clock.now() >= deadline) return held;
    }
  }

  /**
   * The index up to which `to` has executed the log: everything there is.
   * @throws PhxError WRONG_EPOCH, NOT_EXECUTED
   */
  async executedAll(to: NodeId, epoch: number, timeoutMs: number): Promise<InstanceId> {
    const { clock, state, self } = this.#p;
    const ours = (): boolean => state().open && state().epoch === epoch && state().master === self;
    const ready = (): boolean => {
      const word = this.wordOf(to, epoch);
      return word !== null && word.refusal === '' && word.executed >= state().lastTransactionIndex;
    };
    await this.until([to], epoch, () => !ours() || ready(), clock.now() + timeoutMs);
    if (!ours()) throw new PhxError('WRONG_EPOCH', `transfer: epoch ${epoch} is not this node's any more`);
    const word = this.wordOf(to, epoch);
    if (word !== null && ready()) return word.executed;
    throw new PhxError(
      'NOT_EXECUTED',
      `transfer: not within ${Math.round(timeoutMs)} ms: ${this.objection(to, epoch)}`,
    );
  }

  /** Why `node` cannot take `epoch` over at this moment, in words. */
  objection(node: NodeId, epoch: number): string {
    const word = this.wordOf(node, epoch);
    if (word === null) return `node ${node} does not answer`;
    if (word.refusal !== '') return `node ${node}: ${word.refusal}`;
    return `node ${node} has executed ${word.executed} of ${this.#p.state().lastTransactionIndex}`;
  }

  #answer(): void {
    const { send, executed, lagMs } = this.#p;
    const asked = this.#asked;
    if (asked === null) return;
    const { by, epoch } = asked;
    send(by, { kind: 'successorSays', epoch, executed: executed(), lagMs: lagMs(), refusal: this.#refusal(epoch) });
  }

  #refusal(epoch: number): string {
    const { state, agent } = this.#p;
    if (this.takesOver !== epoch) return `it is at epoch ${state().epoch}, not ${epoch}`;
    const report = agent();
    if (report === null) return 'its agent does not report';
    if (report.takesOver === epoch) return '';
    if (report.takeOverObjection) return report.takeOverObjection;
    return `it is ${report.role}, and has not agreed yet`;
  }
}
