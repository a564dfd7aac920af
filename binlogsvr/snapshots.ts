import type { InstanceId, MonoMs, NodeId } from '../base/brands.ts';
import type { Clock, Logger } from '../base/ports.ts';
import type { PeerTransport, SnapshotAsk, SnapshotPiece } from './peer-transport.ts';
import { SnapshotReceiver } from './snapshot-receiver.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore } from './store-port.ts';

export type SnapshotsPort = Readonly<{
  clock: Clock;
  log: Logger;
  store: LogStore;
  transport: PeerTransport;
  appliedIndex: () => InstanceId;
  settled: () => InstanceId;
  peersUp: () => readonly NodeId[];
  stopped: () => boolean;
  /** The store begins after this state now. */
  installed: (state: ReplicatedState) => void;
  failed: (error: unknown) => void;
}>;

/**
 * The log of a node that asks for what its peers purged goes on behind a snapshot: the replicated state where the peer's
 * retained log begins. Its acceptor keeps every promise and whatever it accepted above; what lies below is chosen, so that
 * nobody may be given a vote on it any more.
 */
export class Snapshots {
  readonly #p: SnapshotsPort;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  #installing = false;

  constructor(port: SnapshotsPort) {
    this.#p = port;
    const { store, transport } = port;
    this.#sender = new SnapshotSender(
      () => store.base,
      (to, piece) => transport.send(to, piece),
    );
    this.#receiver = new SnapshotReceiver({ ...port, ask: (to, ask) => transport.send(to, ask) });
  }

  /** `peer` asked for what is purged here. */
  begin(peer: NodeId): void {
    this.#sender.begin(peer);
  }

  message(from: NodeId, message: SnapshotAsk | SnapshotPiece): void {
    if (message.kind === 'snapshotAsk') {
      this.#sender.answer(from, message);
      return;
    }
    if (this.#installing) return;
    const whole = this.#receiver.piece(from, message, this.#p.clock.now());
    if (whole === null) return;
    this.#installing = true;
    const { store, log, appliedIndex, stopped, installed, failed } = this.#p;
    const { base, state } = whole;
    store
      .install(base)
      .then(() => {
        // The log itself may have come meanwhile, from a peer that still has it.
        if (stopped() || appliedIndex() >= base.appliedIndex) return;
        log.warn('snapshot installed: the log goes on behind it', { peer: from, index: base.appliedIndex });
        installed(state);
      })
      .catch(failed)
      .finally(() => {
        this.#installing = false;
      });
  }

  tick(now: MonoMs): void {
    this.#receiver.tick(now);
  }
}
