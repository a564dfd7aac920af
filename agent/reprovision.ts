import { delay, withDeadline } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { ruleHolds } from '../base/rules.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { View } from '../proto/binlogsvr-types.ts';
import { chooseDonor, type Donor } from './clone-donor.ts';
import type { CloneHost } from './clone-host.ts';
import { type AgentContext, NotYet, Unfit } from './context.ts';
import { killAndReap } from './kill-and-reap.ts';
import { startMysqld, takeDown } from './recovery.ts';
import {
  type CloneProgress,
  describeProgress,
  dispose,
  pauseAfter,
  progressKey,
  type ReprovisionFacts,
  type ReprovisionJournal,
  type ReprovisionKind,
  type ReprovisionPolicy,
  stallMs,
} from './reprovision-plan.ts';

const BARRIER_MS_MAX = 3_000;
/** Nothing was touched: asked again after this. */
const REFUSED_MS = 2_000;
const LOOK_MS = 1_000;
const POLL_MS = 250;
/** A donor that says nothing for so long is given up. */
const DONOR_SILENT_MS_MAX = 5_000;
/** A server that holds a complete copy ends by itself; a large buffer pool takes its time. */
const END_MS_MAX = 60_000;
/** A complete copy that does not become a replica after so many starts is thrown away. */
const STARTS_MAX = 3;

const STATEMENT_MS_MAX = 5_000;
const USER_SCHEMAS = `SELECT COUNT(*) AS \`schemas\` FROM information_schema.schemata
  WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')`;

export type ReprovisionOptions = Readonly<{ host: CloneHost; policy: ReprovisionPolicy }>;

/** Takes this node's data anew from another node, by the plan of reprovision-plan.ts. Runs as one action of the agent. */
export class Reprovisioner {
  readonly #host: CloneHost;
  readonly #policy: ReprovisionPolicy;
  #journal: ReprovisionJournal | null = null;
  readonly #failures = new Map<number, number>();
  #said = '';
  #notBefore = 0;
  #starts = 0;

  constructor({ host, policy }: ReprovisionOptions) {
    this.#host = host;
    this.#policy = policy;
  }

  /** What an agent before this one left. @throws PhxError STORE_CORRUPT */
  async load(): Promise<void> {
    this.#journal = await this.#host.readJournal();
  }

