import type { InstanceId, MonoMs } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Applied } from './state-types.ts';

export type Lane = 'lease' | 'data';

/** Values waiting for a free slot, per lane; beyond it a proposal is refused at once. */
export const PROPOSE_WAITERS_MAX = 1024;
/** Bytes of values waiting for a free slot. */
export const PROPOSE_WAITING_BYTES_MAX = 64 * 1024 * 1024;

type Proposal = {
  readonly bytes: Uint8Array;
  readonly deadline: number;
  readonly resolve: (applied: Applied) => void;
  readonly reject: (error: PhxError) => void;
};

/** What the book asks of the replica. */
export type ProposeIn = Readonly<{
  /** Hands the value to the core: its slot, or null if there is none now. */
  propose: (bytes: Uint8Array, lane: Lane) => InstanceId | null;
  /** Leading, or on the way there: worth waiting for a slot. */
  mayWait: () => boolean;
}>;

/**
 * The values this process has proposed and whose fate it awaits. A value is in exactly one of two places:
 * queued (not proposed: may be refused for good) or placed in a slot (only applying that slot tells its fate).
 */
export class Proposals {
  readonly #in: ProposeIn;
  readonly #queues: Record<Lane, Proposal[]> = { lease: [], data: [] };
  readonly #placed = new Map<InstanceId, Proposal>();
  #queuedBytes = 0;
  #held = false;

  constructor(proposeIn: ProposeIn) {
    this.#in = proposeIn;
  }

  get placed(): number {
    return this.#placed.size;
  }

  submit(bytes: Uint8Array, lane: Lane, deadline: number): Promise<Applied> {
    return new Promise((resolve, reject) => {
      const proposal = { bytes, deadline, resolve, reject };
      const queue = this.#queues[lane];
      // Order within a lane is the caller's order: nobody overtakes those who wait.
      if (!this.#held && queue.length === 0 && this.#place(proposal, lane)) return;
      if (!this.#in.mayWait()) {
        reject(new PhxError('NOT_LEADER', 'propose: this node is not the proposer'));
      } else if (
        queue.length >= PROPOSE_WAITERS_MAX ||
        (queue.length > 0 && this.#queuedBytes + bytes.length > PROPOSE_WAITING_BYTES_MAX)
      ) {
        reject(new PhxError('BUSY', `propose: ${queue.length} values of ${this.#queuedBytes} bytes wait already`));
      } else {
        queue.push(proposal);
        this.#queuedBytes += bytes.length;
      }
    });
  }

  /** At once and past the hold, or not at all. */
  submitAlone(bytes: Uint8Array, deadline: number): Promise<Applied> {
    return new Promise((resolve, reject) => {
      if (this.#place({ bytes, deadline, resolve, reject }, 'lease')) return;
      reject(new PhxError('NOT_LEADER', 'propose: this node is not the proposer, or not ready to propose'));
    });
  }

  /** A slot may have become free, or leadership changed. */
  pump(): void {
    for (const lane of ['lease', 'data'] as const) {
      const queue = this.#queues[lane];
      if (queue.length === 0) continue;
      if (!this.#in.mayWait()) {
        this.#refuse(queue, new PhxError('NOT_LEADER', 'propose: lost the leadership before the value was proposed'));
        continue;
      }
      let taken = 0;
      while (!this.#held && taken < queue.length && this.#place(queue[taken] as Proposal, lane)) {
        this.#queuedBytes -= (queue[taken] as Proposal).bytes.length;
        taken += 1;
      }
      queue.splice(0, taken);
    }
  }

  /** While held, nothing new is proposed through the book (a membership change wants an empty pipeline). */
  hold(held: boolean): void {
    this.#held = held;
    if (!held) this.pump();
  }

  /** The slot was applied with these bytes. */
  applied(bytes: Uint8Array, applied: Applied): void {
    const proposal = this.#placed.get(applied.instance);
    if (proposal === undefined) return;
    this.#placed.delete(applied.instance);
    if (proposal.bytes === bytes || Buffer.compare(proposal.bytes, bytes) === 0) proposal.resolve(applied);
    else proposal.reject(new PhxError('NOT_LEADER', `propose: instance ${applied.instance} took another value`));
  }

  expire(now: MonoMs): void {
    for (const lane of ['lease', 'data'] as const) {
      const queue = this.#queues[lane];
      // Only from the front: a value must not be dropped from between two that wait.
      let late = 0;
      while (late < queue.length && (queue[late] as Proposal).deadline <= now) late += 1;
      if (late > 0) this.#refuse(queue.splice(0, late), new PhxError('BUSY', 'propose: no free slot in time'));
    }
    for (const [instance, proposal] of this.#placed) {
      if (proposal.deadline > now) continue;
      this.#placed.delete(instance);
      proposal.reject(new PhxError('TIMEOUT', `propose: instance ${instance} not applied in time, outcome unknown`));
    }
  }

  close(): void {
    const error = new PhxError('UNAVAILABLE', 'propose: the replica is closing, outcome unknown');
    for (const proposal of this.#placed.values()) proposal.reject(error);
    this.#placed.clear();
    for (const lane of ['lease', 'data'] as const) this.#refuse(this.#queues[lane], error);
  }

  #place(proposal: Proposal, lane: Lane): boolean {
    const instance = this.#in.propose(proposal.bytes, lane);
    if (instance === null) return false;
    this.#placed.set(instance, proposal);
    return true;
  }

  #refuse(queue: Proposal[], error: PhxError): void {
    for (const proposal of queue.splice(0)) {
      this.#queuedBytes -= proposal.bytes.length;
      proposal.reject(error);
    }
  }
}
