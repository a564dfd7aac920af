import { crc32 } from 'node:zlib';
import { type Ballot, type InstanceId, instanceId, NO_BALLOT, nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { unreachable } from '../base/invariant.ts';
import { addressFromPlain, type PlainAddress } from './member-codec.ts';
import { CHOSEN_BALLOT, type Entry, type Holding } from './paxos/types.ts';
import type { LeaseAge, PeerHello, PeerMessage, Recalled } from './peer-transport.ts';

/** The messages of proto/paxos.proto as proto-loader hands them over (camelCase, defaults, bytes as Buffers). */
export type WireEntry = { instance: number; ballot: number; value: Uint8Array };
export type WireMessage = { body?: string } & Record<string, unknown>;
export type WireHello = {
  cluster: string;
  checksum: Uint8Array;
  node: number;
  storeId: string;
  durableSeq: number;
  chosenUpTo: number;
  empty: boolean;
  protocol: string;
  refused: string;
  confirmed: number;
  removed?: boolean;
  founders: { node: number; storeId: string }[];
  incarnation: number;
  leaseAge?: LeaseAge | null;
  runs?: { build: string; mysql: string } | null;
  joins?: PlainAddress | null;
};
export type WireFrame = { hello?: WireHello | null; messages?: WireMessage[] };

const NACK_REASONS = ['ballot', 'lease', 'not-voter'] as const;

/** CRC-32 over all entries; TCP's own checksum lets one damaged segment in some ten thousand pass. */
function entriesCrc(entries: readonly Entry[]): number {
  const head = Buffer.allocUnsafe(16);
  let crc = 0;
  for (const { instance, ballot, value } of entries) {
    head.writeDoubleBE(instance, 0);
    head.writeDoubleBE(ballot, 8);
    crc = crc32(value, crc32(head, crc));
  }
  return crc;
}

export function toWire(message: PeerMessage): WireMessage {
  switch (message.kind) {
    case 'prepare':
      return { prepare: { ballot: message.ballot, from: message.from } };
    case 'promise':
      return {
        promise: {
          ballot: message.ballot,
          chosenUpTo: message.chosenUpTo,
          accepted: message.accepted,
          crc: entriesCrc(message.accepted),
          durableSeq: message.durableSeq,
          ...(message.leaseAge === null ? {} : { leaseAge: message.leaseAge }),
        },
      };
    case 'nack':
      return { nack: { ballot: message.ballot, promised: message.promised, reason: message.reason } };
    case 'accept':
      return {
        accept: {
          ballot: message.ballot,
          entries: message.entries,
          crc: entriesCrc(message.entries),
          chosenUpTo: message.chosenUpTo,
        },
      };
    case 'accepted':
      return { accepted: { ballot: message.ballot, instances: message.instances, durableSeq: message.durableSeq } };
    case 'commit':
      return { commit: { ballot: message.ballot, chosenUpTo: message.chosenUpTo } };
    case 'learn':
      return { learn: { from: message.from } };
    case 'learned':
      return {
        learned: {
          entries: message.entries,
          crc: entriesCrc(message.entries),
          chosenUpTo: message.chosenUpTo,
          firstRetained: message.firstRetained,
          ...(message.leaseAge === null ? {} : { leaseAge: message.leaseAge }),
        },
      };
    case 'snapshot': {
      const { index, crc, total, offset, pieceCrc, data } = message;
      return { snapshot: { index, crc, total, offset, pieceCrc, data } };
    }
    case 'snapshotAsk':
      return { snapshotAsk: { index: message.index, crc: message.crc, offset: message.offset } };
    case 'needs':
      return { needs: { executed: message.executed ?? 0, none: message.executed === null } };
    case 'successorAsk':
      return { successorAsk: { epoch: message.epoch } };
    case 'successorSays': {
      const { epoch, executed, lagMs, refusal } = message;
      return { successorSays: { epoch, executed, lagMs, refusal } };
    }
    case 'progress': {
      const { executed, catchUpMs, refusal } = message;
      return { progress: { executed, catchUpMs: catchUpMs ?? -1, refusal } };
    }
    case 'recall':
      return { recall: { instance: message.instance } };
    case 'recalled': {
      const entry = entryOf(message);
      return {
        recalled: { instance: message.instance, ...(entry === null ? {} : { entry, crc: entriesCrc([entry]) }) },
      };
    }
    case 'query':
      return { query: { id: message.id } };
    case 'answer':
      return {
        answer: { id: message.id, highestAccepted: message.highestAccepted, chosenUpTo: message.chosenUpTo },
      };
    default:
      return unreachable(message);
  }
}

type WireBody = {
  ballot: number;
  from: number;
  chosenUpTo: number;
  accepted: WireEntry[];
  entries: WireEntry[];
  instances: number[];
  promised: number;
  reason: string;
  durableSeq: number;
  firstRetained: number;
  leaseAge: LeaseAge | null;
  instance: number;
  entry: WireEntry | null;
  index: number;
  crc: number;
  total: number;
  offset: number;
  pieceCrc: number;
  data: Uint8Array;
  executed: number;
  none: boolean;
  epoch: number;
  lagMs: number;
  catchUpMs: number;
  refusal: string;
  id: number;
  highestAccepted: number;
};

/** The message, or null for a kind this version does not know. @throws PhxError PEER_REFUSED on what no peer of ours sends. */
export function fromWire(wire: WireMessage): PeerMessage | null {
  const kind = wire.body;
  if (kind === undefined) return null;
  const body = wire[kind] as WireBody;
  switch (kind) {
    case 'prepare':
      return { kind, ballot: ballotIn(body.ballot), from: instanceIn(body.from) };
    case 'promise':
      return {
        kind,
        ballot: ballotIn(body.ballot),
        chosenUpTo: instanceIn(body.chosenUpTo),
        accepted: entriesIn(body.accepted, body.crc),
        durableSeq: body.durableSeq,
        leaseAge: body.leaseAge ?? null,
      };
    case 'nack': {
      const reason = NACK_REASONS.find((known) => known === body.reason);
      if (reason === undefined) return null;
      return { kind, ballot: ballotIn(body.ballot), promised: ballotIn(body.promised), reason };
    }
    case 'accept':
      return {
        kind,
        ballot: ballotIn(body.ballot),
        entries: entriesIn(body.entries, body.crc),
        chosenUpTo: instanceIn(body.chosenUpTo),
      };
    case 'accepted':
      return {
        kind,
        ballot: ballotIn(body.ballot),
        instances: body.instances.map(instanceIn),
        durableSeq: body.durableSeq,
      };
    case 'commit':
      return { kind, ballot: ballotIn(body.ballot), chosenUpTo: instanceIn(body.chosenUpTo) };
    case 'learn':
      return { kind, from: instanceIn(body.from) };
    case 'learned':
      return {
        kind,
        entries: entriesIn(body.entries, body.crc),
        chosenUpTo: instanceIn(body.chosenUpTo),
        leaseAge: body.leaseAge ?? null,
        firstRetained: body.firstRetained,
      };
    case 'snapshot': {
      const { crc, pieceCrc, data } = body;
      const total = wholeNumber(body.total, 'snapshot size');
      const offset = wholeNumber(body.offset, 'snapshot offset');
      return { kind, index: instanceIn(body.index), crc, total, offset, pieceCrc, data };
    }
    case 'snapshotAsk':
      return {
        kind,
        index: instanceIn(body.index),
        crc: body.crc,
        offset: wholeNumber(body.offset, 'snapshot offset'),
      };
    case 'needs':
      return { kind, executed: body.none ? null : instanceIn(body.executed) };
    case 'successorAsk':
      return { kind, epoch: body.epoch };
    case 'successorSays': {
      const { epoch, lagMs, refusal } = body;
      return { kind, epoch, executed: instanceIn(body.executed), lagMs, refusal };
    }
    case 'progress': {
      const { catchUpMs, refusal } = body;
      return { kind, executed: instanceIn(body.executed), catchUpMs: catchUpMs < 0 ? null : catchUpMs, refusal };
    }
    case 'recall':
      return { kind, instance: instanceIn(body.instance) };
    case 'recalled': {
      const [entry] = body.entry ? entriesIn([body.entry], body.crc) : [];
      const instance = instanceIn(body.instance);
      if (entry !== undefined && entry.instance !== instance) {
        throw new PhxError('PEER_REFUSED', `read values: ${entry.instance} in the answer about ${instance}`);
      }
      return { kind, instance, holding: holdingOf(entry) };
    }
    case 'query':
      return { kind, id: body.id };
    case 'answer':
      return { kind, id: body.id, highestAccepted: body.highestAccepted, chosenUpTo: body.chosenUpTo };
    default:
      return null;
  }
}

export function helloFromWire(wire: WireHello): PeerHello {
  const joins = addressFromPlain(wire.joins ?? {});
  return {
    node: nodeId(wire.node),
    storeId: wire.storeId,
    incarnation: wire.incarnation,
    durableSeq: wire.durableSeq,
    chosenUpTo: wire.chosenUpTo,
    empty: wire.empty,
    founders: wire.founders.map((f) => ({ node: nodeId(f.node), storeId: f.storeId })),
    leaseAge: wire.leaseAge ?? null,
    ...(wire.runs ? { runs: { build: wire.runs.build, mysql: wire.runs.mysql } } : {}),
    ...(joins === undefined ? {} : { joins }),
  };
}

/** A damaged value must not be accepted: two would be chosen for one instance. The stream is dropped, all is sent again. */
function entriesIn(wire: readonly WireEntry[], crc: number): Entry[] {
  const entries = wire.map((e) => ({ instance: instanceIn(e.instance), ballot: ballotIn(e.ballot), value: e.value }));
  if (entriesCrc(entries) !== crc) throw new PhxError('PEER_REFUSED', 'read values: damaged on the way');
  return entries;
}

/** All an answer says is under one checksum: "nothing" counts as much as a value does. */
function entryOf({ instance, holding }: Recalled): Entry | null {
  switch (holding.kind) {
    case 'chosen':
      return { instance, ballot: CHOSEN_BALLOT, value: holding.value };
    case 'accepted':
      return { instance, ballot: holding.ballot, value: holding.value };
    case 'nothing':
      return { instance, ballot: NO_BALLOT, value: new Uint8Array(0) };
    case 'unknown':
      return null;
    default:
      return unreachable(holding);
  }
}

function holdingOf(entry: Entry | undefined): Holding {
  if (entry === undefined) return { kind: 'unknown' };
  const { ballot, value } = entry;
  if (ballot === NO_BALLOT) return { kind: 'nothing' };
  return ballot === CHOSEN_BALLOT ? { kind: 'chosen', value } : { kind: 'accepted', ballot, value };
}

function ballotIn(n: number): Ballot {
  return wholeNumber(n, 'ballot') as Ballot;
}

function instanceIn(n: number): InstanceId {
  return instanceId(wholeNumber(n, 'instance'));
}

function wholeNumber(n: number, what: string): number {
  if (!Number.isSafeInteger(n) || n < 0) throw new PhxError('PEER_REFUSED', `read ${what}: ${n} is not a whole number`);
  return n;
}