  facts(now: number): ReprovisionFacts {
    return {
      mode: this.#policy.mode,
      underWay: this.#journal !== null && this.#journal.step !== 'settle',
      retryInMs: Math.max(0, this.#notBefore - now),
      said: this.#said,
    };
  }

  get mysqlVersion(): string {
    return this.#host.mysqlVersion;
  }

  /** The GTIDs a copy under way began with, until it has settled; '' = none is. */
  get base(): string {
    return this.#journal?.base ?? '';
  }

  /** Begins, or goes on with what was begun. Throws NotYet with the reason; `facts` then say when to come again. */
  async run(context: AgentContext, kind: ReprovisionKind, reason: string): Promise<void> {
    const { clock, log } = context;
    try {
      if (this.#journal === null) await this.#begin(context, kind, reason);
      else if (this.#journal.step === 'settle')
        await this.#again(`the copy from node ${this.#journal.donor}: ${reason}`);
      if (this.#journal?.step === 'aside') await this.#clear(context, this.#journal);
      await this.#copy(context, this.#journal as ReprovisionJournal);
      this.#said = '';
    } catch (error) {
      const text = reasonOf(error);
      const failed = error instanceof CopyFailed ? this.#failed(error.donor) : 0;
      const pauseMs = failed > 0 ? pauseAfter(failed) : REFUSED_MS;
      this.#notBefore = clock.now() + pauseMs;
      this.#said = failed > 0 ? `copy ${failed} failed: ${text}` : text;
      log.warn('re-provisioning: not yet', { reason: text, failed, pauseMs });
      throw error instanceof NotYet || error instanceof CopyFailed ? new NotYet(text) : error;
    }
  }

  /** The node is a replica again: the copy is what it should be, and nothing of the plan is left. */
  async settled(context: AgentContext): Promise<void> {
    const journal = this.#journal;
    if (journal?.step !== 'settle') return;
    const executed = GtidSet.parse(context.watch.probe?.gtidExecuted ?? '');
    // What the donor held prepared, mysqld rolled back at its start, its GTIDs too: the log sends it (agent/xa.ts).
    const prepared = GtidSet.of(...(context.views.view?.xa?.prepared ?? []).map(({ gtid }) => gtid));
    if (!GtidSet.parse(journal.base).subtract(prepared).isSubsetOf(executed)) {
      throw new Unfit(`the copy from node ${journal.donor} lacks what that had executed`, 'reprovision');
    }
    await this.#host.removeJournal();
    this.#journal = null;
    this.#failures.clear();
    this.#starts = 0;
    context.log.info('re-provisioned', { donor: journal.donor, attempts: journal.attempts, reason: journal.reason });
  }

  /** mysqld did not come up. A copy it cannot be started with is made again. */
  async startFailed(): Promise<void> {
    const journal = this.#journal;
    if (journal?.step !== 'settle') return;
    this.#starts += 1;
    if (this.#starts < STARTS_MAX) return;
    this.#failed(journal.donor);
    await this.#again(`mysqld does not start with the copy from node ${journal.donor}`);
  }

  async #begin(context: AgentContext, suspected: ReprovisionKind, reason: string): Promise<void> {
    const { log, clock } = context;
    const kind = suspected === 'behind' && (await isEmpty(context)) ? 'empty' : suspected;
    const { donor, refusal } = await this.#findDonor(context, kind !== 'empty');
    if (donor === null && ruleHolds('never-the-last-copy')) {
      throw new NotYet(`${reason}; its data stays as it is, because nobody else is known to have it: ${refusal}`);
    }
    const facts = await this.#host.measure();
    const disposal = dispose(kind, this.#policy.divergedData, facts);
    if (disposal.do === 'refuse') throw new NotYet(`${reason}; ${disposal.reason}`);
    const aside = disposal.do === 'set-aside' ? `set-aside-${stamp(clock.wall())}` : null;
    log.warn('re-provisioning this node', { kind, reason, donor: donor?.node, aside, ...facts });
    await takeDown(context, `re-provisions: ${reason}`);
    await this.#write({ version: 1, step: 'aside', reason, aside, donor: 0, base: '', attempts: 0 });
  }

  async #clear(context: AgentContext, journal: ReprovisionJournal): Promise<void> {
    await takeDown(context, `re-provisions: ${journal.reason}`);
    if (journal.aside === null) {
      context.say('erases the old data');
      await this.#host.erase();
    } else {
      context.say(`sets the old data aside: ${journal.aside}`);
      await this.#host.setAside(journal.aside, journal.reason);
      await this.#host.erase(); // what was planned for it
    }
    await this.#write({ ...journal, step: 'clone' });
  }

  async #copy(context: AgentContext, begun: ReprovisionJournal): Promise<void> {
    const { server, views, clock, log } = context;
    const { donor, refusal } = await this.#findDonor(context, false);
    if (donor === null) throw new NotYet(`has no data yet (${begun.reason}); nobody to copy it from: ${refusal}`);
    const attempts = begun.attempts + 1;
    const what = `copies its data from node ${donor.node} (attempt ${attempts}): ${begun.reason}`;
    await takeDown(context, what);
    await this.#write({ ...begun, donor: donor.node, base: donor.gtidExecuted, attempts });
    // With this report the log behind the base is kept here; before it, some may have been purged.
    const view = await views.refresh().catch((error: unknown) => {
      throw new NotYet(`waits for binlogsvr to keep the log: ${reasonOf(error)}`);
    });
    if (!GtidSet.parse(view.purged ?? '').isSubsetOf(GtidSet.parse(donor.gtidExecuted))) {
      throw new NotYet(`node ${donor.node} lacks what the log no longer holds by now`);
    }
    await this.#host.erase();
    await server.ensureDatadir(() => context.say(`creates a fresh data directory; ${what}`));
    const mysqld = await startMysqld(context);
    log.info('cloning', { donor: donor.node, attempt: attempts, base: donor.gtidExecuted });
    const began = clock.now();
    try {
      await this.#clone(context, donor, mysqld.pid);
    } catch (error) {
      throw error instanceof NotYet
        ? error
        : new CopyFailed(donor.node, `clone from node ${donor.node}: ${reasonOf(error)}`);
    } finally {
      this.#host.hangUp();
      await killAndReap({ processes: server.processes, clock, log });
      server.admin.reset();
    }
    this.#starts = 0;
    await this.#write({ ...begun, step: 'settle', donor: donor.node, base: donor.gtidExecuted, attempts });
    log.info('cloned', { donor: donor.node, tookMs: Math.round(clock.now() - began) });
  }

  /** Until the copy is complete and mysqld has ended; throws when it does not get on. */
  async #clone(context: AgentContext, donor: Donor, pid: number): Promise<void> {
    const { clock, server } = context;
    let end: 'copied' | { error: unknown } | null = null;
    this.#host.clone({ host: donor.host, port: donor.port, maxMiBPerS: this.#policy.cloneMaxMiBPerS }).then(
      () => {
        end = 'copied';
      },
      (error: unknown) => {
        end = { error };
      },
    );
    const outcome = (): typeof end => end;
    const began = clock.now();
    let progress: CloneProgress = { stage: '', doneBytes: 0, estimateBytes: 0 };
    let movedAt = began;
    let copyingSince = began;
    const donorCheck = new DonorCheck(this.#host, donor, began);
    while (outcome() === null) {
      await delay(clock, POLL_MS);
      if (context.stopping()) throw new NotYet('the node is being stopped');
      if (outcome() !== null) break;
      const seen = await withDeadline(clock, LOOK_MS, 'clone progress', this.#host.progress()).catch(() => null);
      const now = clock.now();
      if (seen !== null && progressKey(seen) !== progressKey(progress)) {
        if (progress.doneBytes === 0) copyingSince = movedAt;
        progress = seen;
        movedAt = now;
      }
      context.say(describeProgress(donor, progress, now - copyingSince));
      if (now - movedAt > stallMs(donor, progress)) {
        throw new PhxError(
          'TIMEOUT',
          `nothing moved for ${Math.round((now - movedAt) / 1000)} s (${progress.stage || 'not begun'})`,
        );
      }
      const lost = await donorCheck.look(now);
      if (lost !== '' && outcome() === null) throw new PhxError('UNAVAILABLE', lost);
    }
    const ended = outcome();
    if (ended !== null && ended !== 'copied') throw ended.error;
    context.say(`cloned from node ${donor.node}; waits for mysqld to end`);
    const until = clock.now() + END_MS_MAX;
    while (server.processes.current()?.pid === pid && clock.now() < until) await delay(clock, POLL_MS);
  }

  /** Behind a barrier: the log is then known to its end, and a majority is there to go on from it. */
  async #findDonor(context: AgentContext, holdsData: boolean): Promise<ReturnType<typeof chooseDonor>> {
    const { options, views, clock } = context;
    let view: View;
    try {
      const askedAt = clock.now();
      view = await options.client.barrier(BARRIER_MS_MAX);
      views.accept(view, askedAt);
    } catch (error) {
      return { donor: null, refusal: `no majority answers (${reasonOf(error)})` };
    }
    const looks = await this.#host.look();
    return chooseDonor({
      looks,
      mysqlVersion: this.#host.mysqlVersion,
      purged: view.purged ?? '',
      holdsData,
      failures: this.#failures,
    });
  }

  async #again(reason: string): Promise<void> {
    const journal = this.#journal as ReprovisionJournal;
    await this.#write({ ...journal, step: 'clone', reason });
  }

  /** How often copies failed, all together. */
  #failed(donor: number): number {
    this.#failures.set(donor, (this.#failures.get(donor) ?? 0) + 1);
    return [...this.#failures.values()].reduce((sum, each) => sum + each, 0);
  }

  async #write(journal: ReprovisionJournal): Promise<void> {
    await this.#host.writeJournal(journal);
    this.#journal = journal;
  }
}

