import { describe, expect, it } from 'vitest';
import { type Ballot, instanceId, NO_BALLOT, NO_INSTANCE } from '../../../base/brands.ts';
import { CHOSEN_BALLOT } from '../../../binlogsvr/paxos/types.ts';
import { CHECKPOINT_INSTANCES, CHECKPOINT_JOURNAL, findGap, Ledger } from '../../../binlogsvr/store-ledger.ts';
import type { Checkpoint, Slot } from '../../../binlogsvr/store-records.ts';
import { B1, B2 } from './log-store-values.ts';

const EMPTY: Checkpoint = {
  sealed: NO_INSTANCE,
  seq: 0,
  promised: NO_BALLOT,
  open: [],
  meta: {},
  applied: null,
  base: null,
};

const slot = (seq: number): Slot => ({ seq, crc: seq * 7, length: 10 });

function note(ledger: Ledger, instance: number, seq: number, ballot: Ballot = B1): void {
  ledger.noteEntry(instanceId(instance), ballot, slot(seq));
}

describe('Ledger', () => {
  it('seals whole segments of what is applied, lists the rest and drops what was replaced', () => {
    const ledger = new Ledger(EMPTY);
    for (let i = 1; i <= 140; i += 1) note(ledger, i, i);
    note(ledger, 5, 141, B2);
    note(ledger, 139, 142, B2);
    ledger.noteJournal(ledger.journalPosition, 143, { kind: 'meta', key: 'k', value: 'v' });
    expect(ledger.noteApplied({ appliedIndex: instanceId(135), json: '{}' })).toBeNull();
    const plan = ledger.planCheckpoint();
    expect(plan.segments.map((s) => s.last)).toEqual([64, 128]);
    expect(plan.segments[0]?.slots[4]).toEqual(slot(141));
    expect(plan.checkpoint).toMatchObject({ sealed: 128, seq: 143, promised: B2, meta: { k: 'v' } });
    expect(plan.checkpoint.open).toEqual([129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 142]);
    expect(plan.obsoleteEntries).toEqual([{ instance: 5, seq: 5 }]);
    expect(plan.obsoleteJournal).toEqual([{ position: 141, seq: 143 }]);
    ledger.noteCheckpoint(plan);
    expect(ledger.sealed).toBe(128);
    expect(ledger.slot(instanceId(128))).toBeUndefined();
    expect(ledger.slot(instanceId(139))).toEqual(slot(142));
    expect(ledger.checkpointUseful).toBe(false);
    expect(findGap(plan.checkpoint, [...plan.checkpoint.open, 144, 145])).toBeNull();
  });

  it('a checkpoint is due by instances, by bytes and by journal records', () => {
    const byInstances = new Ledger(EMPTY);
    for (let i = 1; i <= CHECKPOINT_INSTANCES; i += 1) note(byInstances, i, i);
    expect(byInstances.checkpointDue).toBe(false);
    byInstances.noteApplied({ appliedIndex: instanceId(CHECKPOINT_INSTANCES), json: '{}' });
    expect(byInstances.checkpointDue).toBe(true);

    const byBytes = new Ledger(EMPTY);
    for (let i = 1; i <= 64; i += 1) byBytes.noteEntry(instanceId(i), B1, { seq: i, crc: 0, length: 1 << 20 });
    byBytes.noteApplied({ appliedIndex: instanceId(63), json: '{}' });
    expect(byBytes.checkpointDue).toBe(false);
    byBytes.noteApplied({ appliedIndex: instanceId(64), json: '{}' });
    expect(byBytes.checkpointDue).toBe(true);

    const byJournal = new Ledger(EMPTY);
    for (let i = 1; i <= CHECKPOINT_JOURNAL; i += 1)
      byJournal.noteJournal(instanceId(1), i, { kind: 'promised', ballot: B1 });
    expect(byJournal.checkpointDue).toBe(false);
    byJournal.noteJournal(instanceId(1), 65, { kind: 'promised', ballot: B2 });
    expect(byJournal.checkpointDue).toBe(true);
    byJournal.noteCheckpoint(byJournal.planCheckpoint());
    expect(byJournal.checkpointDue).toBe(false);
    expect(byJournal.promised).toBe(B2);
  });

  it('a state beyond what is there does not count', () => {
    const ledger = new Ledger(EMPTY);
    note(ledger, 1, 1);
    note(ledger, 3, 2, CHOSEN_BALLOT);
    expect(ledger.noteApplied({ appliedIndex: instanceId(3), json: '{}' })).toBe(2);
    expect(ledger.applied).toBeNull();
  });
});

describe('findGap', () => {
  const checkpoint: Checkpoint = { ...EMPTY, seq: 10, open: [4, 9] };
  it.each([
    [[4, 9], null],
    [[9, 11, 4, 12], null],
    [[9], 'acceptor record 4 is missing'],
    [[4, 9, 12], 'acceptor record 11 is missing'],
    [[4, 9, 11, 11], 'acceptor record 11 should not be there'],
    [[4, 7, 9], 'acceptor record 7 should not be there'],
    [[4], 'acceptor record 9 is missing'],
    [[], 'acceptor record 4 is missing'],
    [[4, 9, 11, 9_007_199_254_740_990], 'acceptor record 12 is missing'],
  ])('%j: %s', (seqs, gap) => {
    expect(findGap(checkpoint, seqs)).toBe(gap);
  });
});
