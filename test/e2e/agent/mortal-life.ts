import type { AgentStore } from '../../../agent/context.ts';
import { cut, finishCut } from '../../../agent/host/tail-cutter.ts';
import type { MysqldAdmin } from '../../../agent/mysqld-admin.ts';
import type { MysqldProcesses, MysqldServer } from '../../../agent/mysqld-server.ts';
import type { Clock } from '../../../base/ports.ts';
import { silentLogger } from '../../../base/ports.ts';

/** Also used up by what a dead process would have done next. */
const never = <T>(): Promise<T> => new Promise<T>(() => {});

type CutPaths = Parameters<typeof finishCut>[0]['paths'];

/**
 * One life of an agent: all its ports, which die with it at a chosen step. As after kill -9, nothing that is under way settles
 * then, no timer fires, and nothing is done any more; what was done stays done.
 *
 *   a step is   a call of a port that recovery makes (before it, and again after it if it changed something), and each step
 *               of the cut of the binlog (tail-cutter.ts)
 */
export class MortalLife {
  /** In order, up to the one it died at. */
  readonly steps: string[] = [];
  readonly #dieAt: number;
  #dead = false;

  /** `dieAt`: number of the last step, from 1; Infinity: it lives on. */
  constructor(dieAt = Number.POSITIVE_INFINITY) {
    this.#dieAt = dieAt;
  }

  get dead(): boolean {
    return this.#dead;
  }

  clock(real: Clock): Clock {
    const unlessDead = (fire: () => void) => (): void => {
      if (!this.#dead) fire();
    };
    return {
      now: () => real.now(),
      wall: () => real.wall(),
      after: (ms, fire) => real.after(ms, unlessDead(fire)),
      soon: (fire) => real.soon(unlessDead(fire)),
    };
  }

  client(real: AgentStore): AgentStore {
    const life = this;
    return {
      baseline: this.#still(real.baseline.bind(real)),
      stand: this.#still(real.stand.bind(real)),
      renew: this.#still(real.renew.bind(real)),
      fence: this.#step('fence', true, real.fence.bind(real)),
      transfer: this.#still(real.transfer.bind(real)),
      barrier: this.#step('barrier', true, real.barrier.bind(real)),
      compareTail: this.#step('compareTail', false, real.compareTail.bind(real)),
      report: this.#still(real.report.bind(real)),
      async *subscribe(signal) {
        for await (const view of real.subscribe(signal)) {
          if (life.#dead) await never();
          yield view;
        }
      },
    };
  }

  server(real: MysqldServer, paths: CutPaths): MysqldServer {
    const life = this;
    const cutting = { paths, log: silentLogger, afterStep: (step: string) => this.#dieInside(`cut: ${step}`) };
    const { binlog } = real;
    return {
      admin: this.#admin(real.admin),
      processes: this.#processes(real.processes),
      socket: real.socket,
      errorLog: real.errorLog,
      binlog: {
        cutDir: binlog.cutDir,
        index: this.#step('read index', false, () => binlog.index()),
        async *read(index, line) {
          for await (const piece of binlog.read(index, line)) {
            if (life.#dead) await never();
            yield piece;
          }
        },
        freshUuid: () => binlog.freshUuid(),
        cut: this.#step('cut', true, (plan) => cut(plan, cutting)),
        finishCut: this.#step('finishCut', true, () => finishCut(cutting)),
        removed: this.#step('read what was cut', false, () => binlog.removed()),
        forgetRemoved: this.#step('forget what was cut', true, () => binlog.forgetRemoved()),
      },
      ensureDatadir: this.#step('ensureDatadir', false, (creating) => real.ensureDatadir(creating)),
      configure: this.#step('configure', true, () => real.configure()),
      start: this.#step('start mysqld', true, () => real.start()),
      openedFor: this.#still((pid) => real.openedFor(pid)),
      markOpened: this.#still((pid, epoch) => real.markOpened(pid, epoch)),
      forgetOpened: this.#step('forgetOpened', true, () => real.forgetOpened()),
      probeDisk: this.#still(() => real.probeDisk()),
      ignoredSettings: this.#step('ignoredSettings', false, () => real.ignoredSettings()),
      rootPassword: this.#still(() => real.rootPassword()),
    };
  }

  #processes(real: MysqldProcesses): MysqldProcesses {
    return {
      current: () => real.current(),
      onExit: (listener) =>
        real.onExit((exit) => {
          if (!this.#dead) listener(exit);
        }),
      signal: (pid, signal) => {
        if (!this.#dead) real.signal(pid, signal);
      },
      isOurs: this.#still((pid) => real.isOurs(pid)),
      find: this.#step('find mysqlds', false, () => real.find()),
      kill: (pid) => {
        if (!this.#dead) real.kill(pid);
      },
      lockHolders: this.#step('look at the lock', false, () => real.lockHolders()),
    };
  }

  #admin(real: MysqldAdmin): MysqldAdmin {
    return {
      connect: this.#still(() => real.connect()), // again and again, as long as mysqld takes to start
      reset: () => {
        if (!this.#dead) real.reset();
      },
      probe: this.#still(() => real.probe()),
      channel: this.#still(() => real.channel()),
      work: this.#still((statements, deadlineMs) => real.work(statements, deadlineMs)),
      aside: this.#still((statements, deadlineMs) => real.aside(statements, deadlineMs)),
      canLogIn: this.#still((deadlineMs) => real.canLogIn(deadlineMs)),
      waiters: this.#still(() => real.waiters()),
    };
  }

  /** No step of its own. */
  #still<A extends unknown[], R>(call: (...args: A) => Promise<R>): (...args: A) => Promise<R> {
    return async (...args) => {
      if (this.#dead) return never();
      const result = await call(...args).then(
        (value) => () => value,
        (error: unknown) => () => {
          throw error;
        },
      );
      return this.#dead ? never() : result();
    };
  }

  #step<A extends unknown[], R>(
    name: string,
    changes: boolean,
    call: (...args: A) => Promise<R>,
  ): (...args: A) => Promise<R> {
    const guarded = this.#still(call);
    return async (...args) => {
      if (this.#dead || this.#dies(name)) return never();
      const result = await guarded(...args);
      return changes && this.#dies(`${name}, done`) ? never() : result;
    };
  }

  #dies(step: string): boolean {
    this.steps.push(step);
    if (this.steps.length >= this.#dieAt) this.#dead = true;
    return this.#dead;
  }

  /** Ends what runs now by an error that nobody hears: the port's promise never settles. */
  #dieInside(step: string): void {
    if (this.#dead || this.#dies(step)) throw new Error(`died after ${step}`);
  }
}
