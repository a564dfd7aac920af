import type { NodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { Clock, Random } from '../base/ports.ts';
import type { Conditions } from './conditions.ts';
import type { Message } from './paxos/types.ts';
import type { ReplicatedState } from './state-types.ts';

type NackReason = Extract<Message, { kind: 'nack' }>['reason'];

/** A campaign without an answer is looked at again after this. */
const CAMPAIGN_MS = 1000;
/** A campaign in which nothing is applied for so long has silent peers: whoever still wants to lead begins another one. */
const CAMPAIGN_MS_MAX = 2000;
/** After a lost campaign: random up to this, so that two candidates do not meet for ever. */
const CAMPAIGN_JITTER_MS = 150;
/** The master regains the proposer's role within this, as long as nobody may take over by the clock. */
const AUTO_CAMPAIGN_JITTER_MS = 50;
/** ... and leaves others that much room, and as much again at random, once they may. */
const AUTO_CAMPAIGN_BACKOFF_MS = 300;

/** What a candidate knows and can do. */
export type CampaignPort = Readonly<{
  self: NodeId;
  clock: Clock;
  random: Random;
  conditions: Conditions;
  state: () => ReplicatedState;
  leading: () => boolean;
  campaigning: () => boolean;
  /** Enough acceptors are connected. */
  quorum: () => boolean;
  /** Why this node may not vote, or null. */
  voteless: () => string | null;
  takeoverInMs: () => number;
  /** Begins a phase 1. */
  campaign: () => void;
  /** Ends a campaign; who leads goes on leading. */
  giveUp: () => void;
}>;

/** Makes this node the distinguished proposer: when asked, and by itself while it is the master of the open epoch. */
export class Campaigner {
  readonly #p: CampaignPort;
  #autoAt: number | null = null;
  #lastNack: NackReason | null = null;
  /** When the campaign began, or something was last applied in it, and up to where. */
  #campaign: Readonly<{ at: number; appliedIndex: number }> | null = null;
  /** Calls of lead() under way. */
  #wanting = 0;

  constructor(port: CampaignPort) {
    this.#p = port;
  }

  /** @throws PhxError LEASE_RUNS, NO_QUORUM, TIMEOUT; UNAVAILABLE on close */
  async lead(timeoutMs: number): Promise<void> {
    this.#wanting += 1;
    try {
      await this.#lead(timeoutMs);
    } finally {
      this.#wanting -= 1;
      // A prepare that is repeated for ever would depose somebody long after anyone wanted it.
      if (this.#wanting === 0 && !this.#isMaster()) this.#p.giveUp();
    }
  }

  async #lead(timeoutMs: number): Promise<void> {
    const { clock, random, conditions, leading, campaigning } = this.#p;
    const deadline = clock.now() + timeoutMs;
    for (;;) {
      if (leading()) return;
      const voteless = this.#p.voteless();
      if (voteless !== null) throw new PhxError('NO_QUORUM', `lead: this node may not vote: ${voteless}`);
      const leaseLeft = this.#leaseOfAnother();
      if (leaseLeft > 0) {
        const { master } = this.#p.state();
        throw new PhxError('LEASE_RUNS', `lead: the lease of node ${master} runs for up to ${Math.ceil(leaseLeft)} ms`);
      }
      if (clock.now() >= deadline) throw this.#failed(timeoutMs);
      if (!campaigning()) this.#begin();
      await conditions.wait(() => leading() || !campaigning(), Math.min(deadline, clock.now() + CAMPAIGN_MS));
      if (!leading() && !campaigning()) {
        const pause = clock.now() + 10 + random.below(CAMPAIGN_JITTER_MS);
        await conditions.wait(leading, Math.min(deadline, pause));
      }
    }
  }

  refused(reason: NackReason): void {
    this.#lastNack = reason;
  }

  /** The master of the open epoch has to be the proposer, or its appends and renewals go nowhere. */
  tick(now: number): void {
    this.#endSilent(now);
    const { self, random, state, leading, campaigning, quorum, voteless, takeoverInMs } = this.#p;
    const { open, master } = state();
    const wanted = open && master === self && voteless() === null && quorum();
    if (!wanted || leading() || campaigning()) {
      this.#autoAt = null;
      return;
    }
    this.#autoAt ??=
      now +
      (takeoverInMs() > 0
        ? random.below(AUTO_CAMPAIGN_JITTER_MS)
        : AUTO_CAMPAIGN_BACKOFF_MS + random.below(AUTO_CAMPAIGN_BACKOFF_MS));
    if (now < this.#autoAt) return;
    this.#autoAt = null;
    this.#begin();
  }

  #endSilent(now: number): void {
    const { appliedIndex } = this.#p.state();
    if (!this.#p.campaigning()) this.#campaign = null;
    else if (this.#campaign?.appliedIndex !== appliedIndex) this.#campaign = { at: now, appliedIndex };
    else if (now - this.#campaign.at >= CAMPAIGN_MS_MAX) {
      this.#campaign = null;
      this.#p.giveUp();
    }
  }

  #isMaster(): boolean {
    const { open, master } = this.#p.state();
    return open && master === this.#p.self;
  }

  #begin(): void {
    this.#lastNack = null;
    this.#p.campaign();
  }

  #leaseOfAnother(): number {
    const { open, master } = this.#p.state();
    return open && master !== this.#p.self ? this.#p.takeoverInMs() : 0;
  }

  #failed(timeoutMs: number): PhxError {
    if (!this.#p.quorum()) return new PhxError('NO_QUORUM', 'lead: no majority of the acceptors is connected');
    if (this.#lastNack === 'lease') return new PhxError('LEASE_RUNS', "lead: by a peer's clock the lease still runs");
    return new PhxError('TIMEOUT', `lead: not the proposer within ${timeoutMs} ms (last refusal: ${this.#lastNack})`);
  }
}
