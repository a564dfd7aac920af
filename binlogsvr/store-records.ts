/**
 * Keys and records of the acceptor database. What is written by a released version stays openable for ever: a change gets a
 * new version number here, and the reader of the old one stays. Version 1 knows no `base` and no zero slots: its log begins at
 * the first instance. A store becomes version 2 with its first purge or installed snapshot.
 *
 * Every value begins with crc32 over its own key and all bytes behind the checksum, so that a record that shows up under
 * another key is as bad as a changed one. It is CRC-32 with the IEEE polynomial (zlib), on purpose another one than the
 * CRC-32C with which LevelDB guards (and after damage re-seals) its own blocks. All numbers are big-endian.
 *
 *   key "F"                                    value                                   written once, with the store
 *                                              | crc u32 | JSON {format, cluster, node, storeId, createdWallMs} |
 *
 *   key | "L" | position u64 | class u8 | seq u64 |     the log: one key order for everything, so that LevelDB's tables hardly
 *                                                       overlap and compaction does not rewrite values again and again
 *     class 1  entry        position = instance; seq 0 = value fetched again from a peer, outside the dense sequence
 *                           | crc u32 | encoding u8 = 0 | ballot u64 | value ... |
 *     class 2  journal      position = above every instance then known
 *                           | crc u32 | 1 | ballot u64 |          the acceptor promised this ballot
 *                           | crc u32 | 2 | JSON [key, value] |   a small durable fact
 *     class 3  segment      position = its last instance (a multiple of 64), seq = 0: which record holds each chosen instance
 *                           | crc u32 | 64 x ( seq u64 | crc of the entry u32 | bytes of the value u32 ) |
 *     class 4  checkpoint   position = last sealed instance, seq = number of the newest record then
 *                           | crc u32 | JSON {promised, open: [seq ...], meta: {..}, applied: SavedState | null, base: LogBase | null} |
 *
 * Entries and journal records carry a dense sequence number and a key of their own: nothing is ever overwritten, so no damage
 * can bring an older version of a key back to life.
 *
 *        sealed: chosen, final                    live: what the acceptor's promises rest on
 *   ... e e e e S  e e e e S [C]  | e e e j e e e j e e e
 *              segment     segment checkpoint ^ must be there in full: numbers = C.open plus (C.seq, newest], without a gap
 *
 * Whatever counts for an acceptor lies behind the newest checkpoint in key order and is read in full when the store is opened: a
 * missing number or a bad checksum there is amnesia. What lies before it is chosen; each read compares it with its
 * segment, and what is missing or differs is STORE_CORRUPT and comes again from a peer.
 */
import { crc32 } from 'node:zlib';
import type { Ballot, InstanceId, NodeId } from '../base/brands.ts';
import { invariant } from '../base/invariant.ts';
import type { Entry } from './paxos/types.ts';
import type { LogBase, SavedState, StoreIdentity } from './store-port.ts';

export const STORE_FORMAT = 2;
/** What a new store begins with. */
export const STORE_FORMAT_FIRST = 1;

export const IDENTITY_KEY: Buffer = Buffer.from('F');
/** Of the meta record (getMeta) of a store that was begun because the one before forgot: its value is the reason. */
export const META_AMNESIAC = 'amnesiac';
const LOG_PREFIX = 0x4c;
const LOG_KEY_BYTES = 18;
const CRC_BYTES = 4;
const ENTRY_RAW = 0;
const ENTRY_HEADER_BYTES = CRC_BYTES + 1 + 8;
const JOURNAL_PROMISE = 1;
const JOURNAL_META = 2;
/** Instances per segment: the open scan reads up to this many chosen values again, a lost segment costs this many fetches. */
export const SEGMENT_INSTANCES = 64;
const SLOT_BYTES = 16;

export const RECORD_CLASS = { entry: 1, journal: 2, segment: 3, checkpoint: 4 } as const;
export type RecordClass = (typeof RECORD_CLASS)[keyof typeof RECORD_CLASS];

export type LogKey = Readonly<{ position: InstanceId; recordClass: RecordClass; seq: number }>;

/** Which record holds an instance: the record with this number and checksum, and no other. */
export type Slot = Readonly<{ seq: number; crc: number; length: number }>;

export type JournalRecord =
  | Readonly<{ kind: 'promised'; ballot: Ballot }>
  | Readonly<{ kind: 'meta'; key: string; value: string }>;

