import { delay } from '../base/async.ts';
import type { MonoMs } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import { InvariantError, unreachable } from '../base/invariant.ts';
import type { AgentReport, AgentRole } from '../proto/binlogsvr-types.ts';
import { Chores } from './chores.ts';
import { type AgentContext, type AgentOptions, type Cure, Doubt, type Exposure, NotYet, Unfit } from './context.ts';
import { type Action, decide, type Observation } from './decide.ts';
import { closeReaders, demote } from './demotion.ts';
import { DiskProbe } from './disk-probe.ts';
import { handOver } from './hand-over.ts';
import { healthOf } from './health.ts';
import { Lasting } from './lasting.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { describeExit, type MysqldExit } from './mysqld-host.ts';
import { MysqldWatch } from './mysqld-watch.ts';
import { heed } from './outcome.ts';
import { GivenUp, openForWrites, promote } from './promotion.ts';
import { EndedAtStart, openForReads, recover, settle, takeOffline } from './recovery.ts';
import { composeReport, sameExposure } from './report.ts';
import { Reprovisioner } from './reprovision.ts';
import { Rest, retryMs } from './rest.ts';
import { move } from './roles.ts';
import { stopMysqld } from './shutdown.ts';
import { standDelayMs, standTurn } from './stand-turn.ts';
import { storeSetOf } from './store-set.ts';
import { SuspendDetector } from './suspend-detector.ts';
import { TakeOver } from './take-over.ts';
import { Timeline } from './timeline.ts';
import { ViewKeeper } from './view-keeper.ts';
import { watchMode } from './watch-mode.ts';

const TICK_MS = 100;
/** After an action its effect is on its way to the view: asking again at once would only repeat it. */
const SETTLE_MS = 10;
const RPC_MS_MAX = 5_000;
const STOP_ACTION_MS_MAX = 15_000;

export type Agent = Readonly<{
  /** The last report, for tests and logs. */
  report(): AgentReport;
  /** SIGTERM: mysqld is brought down in order, the epoch given back. */
  shutdown(): Promise<void>;
  /** The agent alone ends; mysqld runs on and is adopted by the next one. */
  abandon(): Promise<void>;
}>;

/**
 * Owns the node's mysqld.
 *
 *      views (subscription, reports) ─┐                                  ┌─► recovery, settle   (recovery.ts)
 *      probes (mysqld-watch) ─────────┼─► observe ─► decide ─► perform ──┼─► stand, fence, release, baseline (RPC)
 *      exits (mysqld-server) ─────────┘      ▲     (pure)    one at a    ├─► promotion, demotion
 *                                            └─────────────── time ──────┘
 *      beside it: the lease keeper renews while this node is master, the view keeper reports
 */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const runner = new AgentRunner(options);
  await runner.adopt();
  runner.start();
  return runner;
}

class AgentRunner implements Agent {
  readonly #options: AgentOptions;
  readonly #context: AgentContext;
  readonly #keeper: LeaseKeeper;
  readonly #disk: DiskProbe;
  readonly #suspend: SuspendDetector;
  readonly #rest: Rest;
  readonly #takeOver = new TakeOver();
  readonly #incarnation: number;
  readonly #index: number;
  readonly #reprovisioner: Reprovisioner | null;
  readonly #chores: Chores;
  #role: AgentRole = 'stopped';
  #reason = 'starts';
  #exposure: Exposure = { servingWrites: false, attachEpoch: 0, reachable: true };
  #failure = '';
  #cure: Cure = 'person';
  #masterEpoch = 0;
  /** Until then a proxy may take this node for the master. */
  #trustedUntil: number;
  #stoodUpon = -1;
  /** The last order to hand over: carried out, or why it was undone. */
  #handedOver = { id: 0, undone: '' };
  #attachedAt: MonoMs;
  readonly #emptyLog: Lasting;
  readonly #wanted: Lasting;
  #gtidExecuted = '';
  /** What SET PERSIST left behind in the datadir. */
  #ignored = '';
  /** Nothing is reported about a mysqld that outlived the last agent before it is known what it is. */
  #adopting = false;
  #stopping = false;
  #running: Promise<void> = Promise.resolve();
  #action = new AbortController();
  #failures = 0;
  #stopExits: () => void = () => {};

