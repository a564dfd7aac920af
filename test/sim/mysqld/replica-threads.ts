import { LinkedAbort } from '../../../base/async.ts';
import { reasonOf } from '../../../base/errors.ts';
import { DumpStream } from '../../../binlogsvr/dump-stream.ts';
import { EventSplitter } from '../../../binlogsvr/event-splitter.ts';
import type { LogSource } from '../../../binlogsvr/log-source.ts';
import { TransactionAssembler } from '../../../mysql/transaction-stream.ts';
import { decodeTransaction, type LoggedTransaction } from './binlog-bytes.ts';
import type { ScriptedMysqld } from './mysqld.ts';

const CONNECT_RETRY_MS = 1_000;
/** How often the receiver looks whether its source is still there: what heartbeats and a broken socket tell a real one. */
const SOURCE_POLL_MS = 250;
const DUMP_SERVER_ID = 0x7f00_0100;

/** The connection to the source, not what it says: tried again for ever. */
class LostSource extends Error {}

/**
 * Receiver and applier of the one channel, with GTID auto-position and log_replica_updates=OFF:
 *
 *   LogSource ─► production DumpStream ─► events ─► whole transactions ─► relay log ─► applier (lag) ─► engine
 *                (what the dump server sends)                                  └ thrown away by RESET REPLICA ALL
 */
export class ReplicaThreads {
  readonly #mysqld: ScriptedMysqld;
  readonly #logSource: () => LogSource | null;
  #configured = false;
  #receiver: 'ON' | 'OFF' | 'CONNECTING' = 'OFF';
  #applier = false;
  #error = '';
  #relay: LoggedTransaction[] = [];
  /** Ends the receiver that runs. */
  #stop: AbortController | null = null;
  #applying: Promise<void> = Promise.resolve();
  #wakeApplier: () => void = () => {};

  constructor(mysqld: ScriptedMysqld, logSource: () => LogSource | null) {
    this.#mysqld = mysqld;
    this.#logSource = logSource;
  }

  get configured(): boolean {
    return this.#configured;
  }

  get receiver(): 'ON' | 'OFF' | 'CONNECTING' {
    return this.#receiver;
  }

  get applier(): boolean {
    return this.#applier;
  }

  get error(): string {
    return this.#error;
  }

  /** Transactions received and not applied. */
  get behind(): number {
    return this.#relay.length;
  }

  change(): void {
    this.#configured = true;
  }

  start(): void {
    if (!this.#configured) throw new Error('START REPLICA without CHANGE REPLICATION SOURCE');
    this.#error = '';
    if (this.#stop === null) {
      const stop = new AbortController();
      this.#stop = stop;
      void this.#receive(stop.signal);
    }
    if (!this.#applier) {
      this.#applier = true;
      this.#applying = this.#apply();
    }
  }

  /** Resolves when both threads are gone: the applier ends its transaction first, and hangs with it (protocol-findings 14). */
  async stop(): Promise<void> {
    this.abandon();
    await this.#applying;
  }

  /** The server goes down. */
  abandon(): void {
    this.#stop?.abort();
    this.#stop = null;
    this.#receiver = 'OFF';
    this.#applier = false;
    this.#wakeApplier();
  }

  reset(): void {
    this.#relay = [];
    this.#configured = false;
    this.#error = '';
  }

  async #receive(signal: AbortSignal): Promise<void> {
    const { process, times } = this.#mysqld;
    while (!signal.aborted) {
      this.#receiver = 'CONNECTING';
      const source = this.#logSource();
      try {
        if (source === null) throw new LostSource('cannot connect to the source');
        await process.io('connect to source', 2 * times.net(), () => {});
        await this.#dump(source, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#mysqld.kernel.trace(process.name, () => `receiver: ${reasonOf(error)}`);
        if (!(error instanceof LostSource)) {
          // The dump server says it with an ERR packet, and that ends the receiver (dump-session.ts).
          this.#error = `receiver error 1236: ${reasonOf(error)}`;
          this.#receiver = 'OFF';
          this.#stop = null;
          return;
        }
      }
      await this.#sleep(CONNECT_RETRY_MS, signal);
    }
  }

  async #dump(source: LogSource, stopped: AbortSignal): Promise<void> {
    const { process, times } = this.#mysqld;
    using gone = new LinkedAbort(stopped);
    const { signal } = gone;
    const watch = (): void => {
      if (signal.aborted) return;
      if (this.#logSource() === source) process.clock.after(SOURCE_POLL_MS, watch);
      else gone.abort();
    };
    watch();
    // A source that died never answers.
    const lost = new Promise<never>((_, reject) => {
      const fail = (): void => reject(new LostSource('lost the connection to the source'));
      if (signal.aborted) fail();
      else signal.addEventListener('abort', fail, { once: true });
    });
    lost.catch(() => {});
    try {
      const has = this.#relay.reduce((set, { gtid }) => set.add(gtid), this.#mysqld.executed);
      const options = { serverId: DUMP_SERVER_ID, crc: true };
      const stream = await Promise.race([DumpStream.open(source, { kind: 'gtid', has }, options), lost]);
      this.#receiver = 'ON';
      const assembler = new TransactionAssembler();
      let parts: Uint8Array[] = [];
      for (;;) {
        const events = stream.events();
        for (;;) {
          const { done, value } = await Promise.race([events.next(), lost]);
          if (done === true) break;
          const received: LoggedTransaction[] = [];
          for (const item of value.flatMap((event) => assembler.push(event))) {
            if (item.kind !== 'part') continue;
            parts.push(item.events);
            if (!item.last) continue;
            received.push(decodeTransaction(new EventSplitter().push(Buffer.concat(parts))));
            parts = [];
          }
          if (received.length === 0) continue;
          await Promise.race([process.io('receive', times.net(), () => {}), lost]);
          this.#relay.push(...received);
          this.#wakeApplier();
        }
        if (stream.caughtUp) await Promise.race([stream.wait(signal), lost]);
      }
    } finally {
      gone.abort();
    }
  }

  async #apply(): Promise<void> {
    const { process, times, disk, commits, kernel } = this.#mysqld;
    while (this.#applier) {
      const next = this.#relay[0];
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          this.#wakeApplier = resolve;
        });
        continue;
      }
      if (!this.#mysqld.executed.contains(next.gtid)) {
        let applied = false;
        for (let lag = times.apply(); !applied; lag = times.commit()) {
          await commits.untilFree();
          applied = await process.io('apply', lag, () => {
            if (commits.busy) return false;
            disk.engine.commit(next, this.#mysqld.flushLog === 1, kernel.now);
            return true;
          });
        }
      }
      if (this.#relay[0] === next) this.#relay.shift();
    }
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#mysqld.process.clock.after(ms, resolve);
      const wake = (): void => {
        cancel();
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
