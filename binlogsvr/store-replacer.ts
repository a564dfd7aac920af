import type { InstanceId, NodeId } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { Conditions } from './conditions.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogValue, Member } from './values.ts';

/** A fresh store further behind than this is not worth stopping the pipeline for yet. */
const LAG_MAX = 64;
/** The pipeline is held at most twice this long. */
const HOLD_MS = 500;
const RETRY_MS = 2000;

export type ReplacerPort = Readonly<{
  self: NodeId;
  clock: Clock;
  log: Logger;
  conditions: Conditions;
  state: () => ReplicatedState;
  leading: () => boolean;
  chosenUpTo: () => number;
  /** Own proposals under way. */
  inFlight: () => number;
  /** Store id of the peer's present connection, or null. */
  storeOf: (node: NodeId) => string | null;
  /** How far the store of that connection said it is, durably. */
  peerChosen: (node: NodeId) => number;
  /** Makes the peer say how far it is. */
  ask: (node: NodeId) => void;
  /** Nothing new is proposed while held. */
  hold: (held: boolean) => void;
  /** Proposes past the hold. */
  propose: (value: LogValue) => InstanceId | null;
}>;

/** On the leader: binds a node's fresh store as its acceptor once that has caught up (protocol-findings 6). */
export class StoreReplacer {
  readonly #p: ReplacerPort;
  #busy = false;
  #notBefore = 0;

  constructor(port: ReplacerPort) {
    this.#p = port;
  }

  get busy(): boolean {
    return this.#busy;
  }

  tick(now: number): void {
    const { self, state, leading, storeOf, peerChosen, chosenUpTo } = this.#p;
    if (!leading() || this.#busy || now < this.#notBefore) return;
    for (const member of state().members) {
      const fresh = storeOf(member.node);
      if (fresh === null || member.node === self || fresh === member.storeId) continue;
      if (peerChosen(member.node) + LAG_MAX < chosenUpTo()) continue;
      this.#busy = true;
      void this.#replace(member, fresh)
        .catch((error: unknown) => {
          this.#p.log.warn('binding a fresh store failed', { node: member.node, reason: reasonOf(error) });
        })
        .finally(() => {
          this.#busy = false;
          this.#notBefore = this.#p.clock.now() + RETRY_MS;
        });
      return;
    }
  }

  /**
   * Anything chosen so far may have been chosen by the vote of the lost store: the fresh one must hold all of it before
   * it counts. So the pipeline is drained, and the fresh store asked until it has everything.
   */
  async #replace(member: Member, newStoreId: string): Promise<void> {
    const { clock, conditions, state, leading, chosenUpTo, inFlight, storeOf, peerChosen, ask, hold, log } = this.#p;
    const { node, storeId: oldStoreId } = member;
    hold(true);
    try {
      await conditions.wait(() => inFlight() === 0 || !leading(), clock.now() + HOLD_MS);
      if (inFlight() > 0 || !leading()) return;
      const upTo = chosenUpTo();
      const caughtUp = (): boolean => peerChosen(node) >= upTo;
      if (!caughtUp()) ask(node);
      if (!(await conditions.wait(caughtUp, clock.now() + HOLD_MS))) return;
      if (storeOf(node) !== newStoreId || chosenUpTo() !== upTo || inFlight() > 0 || !leading()) return;
      const { configVersion } = state();
      const instance = this.#p.propose({ kind: 'replaceStore', node, oldStoreId, newStoreId, configVersion });
      if (instance === null) return;
      log.info('binding a fresh store', { node, oldStoreId, newStoreId, instance });
      await conditions.wait(() => state().appliedIndex >= instance, clock.now() + RETRY_MS);
    } finally {
      hold(false);
    }
  }
}