  constructor(options: AgentOptions) {
    const { clock, log, client, lease, server } = options;
    const { admin } = server;
    this.#options = options;
    this.#rest = new Rest(clock);
    this.#emptyLog = new Lasting(clock);
    this.#wanted = new Lasting(clock);
    const watch = new MysqldWatch({ admin, clock, log, changed: () => this.#onProbe() });
    const views = new ViewKeeper({
      client,
      clock,
      log,
      report: () => (this.#adopting ? null : this.report()),
      changed: (turn) => this.#onView(turn),
    });
    this.#context = {
      options,
      server,
      admin,
      watch,
      views,
      timeline: new Timeline(clock, log),
      clock,
      log,
      role: () => this.#role,
      stopping: () => this.#stopping,
      become: (role, reason) => this.#become(role, reason),
      say: (reason) => this.#say(reason),
      expose: (exposure) => this.#expose(exposure),
    };
    this.#chores = new Chores(this.#context);
    this.#disk = new DiskProbe(() => server.probeDisk(), clock);
    this.#suspend = new SuspendDetector(clock);
    this.#keeper = new LeaseKeeper({
      client,
      clock,
      log,
      lease,
      health: () => healthOf(watch, this.#disk, views.view),
      lost: (epoch, reason) => this.#onLost(epoch, reason),
    });
    this.#reprovisioner = options.reprovision === undefined ? null : new Reprovisioner(options.reprovision);
    this.#incarnation = clock.wall();
    this.#index = Math.max(
      0,
      options.nodes.findIndex(({ id }) => id === options.self.id),
    );
    this.#attachedAt = clock.now();
    this.#trustedUntil = clock.now() + lease.takeoverMs;
    this.#stopExits = server.processes.onExit((exit) => this.#onExit(exit));
  }

  /** What runs already is watched; whether it may stay is decided like everything else. */
  async adopt(): Promise<void> {
    const { server, watch, log } = this.#context;
    try {
      await this.#reprovisioner?.load();
    } catch (error) {
      this.#failure = reasonOf(error);
      this.#become('failed', this.#failure);
    }
    const found = server.processes.current();
    if (found === null) return;
    const ours = await server.processes.isOurs(found.pid);
    const openedFor = ours ? await server.openedFor(found.pid) : 0;
    if (server.processes.current()?.pid !== found.pid) return; // it ended while we looked
    this.#ignored = await server.ignoredSettings();
    log.info('found a running mysqld', { mysqld: found.pid, ours, openedFor });
    watch.begin(found.pid, openedFor);
    if (ours) this.#adopting = true;
    else watch.condemn();
  }

  start(): void {
    this.#context.views.start();
    this.#running = this.#run();
  }

