import { z } from 'zod';
import { type InstanceId, instanceId, nodeId } from '../base/brands.ts';
import { sameStores, votersOf } from './membership.ts';
import type { ReplicatedState } from './state-types.ts';
import type { Member } from './values.ts';

export const VOTER_SETS_META = 'voter-sets';
/** Older sets are forgotten: a value they decided is then proven only by who knows it to be chosen. */
export const VOTER_SETS_MAX = 8;

type VoterSet = Readonly<{ since: InstanceId; voters: readonly Member[] }>;

const SetsJson = z.array(
  z.object({
    since: z.number().int().nonnegative().transform(instanceId),
    voters: z.array(z.object({ node: z.number().int().transform(nodeId), storeId: z.string() })),
  }),
);

/**
 * Who the acceptors were, instance by instance: the state knows only the present ones. A set decides what lies behind the
 * instance that made it, up to and including the one that made the next.
 *
 *   since 0         since c                    since d
 *   founders        the set c made             the set d made
 *   1 ........... c c+1 .................... d d+1 ...
 */
export class VoterSets {
  #sets: readonly VoterSet[] = [];

  /** `json`: what json() said once; the part of it that leads up to `state` counts. */
  static from(json: string | null, state: ReplicatedState): VoterSets {
    const sets = new VoterSets();
    const known = json === null ? [] : SetsJson.parse(JSON.parse(json));
    const present = known.findIndex(({ since, voters }) => {
      return since === state.membersSince && sameStores(voters, votersOf(state.members));
    });
    if (present >= 0) sets.#sets = known.slice(0, present + 1);
    else sets.restart(state);
    return sets;
  }

  /** After each value that may have changed the voters, in the order of the log. True if it did. */
  note(state: ReplicatedState): boolean {
    if (state.baseline === null || this.#sets.at(-1)?.since === state.membersSince) return false;
    const voters = votersOf(state.members).map(({ node, storeId }) => ({ node, storeId }));
    this.#sets = [...this.#sets, { since: state.membersSince, voters }].slice(-VOTER_SETS_MAX);
    return true;
  }

  /** A snapshot was installed: nothing is known of the sets before the present one. */
  restart(state: ReplicatedState): void {
    this.#sets = [];
    this.note(state);
  }

  /** The acceptors that decided `instance`, which is applied; null if no longer known. */
  at(instance: InstanceId): readonly Member[] | null {
    return this.#sets.findLast(({ since }) => since < instance)?.voters ?? null;
  }

  json(): string {
    return JSON.stringify(this.#sets);
  }
}
