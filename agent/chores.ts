import { PhxError, reasonOf } from '../base/errors.ts';
import type { AgentRole, Applying } from '../proto/binlogsvr-types.ts';
import { ApplierGuard, BLOCKERS_SQL, type Blocker, blockersIn } from './applier-guard.ts';
import { applyingIn, PROGRESS_SQL } from './applier-progress.ts';
import type { AgentContext } from './context.ts';
import { EVENTS_DONE, EVENTS_SQL, eventStatements } from './event-states.ts';
import { SLOW_TABLES_SQL, slowTablesIn } from './slow-tables.ts';
import { UNLOGGED_SQL, unloggedIn } from './unlogged.ts';

/** While it is behind by this, an applier is looked at so often: what it executes, and who is in its way. */
const BEHIND_MS_MIN = 300;
const APPLIER_EVERY_MS = 400;
const APPLIER_MS_MAX = 2_000;
/** A look at all tables; after one that took long, much later. */
const TABLES_EVERY_MS = 30_000;
const TABLES_MS_MAX = 5_000;
const TABLES_SLOW_MS = 1_000;
const TABLES_SELDOM_MS = 3_600_000;
const UNLOGGED_EVERY_MS = 10_000;
const UNLOGGED_MS_MAX = 2_000;
/** Each statement of them waits for its ack. */
const EVENT_MS_MAX = 5_000;
const EVENTS_RETRY_MS = 1_000;

const SERVING: ReadonlySet<AgentRole> = new Set(['master', 'replica']);

type ChoreContext = Pick<AgentContext, 'admin' | 'clock' | 'log' | 'options' | 'role' | 'views' | 'watch'>;

/**
 * What the agent does for mysqld beside the steps of its role, one thing at a time, on a connection of its own: nothing of it may
 * hold those steps up, and what fails is done again.
 */
export class Chores {
  readonly #context: ChoreContext;
  readonly #guard: ApplierGuard;
  #busy = false;
  #applierAt = Number.NEGATIVE_INFINITY;
  #applying: Applying | null = null;
  #tablesDue: number;
  #slowTables = '';
  #unloggedDue: number;
  #unlogged = '';
  /** The epoch whose events are as they should be, and when that is tried again. */
  #eventsOf = 0;
  #eventsDue: number;

  constructor(context: ChoreContext) {
    this.#context = context;
    this.#guard = new ApplierGuard(context.options.killBlockersAfterMs ?? 0);
    this.#tablesDue = context.clock.now();
    this.#unloggedDue = this.#tablesDue;
    this.#eventsDue = this.#tablesDue;
  }

