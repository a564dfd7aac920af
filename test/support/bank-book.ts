/** Money moved from one account to another, in one transaction with its row in the journal; `client` and `n` name it. */
export type Transfer = Readonly<{ client: number; n: number; from: number; to: number; amount: number }>;

/** What one consistent look at a server shows. */
export type BankState = Readonly<{
  balances: readonly Readonly<{ id: number; balance: number }>[];
  journal: readonly Transfer[];
}>;

/** What a single statement showed: the sum of all balances, and the newest transfer of each client. */
export type BankGlance = Readonly<{ total: number; newest: ReadonlyMap<number, number> }>;

export const ACCOUNTS = 50;
export const INITIAL = 1000;

const idOf = ({ client, n }: Pick<Transfer, 'client' | 'n'>): string => `${client}:${n}`;
const textOf = ({ from, to, amount }: Transfer): string => `${amount} from ${from} to ${to}`;
const SHOWN_MAX = 5;

/**
 * The book the test keeps by itself: a transfer is *sent* once its COMMIT may have left, *acknowledged* once the answer was
 * heard. One that was sent only may be there or not; whose COMMIT never left must not be there.
 */
export class BankBook {
  readonly #sent = new Map<string, Transfer>();
  readonly #acked = new Set<string>();
  /** Per client, in its own order. */
  readonly #newestAcked = new Map<number, number>();
  readonly #newestSent = new Map<number, number>();

  get acknowledged(): number {
    return this.#acked.size;
  }

  send(transfer: Transfer): void {
    this.#sent.set(idOf(transfer), transfer);
    this.#newestSent.set(transfer.client, transfer.n);
  }

  acknowledge(transfer: Transfer): void {
    this.#acked.add(idOf(transfer));
    this.#newestAcked.set(transfer.client, transfer.n);
  }

  /** For `judge`: what a look that begins now has to show. */
  acked(): ReadonlySet<string> {
    return new Set(this.#acked);
  }

  /** For `judgeGlance`: what a read that begins now has to see. */
  newestAcked(): ReadonlyMap<number, number> {
    return new Map(this.#newestAcked);
  }

  /** What contradicts the book; [] if nothing does. `acked`: of before the look began. */
  judge(state: BankState, acked: ReadonlySet<string>): string[] {
    const faults: string[] = [];
    const balances = new Map(state.balances.map(({ id, balance }) => [id, balance]));
    const expected = new Map(Array.from({ length: ACCOUNTS }, (_, id) => [id, INITIAL]));
    const present = new Set<string>();
    const invented: string[] = [];
    for (const transfer of state.journal) {
      const id = idOf(transfer);
      const sent = this.#sent.get(id);
      if (sent === undefined || textOf(sent) !== textOf(transfer)) invented.push(`${id} (${textOf(transfer)})`);
      present.add(id);
      expected.set(transfer.from, (expected.get(transfer.from) ?? 0) - transfer.amount);
      expected.set(transfer.to, (expected.get(transfer.to) ?? 0) + transfer.amount);
    }
    const lost = [...acked].filter((id) => !present.has(id));
    if (lost.length > 0) faults.push(`${lost.length} acknowledged transfers lost: ${shown(lost)}`);
    if (invented.length > 0) faults.push(`${invented.length} transfers that were never sent: ${shown(invented)}`);
    const wrong = [...expected].filter(([id, balance]) => balances.get(id) !== balance);
    if (wrong.length > 0 || balances.size !== ACCOUNTS) {
      const words = wrong.map(([id, balance]) => `account ${id} has ${balances.get(id)}, its journal says ${balance}`);
      faults.push(`${balances.size} accounts; ${shown(words)}`);
    }
    return [...faults, ...judgeTotal([...balances.values()].reduce((sum, balance) => sum + balance, 0))];
  }

  /** `fresh`: what was acknowledged before the read began, if it has to be seen (a read through a read-write port). */
  judgeGlance({ total, newest }: BankGlance, fresh: ReadonlyMap<number, number> | null): string[] {
    const faults = judgeTotal(total);
    for (const [client, n] of fresh ?? []) {
      const seen = newest.get(client) ?? 0;
      if (seen < n) faults.push(`stale read: client ${client} was told of transfer ${n}, the newest seen is ${seen}`);
    }
    for (const [client, n] of newest) {
      if (n > (this.#newestSent.get(client) ?? 0)) faults.push(`read transfer ${client}:${n}, which was never sent`);
    }
    return faults;
  }
}

function judgeTotal(total: number): string[] {
  return total === ACCOUNTS * INITIAL ? [] : [`the total is ${total}, not ${ACCOUNTS * INITIAL}`];
}

function shown(list: readonly string[]): string {
  return `${list.slice(0, SHOWN_MAX).join('; ')}${list.length > SHOWN_MAX ? '; ...' : ''}`;
}
