import { instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { judgeMembership, votersOf } from './membership.ts';
import type { Applied, ReplicatedState } from './state-types.ts';
import type { ReplacerPort } from './store-replacer.ts';
import type { LogValue, Member, MembershipValue } from './values.ts';

/** The pipeline is held at most twice this long before the change is proposed. */
const HOLD_MS = 400;
/** Those who lack something are asked this often how far they are. */
const ASK_MS = 20;

export type VoterChangePort = Omit<ReplacerPort, 'propose'> &
  Readonly<{
    /** Proposes past the hold: its slot, or null. */
    proposeNow: ReplacerPort['propose'];
    /** Proposes past the hold and tells what became of it. */
    submit: (value: LogValue, deadline: number) => Promise<Applied>;
  }>;

/**
 * Makes one change of the voters without stalling appends for long: first what can be known without holding anything,
 * then nothing new is proposed until the change is applied (protocol-findings 5), and it is proposed only when a majority
 * of the voters there will be has everything, so that they can go on at once.
 */
export class VoterChange {
  readonly #p: VoterChangePort;

  constructor(port: VoterChangePort) {
    this.#p = port;
  }

  /** @throws PhxError MEMBER_REFUSED, NOT_SUCCESSOR, NOT_LEADER, BUSY: nothing was done; TIMEOUT: unknown */
  async make(build: (state: ReplicatedState) => LogValue, deadline: number): Promise<Applied> {
    const { clock, conditions, leading, chosenUpTo, inFlight, ask, hold } = this.#p;
    const until = (ms: number): number => Math.min(deadline, clock.now() + ms);
    const value = build(this.#p.state());
    const voters = this.#votersAfter(value);
    this.#assertWorking(voters);
    hold(true);
    try {
      await conditions.wait(() => inFlight() === 0 || !leading(), until(HOLD_MS));
      if (leading() && inFlight() > 0) throw new PhxError('BUSY', 'what is under way did not end in time: ask again');
      const upTo = chosenUpTo();
      const holders = (): number => voters.filter((each) => this.#holds(each, upTo)).length;
      const end = until(HOLD_MS);
      const enough = (): boolean => holders() * 2 > voters.length || !leading();
      // Asked again and again: the word that it is chosen, or the disk, may be slower than the question.
      while (!enough() && clock.now() < end) {
        for (const each of voters) if (!this.#holds(each, upTo)) ask(each.node);
        await conditions.wait(enough, Math.min(end, clock.now() + ASK_MS));
      }
      if (!leading()) throw new PhxError('NOT_LEADER', 'this node ceased to lead before the change was proposed');
      if (holders() * 2 <= voters.length) {
        throw new PhxError('BUSY', `only ${holders()} of the ${voters.length} voters there would be have caught up`);
      }
      return await this.#p.submit(value, deadline);
    } finally {
      hold(false);
    }
  }

  /** What the apply rule would refuse is refused before anything is held. */
  #votersAfter(value: LogValue): readonly Member[] {
    const state = this.#p.state();
    const verdict = judgeMembership(state, instanceId(state.appliedIndex + 1), value as MembershipValue);
    if ('code' in verdict) throw new PhxError(verdict.code, verdict.reason);
    return votersOf(verdict.change.members ?? state.members);
  }

  #assertWorking(voters: readonly Member[]): void {
    const up = voters.filter((each) => this.#isUp(each));
    if (up.length * 2 > voters.length) return;
    const reason = `of the ${voters.length} voters there would be only ${up.length} are connected: no working majority`;
    throw new PhxError('MEMBER_REFUSED', reason);
  }

  #isUp({ node, storeId }: Member): boolean {
    return node === this.#p.self || this.#p.storeOf(node) === storeId;
  }

  #holds(member: Member, upTo: number): boolean {
    return this.#isUp(member) && (member.node === this.#p.self || this.#p.peerChosen(member.node) >= upTo);
  }
}
