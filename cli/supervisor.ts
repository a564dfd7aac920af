import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { FromAgent, NodePids, ToBinlogsvr } from '../base/ipc.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { Child } from './child.ts';
import type { Command } from './launcher.ts';
import { Launcher } from './launcher.ts';
import { COMPONENT_PATIENCE, PROXY_PATIENCE } from './liveness.ts';
import { MysqldChild } from './mysqld-child.ts';
import { allPids, writePids } from './pids-file.ts';

/**
 * Parent of all processes of a node. It does nothing but start, restart, stop and pass messages on, so that it neither
 * blocks nor dies; when it dies all the same, the kernel kills every child (launcher.ts).
 *
 *    supervisor ─┬─ binlogsvr  (sync inside)      restarted at once, then with back-off
 *                ├─ agent                         restarted; mysqld stays (a witness has neither)
 *                ├─ proxy worker × N              restarted, gets the last view
 *                └─ mysqld                        started and ended only by word of the agent
 *
 * A component that does not answer any more, though it runs, is killed and started again (liveness.ts).
 */
export type SupervisorOptions = Readonly<{
  nodeDir: string;
  binlogsvr: Command;
  /** Null: a witness, which has no MySQL. */
  agent: Command | null;
  proxies: readonly Command[];
  /** Follows the cluster's views for the proxy workers; called once, `deliver` with each new view. */
  startFeed: (deliver: (view: object) => void) => AsyncDisposable;
  clock: Clock;
  log: Logger;
  launcher?: Launcher;
  /** How often each component is asked whether it lives. Default: liveness.ts. */
  askEveryMs?: number;
}>;

/** How long each may take to end by itself. The agent's covers handing over, draining and mysqld's own shutdown. */
export const AGENT_STOP_MS = 20_000;
export const PROXY_STOP_MS = 3000;
export const BINLOGSVR_STOP_MS = 5000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #binlogsvr: Child;
  readonly #agent: Child | null;
  readonly #proxies: readonly Child[];
  readonly #mysqld: MysqldChild;
  #feed: AsyncDisposable | null = null;
  #lastView: object | null = null;
  #stopping: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { clock, log, nodeDir } = options;
    mkdirSync(join(nodeDir, 'log'), { recursive: true });
    const launcher = options.launcher ?? new Launcher(nodeDir, log);
    const logFile = (name: string): string => join(nodeDir, 'log', `${name}.log`);
    const common = { launcher, clock, log };
    const asked = options.askEveryMs === undefined ? {} : { askEveryMs: options.askEveryMs };
    const watched = { ...common, ...asked, patience: COMPONENT_PATIENCE };
    this.#mysqld = new MysqldChild({ ...common, changed: () => this.#mysqldChanged() });
    this.#binlogsvr = new Child({
      ...watched,
      name: 'binlogsvr',
      command: options.binlogsvr,
      logFile: logFile('binlogsvr'),
      events: { up: () => this.#pidsChanged(), down: () => this.#pidsChanged() },
    });
    this.#agent =
      options.agent === null
        ? null
        : new Child({
            ...watched,
            name: 'agent',
            command: options.agent,
            logFile: logFile('agent'),
            events: {
              up: () => {
                this.#pidsChanged();
                this.#agent?.send(this.#mysqld.state());
              },
              down: () => this.#pidsChanged(),
              message: (message) => this.#fromAgent(message as FromAgent),
            },
          });
    this.#proxies = options.proxies.map((command, i) => {
      const name = options.proxies.length === 1 ? 'proxy' : `proxy-${i + 1}`;
      const child: Child = new Child({
        ...watched,
        patience: PROXY_PATIENCE,
        name,
        command,
        logFile: logFile(name),
        events: {
          up: () => {
            this.#pidsChanged();
            if (this.#lastView !== null) child.send({ kind: 'view', view: this.#lastView });
          },
          down: () => this.#pidsChanged(),
        },
      });
      return child;
    });
  }

  start(): void {
    this.#binlogsvr.start();
    this.#agent?.start();
    for (const proxy of this.#proxies) proxy.start();
    this.#feed = this.#options.startFeed((view) => {
      this.#lastView = view;
      for (const proxy of this.#proxies) proxy.send({ kind: 'view', view });
    });
  }

  pids(): NodePids {
    return {
      supervisor: process.pid,
      mysqld: this.#mysqld.pid,
      binlogsvr: this.#binlogsvr.pid,
      agent: this.#agent?.pid ?? null,
      sync: this.#binlogsvr.pid,
      proxy: this.#proxies.map((proxy) => proxy.pid).filter((pid) => pid !== null),
    };
  }

  /** The agent first (it hands over and ends mysqld while everything it needs still runs), binlogsvr last. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopInOrder();
    return this.#stopping;
  }

  /** Everything at once. */
  async killAll(): Promise<void> {
    this.#options.log.warn('killing all processes of the node', { pids: allPids(this.pids()) });
    await Promise.all([this.#agent, ...this.#proxies, this.#binlogsvr, this.#mysqld].map((child) => child?.kill()));
  }

  async #stopInOrder(): Promise<void> {
    const { log } = this.#options;
    log.info('stopping');
    await this.#agent?.stop(AGENT_STOP_MS);
    if (this.#mysqld.pid !== null) log.warn('mysqld outlived the agent: killed', { child: this.#mysqld.pid });
    await this.#mysqld.kill();
    await Promise.all(this.#proxies.map((proxy) => proxy.stop(PROXY_STOP_MS)));
    await this.#feed?.[Symbol.asyncDispose]();
    await this.#binlogsvr.stop(BINLOGSVR_STOP_MS);
    log.info('stopped');
  }

  #fromAgent(message: FromAgent): void {
    switch (message.kind) {
      case 'startMysqld':
        if (this.#stopping === undefined) this.#mysqld.start(message);
        break;
      case 'signalMysqld':
        this.#mysqld.signal(message.pid, message.signal);
        break;
      default:
        this.#options.log.warn('message of the agent not understood', { message });
    }
  }

  #mysqldChanged(): void {
    this.#agent?.send(this.#mysqld.state());
    this.#pidsChanged();
  }

  #pidsChanged(): void {
    const pids = this.pids();
    this.#binlogsvr.send({ kind: 'pids', pids } satisfies ToBinlogsvr);
    try {
      writePids(this.#options.nodeDir, pids);
    } catch (error) {
      // A full disk must not end the node from here: binlogsvr and the agent decide that.
      this.#options.log.warn('process ids not written', { reason: String(error) });
    }
  }
}
