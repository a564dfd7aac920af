import { reasonOf } from '../base/errors.ts';
import type { WireFrame, WireHello, WireMessage } from './peer-codec.ts';

/** Bytes waiting for one stream; beyond it bulk is dropped (the core sends again), beyond twice that everything is. */
export const SEND_QUEUE_BYTES_MAX = 16 * 1024 * 1024;
/** Handed to gRPC and not yet taken by the connection: what a small message may have to wait behind. */
const IN_FLIGHT_BYTES_MAX = 1024 * 1024;
/** Frames handed over at once; more would only wait apart instead of together. */
const IN_FLIGHT_FRAMES_MAX = 4;
/** Bulk put into one frame; one message of any size always fits. */
const FRAME_BYTES_MAX = 1024 * 1024;
/** What a message costs in the queue beside its values. */
const MESSAGE_OVERHEAD_BYTES = 64;

/** The part of a gRPC bidi stream, client's or server's, that is used. */
export type FrameCall = {
  write(frame: WireFrame, done: (error?: Error | null) => void): boolean;
  end(): void;
  on(event: 'data', listener: (frame: WireFrame) => void): unknown;
  on(event: 'end' | 'close' | 'cancelled', listener: () => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
};

export type StreamEvents = Readonly<{
  onHello: (hello: WireHello) => void;
  onMessages: (messages: readonly WireMessage[]) => void;
  /** Once, whoever ended it. */
  onEnd: (reason: string) => void;
}>;

type Queued = Readonly<{ message: WireMessage; bytes: number }>;

/**
 * One stream to a peer. What waits together leaves as one frame, small messages (votes, renewals) ahead of bulk; what is
 * alone leaves at once, at the end of the current macrotask's work.
 */
export class PeerStream {
  readonly #call: FrameCall;
  readonly #destroy: () => void;
  readonly #events: StreamEvents;
  readonly #small: Queued[] = [];
  readonly #bulk: Queued[] = [];
  #queuedBytes = 0;
  #inFlightBytes = 0;
  #inFlightFrames = 0;
  #flushing = false;
  #ended = false;

  constructor(call: FrameCall, destroy: () => void, events: StreamEvents) {
    this.#call = call;
    this.#destroy = destroy;
    this.#events = events;
    call.on('data', (frame) => {
      if (this.#ended) return;
      if (frame.hello !== null && frame.hello !== undefined) events.onHello(frame.hello);
      if (!this.#ended && frame.messages !== undefined && frame.messages.length > 0) events.onMessages(frame.messages);
    });
    call.on('error', (error) => this.#end(reasonOf(error)));
    call.on('end', () => this.#end('closed by the peer'));
    call.on('close', () => this.#end('closed'));
    call.on('cancelled', () => this.#end('cancelled by the peer'));
  }

  hello(hello: WireHello): void {
    this.#write({ hello }, MESSAGE_OVERHEAD_BYTES);
  }

  send(message: WireMessage, valueBytes: number, bulk: boolean): void {
    const bytes = valueBytes + MESSAGE_OVERHEAD_BYTES;
    if (this.#ended || this.#queuedBytes + bytes > SEND_QUEUE_BYTES_MAX * (bulk ? 1 : 2)) return;
    (bulk ? this.#bulk : this.#small).push({ message, bytes });
    this.#queuedBytes += bytes;
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  /** Says goodbye with a last hello, if there is one. */
  close(last?: WireHello): void {
    if (this.#ended) return;
    if (last !== undefined) this.#write({ hello: last }, MESSAGE_OVERHEAD_BYTES);
    this.#call.end();
    this.#end('closed by this node');
  }

  /** Drops the connection under it. */
  destroy(reason: string): void {
    this.#end(reason);
    this.#destroy();
  }

  #flush(): void {
    while (
      !this.#ended &&
      (this.#small.length > 0 || this.#bulk.length > 0) &&
      this.#inFlightFrames < IN_FLIGHT_FRAMES_MAX &&
      (this.#inFlightBytes < IN_FLIGHT_BYTES_MAX || this.#inFlightFrames === 0)
    ) {
      let bytes = 0;
      const messages: WireMessage[] = [];
      for (const { message, bytes: size } of this.#small.splice(0)) {
        messages.push(message);
        bytes += size;
      }
      let taken = 0;
      for (const { message, bytes: size } of this.#bulk) {
        if (messages.length > 0 && bytes + size > FRAME_BYTES_MAX) break;
        messages.push(message);
        bytes += size;
        taken += 1;
      }
      this.#bulk.splice(0, taken);
      this.#queuedBytes -= bytes;
      this.#write({ messages }, bytes);
    }
  }

  #write(frame: WireFrame, bytes: number): void {
    this.#inFlightBytes += bytes;
    this.#inFlightFrames += 1;
    this.#call.write(frame, () => {
      this.#inFlightBytes -= bytes;
      this.#inFlightFrames -= 1;
      this.#flush();
    });
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#small.length = 0;
    this.#bulk.length = 0;
    this.#queuedBytes = 0;
    this.#events.onEnd(reason);
  }
}
