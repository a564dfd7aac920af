import type { BatchOp } from './store-database.ts';
import type { CheckpointPlan } from './store-ledger.ts';
import { encodeCheckpoint, encodeLogKey, encodeSegment, RECORD_CLASS } from './store-records.ts';

/** The writes of a checkpoint; all of them in one batch, as the records it makes obsolete are counted until it is there. */
export function planOps({ checkpoint, segments, obsoleteEntries, obsoleteJournal }: CheckpointPlan): BatchOp[] {
  const ops: BatchOp[] = segments.map(({ last, slots }) => {
    const key = encodeLogKey(last, RECORD_CLASS.segment, 0);
    return { type: 'put', key, value: encodeSegment(key, slots) };
  });
  const key = encodeLogKey(checkpoint.sealed, RECORD_CLASS.checkpoint, checkpoint.seq);
  ops.push({ type: 'put', key, value: encodeCheckpoint(key, checkpoint) });
  for (const { instance, seq } of obsoleteEntries) {
    ops.push({ type: 'del', key: encodeLogKey(instance, RECORD_CLASS.entry, seq) });
  }
  for (const { position, seq } of obsoleteJournal) {
    ops.push({ type: 'del', key: encodeLogKey(position, RECORD_CLASS.journal, seq) });
  }
  return ops;
}
