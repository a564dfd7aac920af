import { reasonOf } from '../base/errors.ts';
import { ApplierGuard, BLOCKERS_SQL, type Blocker, blockersIn } from './applier-guard.ts';
import type { AgentContext } from './context.ts';
import { SLOW_TABLES_SQL, slowTablesIn } from './slow-tables.ts';

/** Blockers of an applier are looked for while it is behind by this, so often. */
const BLOCKED_LAG_MS_MIN = 300;
const BLOCKERS_EVERY_MS = 400;
const BLOCKERS_MS_MAX = 2_000;
/** A look at all tables; after one that took long, much later. */
const TABLES_EVERY_MS = 30_000;
const TABLES_MS_MAX = 5_000;
const TABLES_SLOW_MS = 1_000;
const TABLES_SELDOM_MS = 3_600_000;

type ChoreContext = Pick<AgentContext, 'admin' | 'clock' | 'log' | 'options' | 'role' | 'views'>;

/**
 * What the agent does for mysqld beside the steps of its role, one thing at a time, on a connection of its own: nothing of it may
 * hold those steps up, and what fails is done again.
 */
export class Chores {
  readonly #context: ChoreContext;
  readonly #guard: ApplierGuard;
  #busy = false;
  #blockersAt = Number.NEGATIVE_INFINITY;
  #tablesDue: number;
  #slowTables = '';

  constructor(context: ChoreContext) {
    this.#context = context;
    this.#guard = new ApplierGuard(context.options.killBlockersAfterMs ?? 0);
    this.#tablesDue = context.clock.now();
  }

  /** Of the master's tables, in words; '' on any other node. */
  get slowTables(): string {
    return this.#context.role() === 'master' ? this.#slowTables : '';
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
    if (this.#mayBeBlocked() && now - this.#blockersAt >= BLOCKERS_EVERY_MS) {
      this.#blockersAt = now;
      return () => this.#endBlockers();
    }
    if (this.#context.role() === 'master' && now >= this.#tablesDue) return () => this.#lookAtTables();
    return null;
  }

  /** A learner, or a node that is never elected, may be kept waiting: nobody waits for it. */
  #mayBeBlocked(): boolean {
    const { options, role, views } = this.#context;
    const { view } = views;
    const seat = view?.membership;
    if (!options.killBlockersAfterMs || role() !== 'replica' || view === null) return false;
    return seat?.kind === 'voter' && seat.election !== 'never' && view.lagMs >= BLOCKED_LAG_MS_MIN;
  }

  async #endBlockers(): Promise<void> {
    const { admin, clock } = this.#context;
    const blockers = blockersIn(await admin.aside(BLOCKERS_SQL, BLOCKERS_MS_MAX));
    for (const blocker of this.#guard.look(blockers, clock.now())) await this.#kill(blocker);
  }

  async #kill({ id, ...blocker }: Blocker): Promise<void> {
    const { admin, log } = this.#context;
    log.warn('kills a session that keeps the applier waiting', { connection: id, ...blocker });
    await admin.aside([`KILL CONNECTION ${id}`], BLOCKERS_MS_MAX);
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
