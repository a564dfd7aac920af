import type { NodeLook } from '../../agent/clone-donor.ts';
import type { CloneHost, CloneSource } from '../../agent/clone-host.ts';
import { parseJournal } from '../../agent/host/reprovision-journal.ts';
import type { CloneProgress, DataFacts, ReprovisionJournal } from '../../agent/reprovision-plan.ts';
import { delay } from '../../base/async.ts';
import { PhxError } from '../../base/errors.ts';
import type { Clock } from '../../base/ports.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import type { AgentReport } from '../../proto/binlogsvr-types.ts';
import type { ScriptedMysqld, Transaction } from './scripted-mysqld.ts';

const MiB = 1024 ** 2;
export const VERSION = '9.7.4';

/** The agent dies: nothing after this is done. */
class AgentDied extends Error {}

/** What re-provisioning touches, over a scripted mysqld: its whole content can be set aside, thrown away, copied. */
export class ScriptedCloneHost implements CloneHost {
  readonly mysqlVersion = VERSION;
  /** As it lies on disk. */
  journal: string | null = null;
  /** GTIDs of what was set aside, by folder. */
  readonly aside = new Map<string, readonly string[]>();
  looks: NodeLook[] = [];
  facts: DataFacts = { bytes: 100 * MiB, freeBytes: 10_000 * MiB, asideBytes: null };
  /** What a copy from a node (by its port) does. */
  readonly copies = new Map<number, () => Promise<readonly Transaction[]>>();
  /** The agent dies behind the n-th thing done, from 1; 0: it lives. */
  dieBehind = 0;
  readonly done: string[] = [];
  shown: CloneProgress | null = null;
  readonly #mysqld: ScriptedMysqld;
  readonly #clock: Clock;

  constructor(mysqld: ScriptedMysqld, clock: Clock) {
    this.#mysqld = mysqld;
    this.#clock = clock;
  }

  async readJournal(): Promise<ReprovisionJournal | null> {
    return this.journal === null ? null : parseJournal(this.journal, '/script/reprovision.json');
  }

  async writeJournal(journal: ReprovisionJournal): Promise<void> {
    this.journal = JSON.stringify(journal);
    this.#did(`journal ${journal.step}`);
  }

  async removeJournal(): Promise<void> {
    this.journal = null;
    this.#did('journal gone');
  }

  async measure(): Promise<DataFacts> {
    return this.facts;
  }

  async setAside(folder: string): Promise<void> {
    this.#unused();
    if (!this.aside.has(folder)) {
      this.aside.clear();
      this.aside.set(folder, [...this.#mysqld.committed]);
      this.#empty();
    }
    this.#did('set aside');
  }

  async erase(): Promise<void> {
    this.#unused();
    this.#empty();
    this.#did('erased');
  }

  async look(): Promise<readonly NodeLook[]> {
    return this.looks;
  }

  async clone({ port }: CloneSource): Promise<void> {
    if (this.#mysqld.child === null) throw new PhxError('MYSQL_DOWN', 'no mysqld runs');
    this.#did('clone');
    const copied = await (this.copies.get(port)?.() ?? Promise.reject(new Error('nobody listens there')));
    this.#mysqld.commit(...copied);
    this.#mysqld.child = null;
    this.#did('cloned');
  }

  async progress(): Promise<CloneProgress | null> {
    return this.shown;
  }

  hangUp(): void {}

  get dead(): boolean {
    return this.dieBehind > 0 && this.done.length >= this.dieBehind;
  }

  /** A healthy node that holds `transactions`, and copies them in a second. */
  offer(node: number, transactions: readonly Transaction[], more: Partial<AgentReport> = {}): void {
    const port = 100 + node;
    const gtidExecuted = transactions.reduce((set, { gtid }) => set.add(gtid), GtidSet.EMPTY).toString();
    const agent = {
      role: 'replica',
      servingReads: true,
      mysqldPid: node,
      mysqlVersion: VERSION,
      gtidExecuted,
      ...more,
    };
    const answer = { agent: agent as AgentReport, logSet: gtidExecuted, executedIndex: transactions.length };
    this.looks = [...this.looks.filter((look) => look.node !== node), { node, host: 'h', port, answer, error: '' }];
    this.copies.set(port, async () => {
      await delay(this.#clock, 1000);
      return transactions;
    });
  }

  /** Its whole machine is gone. */
  lose(node: number): void {
    const lost = { node, host: 'h', port: 0, answer: null, error: 'connection refused' };
    this.looks = [...this.looks.filter((look) => look.node !== node), lost];
  }

  #empty(): void {
    this.#mysqld.written = [];
    this.#mysqld.committed = new Set();
  }

  #unused(): void {
    if (this.#mysqld.child !== null) throw new Error('the data directory is in use');
  }

  #did(what: string): void {
    this.done.push(what);
    if (this.dead) throw new AgentDied(what);
  }
}