  /** What was found, in words. All nodes have the master's tables: only it speaks of them. */
  get warnings(): readonly string[] {
    const tables = this.#context.role() === 'master' ? this.#slowTables : '';
    return [tables, this.#unlogged].filter((warning) => warning !== '');
  }

  /** What the applier executes, as last seen; null unless it is behind. */
  get applying(): Applying | null {
    return this.#behind ? this.#applying : null;
  }

  /** mysqld answered a probe. */
  look(): void {
    if (this.#busy) return;
    const chore = this.#due();
    if (chore === null) return;
    this.#busy = true;
    chore()
      .catch((error: unknown) => this.#context.log.debug('chore not done', { reason: reasonOf(error) }))
      .finally(() => {
        this.#busy = false;
      });
  }

  #due(): (() => Promise<void>) | null {
    const now = this.#context.clock.now();
    if (!this.#behind) this.#applying = null;
    else if (now - this.#applierAt >= APPLIER_EVERY_MS) {
      this.#applierAt = now;
      return () => this.#lookAtApplier();
    }
    const epoch = this.#masterEpoch;
    if (epoch !== 0 && epoch !== this.#eventsOf && now >= this.#eventsDue) return () => this.#startEvents(epoch);
    if (epoch !== 0 && now >= this.#tablesDue) return () => this.#lookAtTables();
    if (SERVING.has(this.#context.role()) && now >= this.#unloggedDue) return () => this.#lookForUnlogged();
    return null;
  }

  get #behind(): boolean {
    const { role, views } = this.#context;
    return role() === 'replica' && (views.view?.lagMs ?? 0) >= BEHIND_MS_MIN;
  }

  /** Nobody waits for a learner, or a node that is never elected: it may be kept waiting. */
  get #guarded(): boolean {
    const { options, views } = this.#context;
    const seat = views.view?.membership;
    return (options.killBlockersAfterMs ?? 0) > 0 && seat?.kind === 'voter' && seat.election !== 'never';
  }

  /** The epoch this node is master of, open for writes; 0: none. */
  get #masterEpoch(): number {
    const { role, views, options, watch } = this.#context;
    const { view } = views;
    if (role() !== 'master' || view === null || !view.open || view.master !== options.self.id) return 0;
    return watch.probe?.superReadOnly === false ? view.epoch : 0;
  }

  /** The event scheduler of a master runs from its promotion on; this is what it has to run. */
  async #startEvents(epoch: number): Promise<void> {
    const { admin, clock, log, views } = this.#context;
    this.#eventsDue = clock.now() + EVENTS_RETRY_MS;
    const [rows = []] = await admin.aside([EVENTS_SQL], EVENT_MS_MAX);
    const events = eventStatements(rows, views.view?.disabledEvents ?? []);
    for (const statements of events) {
      if (this.#masterEpoch !== epoch) return;
      try {
        await admin.aside(statements, EVENT_MS_MAX);
      } catch (error) {
        // What mysqld itself refuses it will refuse again: its definer may be gone.
        if (error instanceof PhxError) throw error;
        log.warn('an event cannot be given its state', { event: statements.at(-1), reason: reasonOf(error) });
      }
    }
    if (events.length > 0) await admin.aside(EVENTS_DONE, EVENT_MS_MAX);
    this.#eventsOf = epoch;
    if (events.length > 0) log.info('events are as they were on the last master', { epoch, events: events.length });
  }

  async #lookForUnlogged(): Promise<void> {
    const { admin, clock, log } = this.#context;
    this.#unloggedDue = clock.now() + UNLOGGED_EVERY_MS;
    const [rows = []] = await admin.aside([UNLOGGED_SQL], UNLOGGED_MS_MAX);
    const found = unloggedIn(rows);
    if (found === '' || found === this.#unlogged) return; // a mysqld that was started again has forgotten, its data has not
    log.warn('writes may have gone around the log', { found });
    this.#unlogged = found;
  }

  async #lookAtApplier(): Promise<void> {
    const { admin, clock } = this.#context;
    const [progress = [], ...blockers] = await admin.aside([PROGRESS_SQL, ...BLOCKERS_SQL], APPLIER_MS_MAX);
    this.#applying = applyingIn(progress);
    if (!this.#guarded) return;
    for (const blocker of this.#guard.look(blockersIn(blockers), clock.now())) await this.#kill(blocker);
  }

  async #kill({ id, ...blocker }: Blocker): Promise<void> {
    const { admin, log } = this.#context;
    log.warn('kills a session that keeps the applier waiting', { connection: id, ...blocker });
    await admin.aside([`KILL CONNECTION ${id}`], APPLIER_MS_MAX);
  }

  async #lookAtTables(): Promise<void> {
    const { admin, clock } = this.#context;
    const began = clock.now();
    this.#tablesDue = began + TABLES_SELDOM_MS; // if it fails
    const [rows = []] = await admin.aside([SLOW_TABLES_SQL], TABLES_MS_MAX);
    this.#slowTables = slowTablesIn(rows);
    const took = clock.now() - began;
    this.#tablesDue = clock.now() + (took < TABLES_SLOW_MS ? TABLES_EVERY_MS : TABLES_SELDOM_MS);
  }
}
