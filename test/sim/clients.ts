import { delay } from '../../base/async.ts';
import { PhxError } from '../../base/errors.ts';
import type { Prng } from '../../base/prng.ts';
import type { ViewFeed } from '../../proxy/feed.ts';
import { LeaseGuard } from '../../proxy/lease-guard.ts';
import type { ProxyView } from '../../proxy/view.ts';
import type { History } from './checkers/history.ts';
import type { Kernel } from './kernel.ts';
import { type ClientSession, LostConnection } from './mysqld/client.ts';
import type { MysqldNode } from './mysqld/node.ts';
import { SqlError } from './mysqld/sql-error.ts';
import type { SimNetwork } from './network.ts';
import type { SimNode } from './node.ts';
import type { SimProcess } from './process.ts';
import type { Tally } from './tally.ts';

const KEYS = 4;
/** A client gives a statement up after this; what becomes of it, it does not know. */
const PATIENCE_MS = 4000;

type Session = Readonly<{ epoch: number; node: number; session: ClientSession }>;

export type ProxyOptions = Readonly<{
  kernel: Kernel;
  node: SimNode;
  process: SimProcess;
  feed: ViewFeed;
  network: SimNetwork;
  mysqlds: ReadonlyMap<number, MysqldNode>;
  history: History;
  random: Prng;
  tally: Tally;
  unique: () => number;
  pace: Readonly<{ writeMs: number; readMs: number; clients: number }>;
}>;

/**
 * The RW port of one node with the clients connected to it. Which node is master, since when and for how long is decided by the
 * production proxy's feed, view and lease guard; only the splicing of sockets is the simulator's: an answer is passed on if
 * the guard says so after it was read (I5), else the session is cut.
 */
export class SimRwPort {
  readonly #o: ProxyOptions;
  readonly #guard: LeaseGuard;
  #view: ProxyView;

  constructor(options: ProxyOptions) {
    const { process, feed } = options;
    this.#o = options;
    this.#guard = new LeaseGuard(process.clock);
    this.#view = feed.view;
    feed.onView((view) => {
      this.#view = view;
      this.#guard.setView(view);
    });
  }

  /** Never ends but with its process. */
  run(): void {
    for (let i = 0; i < this.#o.pace.clients; i += 1) void this.#client(`client ${this.#o.node.id}.${i}`);
  }

  async #client(name: string): Promise<void> {
    const { process, random, pace } = this.#o;
    let open: Session | null = null;
    for (;;) {
      const writes = random.chance(1, 2);
      await delay(process.clock, random.below(2 * (writes ? pace.writeMs : pace.readMs)));
      try {
        if (open !== null && !this.#usable(open)) {
          open.session.close();
          open = null;
        }
        open ??= await this.#connect();
        if (open === null) continue;
        if (writes) await this.#write(name, open);
        else await this.#read(name, open);
      } catch (error) {
        if (!(error instanceof LostConnection || error instanceof SqlError || error instanceof PhxError)) throw error;
        open?.session.close();
        open = null;
      }
    }
  }

  #usable({ epoch, session }: Session): boolean {
    return session.alive && epoch > this.#view.closedEpoch && this.#view.master !== null;
  }

  async #connect(): Promise<Session | null> {
    const { mysqlds, process } = this.#o;
    const { master, epoch } = this.#view;
    const mysqld = master === null ? undefined : mysqlds.get(master.node);
    if (master === null || mysqld === undefined || !this.#reaches(master.node)) return null;
    const session = await this.#patient(mysqld.connect(process));
    return { epoch, node: master.node, session };
  }

  async #write(by: string, open: Session): Promise<void> {
    const { kernel, history, random, unique, tally } = this.#o;
    const key = `k${random.below(KEYS)}`;
    const value = `v${unique()}`;
    if (!this.#reaches(open.node)) throw new LostConnection('no route to the master');
    history.invoke({ key, value, by }, kernel.now);
    await this.#patient(open.session.write({ [key]: value }));
    this.#pass(open);
    kernel.trace(by, () => `wrote ${key} = ${value}`);
    history.ack(value, kernel.now);
    tally.add('write acknowledged');
  }

  async #read(by: string, open: Session): Promise<void> {
    const { kernel, history, random, tally } = this.#o;
    const key = `k${random.below(KEYS)}`;
    const invokedAt = kernel.now;
    if (!this.#reaches(open.node)) throw new LostConnection('no route to the master');
    const value = (await this.#patient(open.session.read(key))) ?? null;
    this.#pass(open);
    kernel.trace(by, () => `read ${key} = ${value}`);
    history.read({ key, value, invokedAt, returnedAt: kernel.now, by });
    tally.add('read answered');
  }

  /** Bytes have just been read from the master's socket: may they go on? */
  #pass({ epoch, node }: Session): void {
    if (!this.#reaches(node)) throw new LostConnection('no route from the master');
    if (!this.#guard.mayForward(epoch)) {
      this.#o.tally.add('answer withheld by the lease guard');
      throw new LostConnection('the lease is over');
    }
  }

  #reaches(node: number): boolean {
    const { network, node: self } = this.#o;
    const other = node as typeof self.id;
    return other === self.id || !(network.isBlocked(self.id, other) || network.isBlocked(other, self.id));
  }

  #patient<T>(work: Promise<T>): Promise<T> {
    const { process } = this.#o;
    return new Promise((resolve, reject) => {
      const cancel = process.clock.after(PATIENCE_MS, () => reject(new LostConnection('no answer in time')));
      work.then(
        (value) => {
          cancel();
          resolve(value);
        },
        (error: unknown) => {
          cancel();
          reject(error);
        },
      );
    });
  }
}