export type Checkpoint = Readonly<{
  /** Every instance up to here is chosen and described by a segment. */
  sealed: InstanceId;
  /** Number of the newest record when it was written. */
  seq: number;
  promised: Ballot;
  /** Numbers up to `seq` of the entries above `sealed`. */
  open: readonly number[];
  meta: Readonly<Record<string, string>>;
  /** So that the acceptor's own database tells what need not be scanned, whatever became of the rebuildable one. */
  applied: SavedState | null;
  /** What was purged, or never was here. Such instances have zero slots in a segment, or none. */
  base: LogBase | null;
}>;

export function encodeLogKey(position: number, recordClass: RecordClass, seq: number): Buffer {
  const key = Buffer.allocUnsafe(LOG_KEY_BYTES);
  key[0] = LOG_PREFIX;
  putU64(key, position, 1);
  key[9] = recordClass;
  putU64(key, seq, 10);
  return key;
}

/** null: not a key of the log. */
export function decodeLogKey(key: Uint8Array): LogKey | null {
  const bytes = asBuffer(key);
  if (bytes.length !== LOG_KEY_BYTES || bytes[0] !== LOG_PREFIX) return null;
  const recordClass = bytes[9] as RecordClass;
  const position = getU64(bytes, 1) as InstanceId;
  const seq = getU64(bytes, 10);
  if (recordClass < 1 || recordClass > 4 || !Number.isSafeInteger(position) || !Number.isSafeInteger(seq)) return null;
  return { position, recordClass, seq };
}

/** The record and its own checksum. One copy of the value: LevelDB takes a key's value as one piece. */
export function encodeEntry(key: Buffer, ballot: Ballot, value: Uint8Array): Buffer {
  const record = Buffer.allocUnsafe(ENTRY_HEADER_BYTES + value.length);
  record[CRC_BYTES] = ENTRY_RAW;
  putU64(record, ballot, CRC_BYTES + 1);
  record.set(value, ENTRY_HEADER_BYTES);
  return seal(key, record);
}

/** null: damaged. `value` is a view into the record. */
export function decodeEntry(
  key: Uint8Array,
  record: Uint8Array,
): { ballot: Ballot; value: Uint8Array; slot: Slot } | null {
  const bytes = asBuffer(record);
  if (bytes.length < ENTRY_HEADER_BYTES || !isIntact(key, bytes) || bytes[CRC_BYTES] !== ENTRY_RAW) return null;
  const value = bytes.subarray(ENTRY_HEADER_BYTES);
  const ballot = getU64(bytes, CRC_BYTES + 1) as Ballot;
  const seq = getU64(asBuffer(key), 10);
  return { ballot, value, slot: { seq, crc: bytes.readUInt32BE(0), length: value.length } };
}

/** The ballot of a record whose checksum is wrong, which may be what is wrong about it; null: no number a ballot can be. */
export function ballotIn(record: Uint8Array): Ballot | null {
  const bytes = asBuffer(record);
  if (bytes.length < ENTRY_HEADER_BYTES || bytes[CRC_BYTES] !== ENTRY_RAW) return null;
  const ballot = getU64(bytes, CRC_BYTES + 1);
  return Number.isSafeInteger(ballot) ? (ballot as Ballot) : null;
}

export const slotOf = (seq: number, record: Buffer): Slot => ({
  seq,
  crc: record.readUInt32BE(0),
  length: record.length - ENTRY_HEADER_BYTES,
});

/** The entry, if this record is the one the segment or ledger names, or one that was fetched again. */
export function checkEntry(instance: InstanceId, slot: Slot | null, key: Uint8Array, record: Uint8Array): Entry | null {
  const entry = decodeEntry(key, record);
  if (entry === null) return null;
  const named = slot !== null && entry.slot.seq === slot.seq && entry.slot.crc === slot.crc;
  return named || entry.slot.seq === 0 ? { instance, ballot: entry.ballot, value: entry.value } : null;
}

/** A record made of this ballot and value is the one the slot was taken of. */
export function isSlotOf({ length, crc, seq }: Slot, key: Buffer, ballot: Ballot, value: Uint8Array): boolean {
  return value.length === length && slotOf(seq, encodeEntry(key, ballot, value)).crc === crc;
}

export function encodeJournal(key: Buffer, journal: JournalRecord): Buffer {
  if (journal.kind === 'meta') {
    const json = Buffer.from(JSON.stringify([journal.key, journal.value]));
    return seal(key, Buffer.concat([Buffer.alloc(CRC_BYTES), Buffer.from([JOURNAL_META]), json]));
  }
  const record = Buffer.allocUnsafe(CRC_BYTES + 9);
  record[CRC_BYTES] = JOURNAL_PROMISE;
  putU64(record, journal.ballot, CRC_BYTES + 1);
  return seal(key, record);
}