  report(): AgentReport {
    const copyBase = this.#reprovisioner?.base ?? '';
    const { probe } = this.#context.watch;
    // Of a mysqld that is gone the last word counts; of data that is being replaced none does.
    this.#gtidExecuted = probe?.gtidExecuted ?? (copyBase === '' ? this.#gtidExecuted : '');
    return composeReport(this.#context, {
      reason: this.#reason,
      gtidExecuted: this.#gtidExecuted,
      epoch: this.#masterEpoch,
      exposure: this.#exposure,
      ignored: this.#ignored,
      incarnation: this.#incarnation,
      takesOver: this.#takeOver.epoch,
      takeOverObjection: this.#takeOver.objection,
      undoneId: this.#handedOver.undone === '' ? 0 : this.#handedOver.id,
      undoneReason: this.#handedOver.undone,
      turns: this.#context.timeline.accounts,
      mysqlVersion: this.#reprovisioner?.mysqlVersion ?? '',
      cloneBase: copyBase,
      warnings: this.#chores.warnings,
      applying: this.#chores.applying,
    });
  }

  async shutdown(): Promise<void> {
    const { log } = this.#context;
    if (this.#stopping) return await this.#running;
    const epoch = this.#role === 'master' || this.#role === 'promoting' ? this.#masterEpoch : 0;
    log.info('stopping', { role: this.#role, epoch });
    await this.#endLoop();
    this.#running = (async () => {
      try {
        await stopMysqld(this.#context, this.#role === 'master' || this.#role === 'promoting' ? epoch : 0);
        this.#become('stopped', 'stopped by the operator');
        await this.#expose({ servingWrites: false, attachEpoch: 0 });
      } finally {
        this.#close();
      }
    })();
    await this.#running;
  }

  async abandon(): Promise<void> {
    await this.#endLoop();
    this.#close();
  }

  async #endLoop(): Promise<void> {
    this.#stopping = true;
    this.#action.abort();
    this.#rest.rouse(true);
    // An action that hangs on mysqld ends by its own deadlines; one that starts mysqld may take as long as that takes.
    const timer = new AbortController();
    await Promise.race([this.#running, delay(this.#options.clock, STOP_ACTION_MS_MAX, timer.signal).catch(() => {})]);
    timer.abort();
  }

  #close(): void {
    this.#keeper.drop();
    this.#disk.stop();
    this.#stopExits();
    this.#context.watch.close();
    this.#context.views.close();
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const observation = this.#observe();
      this.#lookAtTakeOver(observation);
      const action = decide(observation);
      if (action.do === 'wait') {
        this.#say(action.reason);
        await this.#rest.sleep(TICK_MS);
        continue;
      }
      this.#adopting = false;
      this.#action = new AbortController();
      try {
        await this.#perform(action);
        this.#failures = 0;
        await this.#rest.sleep(SETTLE_MS);
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        await this.#onFailure(action, error);
      }
    }
  }

  #observe(): Observation {
    const { views, watch, clock } = this.#context;
    const { view } = views;
    const now = clock.now();
    const mysqld = watch.facts(view === null ? null : storeSetOf(this.#options, view), views.asOf, view?.xa);
    watch.tune(watchMode(this.#role, view, this.#masterEpoch));
    return {
      self: this.#options.self.id,
      role: this.#role,
      view,
      mysqld,
      stoodUpon: this.#stoodUpon,
      masterEpoch: this.#masterEpoch,
      handOverDone: this.#handedOver.id,
      unhealthy: this.#keeper.unhealthy,
      unanswered: this.#keeper.unanswered,
      suspended: this.#suspend.look(),
      failure: this.#failure,
      cure: this.#cure,
      ...(this.#reprovisioner === null ? {} : { reprovision: this.#reprovisioner.facts(now) }),
      trustedMs: Math.max(0, this.#trustedUntil - now),
      attachedMs: now - this.#attachedAt,
      emptyLogMs: this.#emptyLog.look(view !== null && !view.baseline && this.#role === 'replica'),
      wantedMs: this.#wanted.look(view?.baseline === true && (!view.open || (view.membership?.takesOver ?? 0) !== 0)),
      turn: standTurn(this.#options, view),
      foundingSet: this.#options.foundingSet ?? '',
      index: this.#index,
      lease: this.#options.lease,
    };
  }

  async #perform(action: Exclude<Action, { do: 'wait' }>): Promise<void> {
    const context = this.#context;
    const { client, log } = this.#options;
    log.debug('acts', action);
    switch (action.do) {
      case 'recover':
        log.warn('recovering', { role: this.#role, reason: action.reason });
        this.#leave();
        await recover(context, action.reason, action.suspects, action.logsReplicated);
        this.#ignored = await context.server.ignoredSettings();
        return;
      case 'settle':
        await settle(context, action.reason);
        await this.#reprovisioner?.settled(context);
        this.#attachedAt = context.clock.now();
        return;
      case 'openForReads':
        return await openForReads(context);
      case 'closeReaders':
        return await closeReaders(context, action.reason);
      case 'retire':
        log.warn('ends mysqld for good', { reason: action.reason });
        await stopMysqld(context, 0);
        this.#leave();
        return this.#become('stopped', action.reason);
      case 'baseline':
        return heed(log, 'found the cluster', await client.baseline(action.gtidSet, RPC_MS_MAX));
      case 'fence':
        context.timeline.next.mark('expired');
        log.info('fencing', { epoch: action.epoch, reason: action.reason });
        return heed(log, 'fence', await client.fence(action.epoch, false, RPC_MS_MAX));
      case 'release':
        log.info('releasing', { epoch: action.epoch, reason: action.reason });
        return heed(log, 'release', await client.fence(action.epoch, true, RPC_MS_MAX));
      case 'stand':
        return await this.#stand(action.epoch);
      case 'promote':
        this.#enter(action.epoch);
        context.timeline.next.mark('elected');
        this.#become('promoting', `elected for epoch ${action.epoch}`);
        return await promote(context, action.epoch, action.gtidSet, this.#action.signal);
      case 'resume':
        this.#enter(action.epoch);
        log.info('goes on as master', { epoch: action.epoch, mysqld: context.watch.pid });
        if (context.watch.probe?.offlineMode === true) this.#say('finishes the promotion of the last agent');
        this.#become('master', `master of epoch ${action.epoch}`);
        await this.#expose({ attachEpoch: action.epoch });
        return await openForWrites(context, action.epoch, this.#action.signal);
      case 'demote':
        this.#suspend.forget();
        await demote(context, action.epoch, action.release, action.reason);
        this.#leave();
        return;
      case 'handOver': {
        this.#handedOver = { id: action.id, undone: '' }; // whatever comes of it, it is not done twice
        this.#handedOver = { id: action.id, undone: await handOver(context, action) };
        if (this.#handedOver.undone === '') this.#leave();
        return await context.views.push();
      }
      case 'reprovision':
        this.#leave();
        return await this.#reprovisioner?.run(context, action.kind, action.reason);
      case 'fail':
        throw new Unfit(action.reason, action.cure);
      default:
        return unreachable(action);
    }
  }

  /** A master wants to hand over to this node: like standing for election, for the mysqld that runs now. */
  #lookAtTakeOver(observation: Observation): void {
    if (!this.#takeOver.look(observation)) return;
    if (this.#takeOver.epoch !== 0) this.#stoodUpon = this.#takeOver.epoch;
    this.#context.timeline.agreed(this.#takeOver.epoch !== 0, observation.view?.master === this.#options.self.id);
    void this.#context.views.push();
  }

  #onProbe(): void {
    if (!this.#stopping) this.#chores.look();
    this.#rest.rouse();
    if (this.#takeOver.epoch !== 0) void this.#context.views.push(); // the master waits for how far mysqld is
  }

  async #stand(epoch: number): Promise<void> {
    const { clock, log, timeline, watch } = this.#context;
    timeline.closed();
    const waitMs = standDelayMs(this.#options, this.#context.views.view);
    await delay(clock, waitMs, this.#action.signal).catch(() => {});
    const now = decide(this.#observe());
    if (now.do !== 'stand' || now.epoch !== epoch || this.#stopping) return; // somebody was faster
    this.#stoodUpon = epoch;
    timeline.next.mark('caught up');
    log.info('stands for election', { basedOnEpoch: epoch, mysqld: watch.pid });
    const outcome = await this.#options.client.stand(now.gtidExecuted, epoch, RPC_MS_MAX);
    if (!outcome.accepted) this.#stoodUpon = -1;
    heed(log, 'stand', outcome);
    await this.#context.views.push();
  }

  /** The lease is this node's from now on. */
  #enter(epoch: number): void {
    this.#masterEpoch = epoch;
    this.#disk.restart();
    this.#keeper.hold(epoch);
  }

  /** It is not any more. */
  #leave(): void {
    if (this.#masterEpoch > 0) this.#trustedUntil = this.#options.clock.now() + this.#options.lease.takeoverMs;
    this.#keeper.drop();
    this.#disk.stop();
    this.#masterEpoch = 0;
    this.#stoodUpon = -1;
  }

  async #onFailure(action: Action, error: unknown): Promise<void> {
    const { watch, log } = this.#context;
    if (this.#stopping) return;
    const reason = reasonOf(error);
    if (error instanceof EndedAtStart) await this.#reprovisioner?.startFailed();
    if (error instanceof NotYet || error instanceof GivenUp) log.info(`${action.do}: not yet`, { reason });
    else log.warn(`${action.do} failed`, { reason, ...(error instanceof PhxError ? { code: error.code } : {}) });
    if (error instanceof Doubt) {
      watch.condemn();
      return; // killed in the next turn, without waiting
    }
    if (error instanceof GivenUp) {
      this.#leave();
      this.#become('recovering', `gave up its epoch: ${reason}`);
      await this.#expose({ servingWrites: false, attachEpoch: 0 });
    } else if (error instanceof Unfit) {
      this.#failure = reason;
      this.#cure = error.cure;
      this.#leave();
      this.#become('failed', reason);
      void this.#expose({ servingWrites: false, attachEpoch: 0 });
      if (watch.pid !== null) await takeOffline(this.#context);
    } else if (action.do === 'settle' && error instanceof PhxError && error.code === 'TIMEOUT') {
      watch.condemn();
    }
    this.#say(reason);
    await this.#rest.pause(retryMs(this.#failures, action.do === 'recover'));
    this.#failures += 1;
  }

  #become(role: AgentRole, reason: string): void {
    const before = this.#role;
    this.#role = move(before, role);
    this.#reason = reason;
    if (before !== role) {
      this.#context.log.info('role', { from: before, to: role, reason });
      void this.#context.views.push();
    }
  }

  #say(reason: string): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#context.log.debug('waits', { role: this.#role, reason });
  }

  #expose(exposure: Partial<Exposure>): Promise<void> {
    const before = this.#exposure;
    const next = { ...before, ...exposure };
    if (sameExposure(before, next)) return Promise.resolve();
    this.#exposure = next;
    return this.#context.views.push();
  }

  #onView(turn: boolean): void {
    const { view } = this.#context.views;
    const held = this.#masterEpoch;
    const stillOurs = view === null || (view.open && view.epoch === held && view.master === this.#options.self.id);
    if (view !== null) this.#context.timeline.appended(view.appendSeq);
    if (held > 0 && !stillOurs && view !== null && view.epoch >= held) this.#action.abort();
    if (!turn) return;
    if (view?.baseline && !view.open && this.#role === 'replica') this.#context.timeline.closed();
    else if (view?.open && view.master !== this.#options.self.id && this.#takeOver.epoch === 0)
      this.#context.timeline.next.reset();
    this.#rest.rouse(true);
  }

  #onLost(epoch: number, reason: string): void {
    this.#context.log.warn('lease lost', { epoch, reason });
    this.#keeper.drop();
    void this.#context.views.push();
  }

  #onExit(exit: MysqldExit): void {
    const { watch, timeline, log } = this.#context;
    if (watch.pid !== exit.pid) return;
    log.warn('mysqld is gone', { mysqld: exit.pid, how: describeExit(exit), role: this.#role });
    if (this.#role === 'master' || this.#role === 'promoting') timeline.former.mark('mysqld gone');
    watch.end();
    this.#keeper.drop();
    this.#stoodUpon = -1;
    this.#action.abort();
    this.#rest.rouse(true);
  }
}
