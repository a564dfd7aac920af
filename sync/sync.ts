import { delay } from '../base/async.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { encodeAck } from '../mysql/semi-sync.ts';
import type { SyncStatus } from '../proto/binlogsvr-types.ts';
import { AckPacer, type FlowOptions } from './ack-pacer.ts';
import { DumpSession, PENDING_BYTES_MAX } from './dump-session.ts';
import type { AppendStore, StoreState } from './ports.ts';
import type { BinlogPosition } from './position.ts';
import type { ConnectSource, SourceConnection } from './source-connection.ts';
import { SpareConnection } from './spare-connection.ts';

/** Heartbeat period asked of mysqld: bounds how long a client waits whose ack was lost with an old connection. */
const HEARTBEAT_MS = 250;
const RETRY_MS = 50;

export type SyncOptions = Readonly<{
  /** Server id of our replica role; must differ from every mysqld's. */
  serverId: number;
  /** Names our dump stream to mysqld, so that a new one replaces a dead one. */
  replicaUuid: string;
  connect: ConnectSource;
  /** Of the process sync runs in, for status. */
  pid: number;
  store: AppendStore;
  /** Absent: acks are never delayed. */
  flow?: FlowOptions;
  clock: Clock;
  log: Logger;
  onStatus: (status: SyncStatus) => void;
}>;

/** What the agent wants: for which epoch to be attached to which mysqld; epoch 0 = to none. */
export type SyncTarget = Readonly<{ epoch: number; socketPath: string }>;

/**
 * Ships the local master's binlog into the replicated store, as its one semi-sync replica.
 *
 *   detached ──target──► connecting ──dump started──► attached
 *      ▲                     ▲   └── error: again in 50 ms ──┘│
 *      └──── target gone ────┴──── stream or append failed ◄──┘
 *
 * A stream is never repaired: whatever goes wrong, it is dropped, the store is asked where it stands (`settle`), and a new
 * stream starts after exactly that. An ack is sent only on the stream its transaction came from. mysqld's ack receiver may
 * notice a new stream only when a poll of up to 1 s is over that it began with the one before (semisync_source_ack_receiver).
 */
export class Sync {
  readonly #options: SyncOptions;
  readonly #spare: SpareConnection;
  #target: SyncTarget = { epoch: 0, socketPath: '' };
  #stop: AbortController | null = null;
  #running: Promise<void> = Promise.resolve();
  #status: SyncStatus;