export function decodeJournal(key: Uint8Array, record: Uint8Array): JournalRecord | null {
  const bytes = asBuffer(record);
  if (bytes.length < CRC_BYTES + 1 || !isIntact(key, bytes)) return null;
  if (bytes[CRC_BYTES] === JOURNAL_PROMISE && bytes.length === CRC_BYTES + 9) {
    return { kind: 'promised', ballot: getU64(bytes, CRC_BYTES + 1) as Ballot };
  }
  if (bytes[CRC_BYTES] !== JOURNAL_META) return null;
  const [name, value] = JSON.parse(bytes.toString('utf8', CRC_BYTES + 1)) as [string, string];
  return { kind: 'meta', key: name, value };
}

/** Holds exactly SEGMENT_INSTANCES slots, in instance order. */
export function encodeSegment(key: Buffer, slots: readonly Slot[]): Buffer {
  invariant(slots.length === SEGMENT_INSTANCES, `segment of ${slots.length} instances`);
  const record = Buffer.allocUnsafe(CRC_BYTES + SLOT_BYTES * SEGMENT_INSTANCES);
  slots.forEach((slot, i) => {
    const at = CRC_BYTES + SLOT_BYTES * i;
    putU64(record, slot.seq, at);
    record.writeUInt32BE(slot.crc, at + 8);
    record.writeUInt32BE(slot.length, at + 12);
  });
  return seal(key, record);
}

export function decodeSegment(key: Uint8Array, record: Uint8Array): readonly Slot[] | null {
  const bytes = asBuffer(record);
  if (bytes.length !== CRC_BYTES + SLOT_BYTES * SEGMENT_INSTANCES || !isIntact(key, bytes)) return null;
  return Array.from({ length: SEGMENT_INSTANCES }, (_, i) => {
    const at = CRC_BYTES + SLOT_BYTES * i;
    return { seq: getU64(bytes, at), crc: bytes.readUInt32BE(at + 8), length: bytes.readUInt32BE(at + 12) };
  });
}

export function encodeCheckpoint(key: Buffer, checkpoint: Checkpoint): Buffer {
  const { promised, open, meta, applied, base } = checkpoint;
  return encodeJson(key, { promised, open, meta, applied, base });
}

export function decodeCheckpoint(key: Uint8Array, record: Uint8Array): Checkpoint | null {
  const at = decodeLogKey(key);
  const body = decodeJson(key, record);
  if (at === null || body === null) return null;
  const { promised, open, meta, applied, base = null } = body as Omit<Checkpoint, 'sealed' | 'seq'>;
  return { promised, open, meta, applied, base, sealed: at.position, seq: at.seq };
}

export type StoredIdentity = StoreIdentity & Readonly<{ format: number }>;

export function encodeIdentity(identity: StoreIdentity, format: number = STORE_FORMAT_FIRST): Buffer {
  return encodeJson(IDENTITY_KEY, { format, ...identity });
}

/** This much is the same in every format version to come: the checksum and JSON with `format`. */
export function decodeIdentity(record: Uint8Array): StoredIdentity | null {
  const body = decodeJson(IDENTITY_KEY, record) as StoredIdentity | null;
  return body === null ? null : { ...body, node: body.node as NodeId };
}

/** Any JSON behind a checksum; also used by the rebuildable database. */
export function encodeJson(key: Buffer, body: unknown): Buffer {
  return seal(key, Buffer.concat([Buffer.alloc(CRC_BYTES), Buffer.from(JSON.stringify(body))]));
}

/** null: damaged. */
export function decodeJson(key: Uint8Array, record: Uint8Array): unknown {
  const bytes = asBuffer(record);
  if (bytes.length <= CRC_BYTES || !isIntact(key, bytes)) return null;
  return JSON.parse(bytes.toString('utf8', CRC_BYTES)) as unknown;
}

function seal(key: Uint8Array, record: Buffer): Buffer {
  record.writeUInt32BE(crc32(record.subarray(CRC_BYTES), crc32(key)), 0);
  return record;
}

function isIntact(key: Uint8Array, record: Buffer): boolean {
  return record.length >= CRC_BYTES && record.readUInt32BE(0) === crc32(record.subarray(CRC_BYTES), crc32(key));
}

function putU64(buffer: Buffer, value: number, at: number): void {
  invariant(Number.isSafeInteger(value) && value >= 0, `store number ${value}`);
  buffer.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at);
  buffer.writeUInt32BE(value % 0x1_0000_0000, at + 4);
}

function getU64(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) * 0x1_0000_0000 + buffer.readUInt32BE(at + 4);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
