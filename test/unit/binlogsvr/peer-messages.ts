import { instanceId } from '../../../base/brands.ts';
import { fromWire, toWire, type WireMessage } from '../../../binlogsvr/peer-codec.ts';
import type { PeerMessage } from '../../../binlogsvr/peer-transport.ts';
import { serviceClass } from '../../../proto/rpc-channel.ts';
import { accepted, B1, B2 } from './log-store-values.ts';

const { Exchange: exchange } = serviceClass('paxos.proto', 'Peer').service;

/** As gRPC sends it, frame and all. */
export function encodeMessage(message: PeerMessage): Buffer {
  return exchange?.requestSerialize({ messages: [toWire(message)] }) as Buffer;
}

/** What a frame holds; null for a kind unknown here. @throws Error of protobufjs, PhxError PEER_REFUSED */
export function decodeMessages(bytes: Uint8Array): readonly (PeerMessage | null)[] {
  const frame = exchange?.requestDeserialize(Buffer.from(bytes)) as { messages: WireMessage[] };
  return frame.messages.map(fromWire);
}

const entries = [1, 2].map((i) => {
  const record = accepted(i, B1, `value ${i}`);
  if (record.kind !== 'accepted') throw new Error('not a value');
  return { ...record.entry, value: Buffer.from(record.entry.value) };
});
const value = Buffer.from('the value');
const instance = instanceId(7);
const chosenUpTo = instanceId(3);
const leaseAge = { epoch: 1, renewal: 2, ageMs: 30, incarnation: 4 };

/** One of each kind, `recalled` with each holding. */
export const MESSAGES: readonly PeerMessage[] = [
  { kind: 'prepare', ballot: B1, from: instance },
  { kind: 'promise', ballot: B1, accepted: entries, chosenUpTo, durableSeq: 3, leaseAge },
  { kind: 'nack', ballot: B1, promised: B2, reason: 'ballot' },
  { kind: 'accept', ballot: B1, entries, chosenUpTo },
  { kind: 'accepted', ballot: B1, instances: [instance], durableSeq: 3 },
  { kind: 'commit', ballot: B1, chosenUpTo },
  { kind: 'learn', from: instance },
  { kind: 'learned', entries, chosenUpTo, leaseAge: null, firstRetained: 1 },
  { kind: 'query', id: 9 },
  { kind: 'answer', id: 9, highestAccepted: 8, chosenUpTo: 7 },
  { kind: 'snapshot', index: instance, crc: 1, total: 2, offset: 0, pieceCrc: 3, data: value },
  { kind: 'snapshotAsk', index: instance, crc: 1, offset: 0 },
  { kind: 'needs', executed: instance },
  { kind: 'successorAsk', epoch: 2 },
  { kind: 'successorSays', epoch: 2, executed: instance, lagMs: 4, refusal: 'no' },
  { kind: 'progress', executed: instance, catchUpMs: 5, refusal: 'no' },
  { kind: 'progress', executed: instance, catchUpMs: null, refusal: '' },
  { kind: 'recall', instance },
  { kind: 'recalled', instance, holding: { kind: 'chosen', value } },
  { kind: 'recalled', instance, holding: { kind: 'accepted', ballot: B2, value } },
  { kind: 'recalled', instance, holding: { kind: 'nothing' } },
  { kind: 'recalled', instance, holding: { kind: 'unknown' } },
];
