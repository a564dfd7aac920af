import { describe, expect, it } from 'vitest';
import { type Ballot, instanceId, nodeId } from '../../../base/brands.ts';
import { CHOSEN_BALLOT } from '../../../binlogsvr/paxos/types.ts';
import {
  type Checkpoint,
  decodeCheckpoint,
  decodeEntry,
  decodeIdentity,
  decodeJournal,
  decodeLogKey,
  decodeSegment,
  encodeCheckpoint,
  encodeEntry,
  encodeIdentity,
  encodeJournal,
  encodeLogKey,
  encodeSegment,
  IDENTITY_KEY,
  RECORD_CLASS,
  type Slot,
  slotOf,
} from '../../../binlogsvr/store-records.ts';

const entryKey = encodeLogKey(7, RECORD_CLASS.entry, 2 ** 40 + 3);
const journalKey = encodeLogKey(8, RECORD_CLASS.journal, 4);
const segmentKey = encodeLogKey(64, RECORD_CLASS.segment, 0);
const checkpointKey = encodeLogKey(64, RECORD_CLASS.checkpoint, 70);
const slots: Slot[] = Array.from({ length: 64 }, (_, i) => ({ seq: i + 2 ** 33, crc: 0xffff_ffff - i, length: i }));
const checkpoint: Checkpoint = {
  sealed: instanceId(64),
  seq: 70,
  promised: 515 as Ballot,
  open: [68, 70],
  meta: { founders: '[1,2,3]' },
  applied: { appliedIndex: instanceId(66), json: '{"x":1}' },
  base: null,
};
const identity = { cluster: 'alpha', node: nodeId(3), storeId: 'id', createdWallMs: 5 };

/** Bytes as format version 1 wrote them: they must decode for ever. */
const FIXED: readonly [string, Buffer, Buffer, string][] = [
  [
    'entry',
    entryKey,
    encodeEntry(entryKey, 515 as Ballot, Buffer.from('hi')),
    '4c0000000000000007010000010000000003 49eab6ae0000000000000002036869',
  ],
  [
    'promise',
    journalKey,
    encodeJournal(journalKey, { kind: 'promised', ballot: CHOSEN_BALLOT }),
    '4c0000000000000008020000000000000004 687226d201001fffffffffffff',
  ],
  [
    'fact',
    journalKey,
    encodeJournal(journalKey, { kind: 'meta', key: 'k', value: 'v' }),
    '4c0000000000000008020000000000000004 dfab8350025b226b222c2276225d',
  ],
];

describe('store records, format version 1', () => {
  it('round trips', () => {
    expect(decodeLogKey(entryKey)).toEqual({ position: 7, recordClass: 1, seq: 2 ** 40 + 3 });
    const record = encodeEntry(entryKey, CHOSEN_BALLOT, Buffer.from('value'));
    const entry = decodeEntry(entryKey, record);
    expect(entry).toMatchObject({ ballot: CHOSEN_BALLOT, slot: slotOf(2 ** 40 + 3, record) });
    expect(String(entry?.value)).toBe('value');
    const fact = { kind: 'meta', key: 'k', value: 'ä' } as const;
    expect(decodeJournal(journalKey, encodeJournal(journalKey, fact))).toEqual(fact);
    const promise = { kind: 'promised', ballot: 515 as Ballot } as const;
    expect(decodeJournal(journalKey, encodeJournal(journalKey, promise))).toEqual(promise);
    expect(decodeSegment(segmentKey, encodeSegment(segmentKey, slots))).toEqual(slots);
    expect(decodeCheckpoint(checkpointKey, encodeCheckpoint(checkpointKey, checkpoint))).toEqual(checkpoint);
    expect(decodeIdentity(encodeIdentity(identity))).toEqual({ format: 1, ...identity });
  });

  it.each(FIXED)('%s keeps its bytes', (_name, key, record, expected) => {
    expect(`${key.toString('hex')} ${record.toString('hex')}`).toBe(expected);
  });

  it('refuses any flipped bit, any cut, and the record of another key', () => {
    const cases: [Buffer, Buffer, (key: Uint8Array, record: Uint8Array) => unknown][] = [
      [entryKey, encodeEntry(entryKey, 515 as Ballot, Buffer.from('hello')), decodeEntry],
      [journalKey, encodeJournal(journalKey, { kind: 'promised', ballot: 515 as Ballot }), decodeJournal],
      [journalKey, encodeJournal(journalKey, { kind: 'meta', key: 'k', value: 'v' }), decodeJournal],
      [segmentKey, encodeSegment(segmentKey, slots), decodeSegment],
      [checkpointKey, encodeCheckpoint(checkpointKey, checkpoint), decodeCheckpoint],
      [IDENTITY_KEY, encodeIdentity(identity), (_key, record) => decodeIdentity(record)],
    ];
    for (const [key, record, decode] of cases) {
      expect(decode(key, record)).not.toBeNull();
      for (let bit = 0; bit < record.length * 8; bit += 1) {
        const changed = Buffer.from(record);
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(decode(key, changed)).toBeNull();
      }
      for (let length = 0; length < record.length; length += 1) {
        expect(decode(key, record.subarray(0, length))).toBeNull();
      }
      if (key === IDENTITY_KEY) continue;
      for (let bit = 0; bit < key.length * 8; bit += 1) {
        const other = Buffer.from(key);
        other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(decode(other, record)).toBeNull();
      }
    }
  });

  it('keys order by position, then class, then number', () => {
    const keys = [
      encodeLogKey(1, RECORD_CLASS.entry, 0),
      encodeLogKey(1, RECORD_CLASS.entry, 2 ** 33),
      encodeLogKey(1, RECORD_CLASS.checkpoint, 0),
      encodeLogKey(255, RECORD_CLASS.entry, 1),
      encodeLogKey(256, RECORD_CLASS.entry, 1),
      encodeLogKey(2 ** 32, RECORD_CLASS.entry, 1),
    ];
    expect(keys.toSorted(Buffer.compare)).toEqual(keys);
    expect(decodeLogKey(Buffer.from('F'))).toBeNull();
  });
});