/** Neither transactions nor tables: there is nothing to keep. */
async function isEmpty({ admin, watch }: AgentContext): Promise<boolean> {
  if (watch.probe === null || watch.probe.gtidExecuted !== '') return false;
  const [rows] = await admin.work([USER_SCHEMAS], STATEMENT_MS_MAX);
  return Number(rows?.[0]?.['schemas']) === 0;
}

class CopyFailed extends Error {
  override readonly name = 'CopyFailed';
  readonly donor: number;
  constructor(donor: number, reason: string) {
    super(reason);
    this.donor = donor;
  }
}

/** A recipient whose donor is gone tries to reach it for five minutes: we look ourselves. */
class DonorCheck {
  readonly #host: CloneHost;
  readonly #donor: Donor;
  #lookedAt: number;
  #heardAt: number;

  constructor(host: CloneHost, donor: Donor, now: number) {
    this.#host = host;
    this.#donor = donor;
    this.#lookedAt = now;
    this.#heardAt = now;
  }

  /** Why the copy cannot become complete, '' if nothing says so. */
  async look(now: number): Promise<string> {
    if (now - this.#lookedAt < LOOK_MS) return '';
    this.#lookedAt = now;
    const look = (await this.#host.look()).find(({ node }) => node === this.#donor.node);
    const agent = look?.answer?.agent ?? null;
    if (agent === null) {
      return now - this.#heardAt > DONOR_SILENT_MS_MAX ? 'its donor is gone' : '';
    }
    this.#heardAt = now;
    return agent.mysqldPid === this.#donor.mysqldPid ? '' : 'the mysqld of its donor ended';
  }
}

/** `20261121T180000Z` */
const stamp = (wallMs: number): string => new Date(wallMs).toISOString().replaceAll(/[:-]|\.\d+/g, '');