  constructor(options: SyncOptions) {
    this.#options = options;
    this.#spare = new SpareConnection(options, () => this.#report({}));
    this.#status = {
      state: 'detached',
      epoch: 0,
      reason: 'not the master',
      ackedTransactions: 0,
      appends: 0,
      pid: options.pid,
      spareReady: false,
      repeatedAcks: 0,
      delayMs: 0,
    };
  }

  get status(): SyncStatus {
    return this.#status;
  }

  /** Idempotent; a changed target ends the stream of the one before. */
  aim(target: SyncTarget): void {
    this.#spare.aim(target.socketPath);
    if (target.epoch === this.#target.epoch && target.socketPath === this.#target.socketPath) return;
    this.#target = target;
    this.#stop?.abort();
    if (target.epoch === 0) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#running = this.#running.then(() => this.#attached(target, stop.signal));
  }

  async close(): Promise<void> {
    this.aim({ epoch: 0, socketPath: '' });
    this.#spare.close();
    await this.#running;
  }

  async #attached(target: SyncTarget, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#report({ state: 'connecting', epoch: target.epoch, reason: 'asking the store where it stands' });
        const state = await this.#options.store.settle(target.epoch);
        if (signal.aborted) break;
        this.#report({ state: 'connecting', reason: 'connecting to mysqld' });
        const connection = await this.#spare.take(signal);
        await this.#ship(connection, target.epoch, state, signal);
      } catch (error) {
        if (signal.aborted) break;
        const reason = reasonOf(error);
        this.#options.log.warn('sync stream ended', { epoch: target.epoch, reason });
        this.#report({ state: 'connecting', reason });
      }
      await delay(this.#options.clock, RETRY_MS, signal).catch(() => {});
    }
    this.#report({ state: 'detached', epoch: 0, reason: 'not the master' });
  }

  /** One stream, from the dump command to its end; always rejects. */
  #ship(connection: SourceConnection, epoch: number, state: StoreState, signal: AbortSignal): Promise<never> {
    const session = new DumpSession(state.file?.epoch === epoch ? state.file.name : null);
    let follows = state.appendSeq;
    let paused = false;
    const { promise, reject } = Promise.withResolvers<never>();
    const fail = (error: unknown): void => {
      connection.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(new PhxError('CANCELLED', 'sync detached'));
    signal.addEventListener('abort', onAbort, { once: true });
    connection.onClose(fail);

    const send = (position: BinlogPosition): void => {
      if (connection.alive) connection.sendAck(encodeAck(position.file, position.position));
    };
    const pacer = this.#pacer(send);
    const ack = (position: BinlogPosition | null): void => {
      if (position === null) return;
      if (pacer === null) send(position);
      else pacer.ack(position);
    };
    const pump = async (): Promise<void> => {
      const batch = session.take();
      if (batch === null) return;
      const result = await this.#options.store.append(epoch, follows, batch.items);
      if (!connection.alive) return;
      if (!result.accepted) throw new PhxError(result.code ?? 'UNAVAILABLE', `append refused: ${result.reason}`);
      follows = result.appendSeq;
      ack(session.applied());
      this.#report({
        appends: this.#status.appends + 1,
        ackedTransactions: this.#status.ackedTransactions + batch.transactions,
      });
      if (paused && session.pendingBytes < PENDING_BYTES_MAX / 2) {
        paused = false;
        connection.resume();
      }
      pumpLater();
    };
    // What arrived in one read becomes one append, not one append per packet.
    let scheduled = false;
    const pumpLater = (): void => {
      if (scheduled) return;
      scheduled = true;
      queueMicrotask(() => {
        scheduled = false;
        pump().catch(fail);
      });
    };

    const begin = async (): Promise<void> => {
      await connection.query(
        `SET @rpl_semi_sync_replica=1, @rpl_semi_sync_slave=1, @source_binlog_checksum='CRC32', @master_binlog_checksum='CRC32', ` +
          `@source_heartbeat_period=${HEARTBEAT_MS * 1e6}, @master_heartbeat_period=${HEARTBEAT_MS * 1e6}, ` +
          `@replica_uuid='${this.#options.replicaUuid}', @slave_uuid='${this.#options.replicaUuid}'`,
      );
      connection.startDump({
        serverId: this.#options.serverId,
        gtidSet: state.gtidSet.encode(),
        onPacket: (payload) => {
          const repeat = session.packet(payload);
          if (repeat !== null) {
            ack(repeat);
            this.#report({ repeatedAcks: this.#status.repeatedAcks + 1 });
          }
          if (!paused && session.pendingBytes > PENDING_BYTES_MAX) {
            paused = true;
            connection.pause();
          }
          pumpLater();
        },
      });
      this.#report({ state: 'attached', reason: '' });
      this.#options.log.info('sync attached', { epoch, appendSeq: state.appendSeq });
    };
    begin().catch(fail);
    return promise.finally(() => {
      signal.removeEventListener('abort', onAbort);
      pacer?.close();
    });
  }

  #pacer(send: (position: BinlogPosition) => void): AckPacer | null {
    const { flow, clock, log } = this.#options;
    if (flow === undefined || flow.policy.maxDelayMs === 0) return null;
    return new AckPacer({
      flow,
      clock,
      send,
      changed: (delayMs) => {
        const before = this.#status.delayMs ?? 0;
        if (before === 0 || delayMs === 0) {
          log.info(delayMs === 0 ? 'acks are not delayed any more' : 'acks are delayed: no candidate keeps up', {
            delayMs,
            candidateLagMs: flow.candidateLagMs(),
          });
        }
        this.#report({ delayMs });
      },
    });
  }

  #report(change: Partial<SyncStatus>): void {
    this.#status = { ...this.#status, ...change, spareReady: this.#spare.ready };
    this.#options.onStatus(this.#status);
  }
}
