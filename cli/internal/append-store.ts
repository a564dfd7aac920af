import { epochOf } from '../../base/brands.ts';
import { PhxError } from '../../base/errors.ts';
import type { Replica } from '../../binlogsvr/replica.ts';
import type { AppendStore, StoreState } from '../../sync/ports.ts';

const LEAD_MS = 2000;
/** An append in a slot ends only with the log itself; without a quorum that may take as long as an outage. */
const APPEND_MS = 24 * 3600 * 1000;

/** sync's store is the replica of the same process. */
export function appendStoreOf(replica: Replica): AppendStore {
  let last: Promise<unknown> = Promise.resolve();
  const check = (epoch: number): void => {
    const { state } = replica;
    if (state.epoch !== epoch || !state.open) throw new PhxError('WRONG_EPOCH', `settle: epoch ${epoch} is over`);
  };
  return {
    async settle(epoch): Promise<StoreState> {
      check(epoch);
      // What an earlier stream proposed has its place in the log: its fate comes first.
      await last.catch(() => {});
      await replica.lead(LEAD_MS);
      check(epoch);
      const { appendSeq, gtidSet, file } = replica.state;
      return { appendSeq, gtidSet, file };
    },
    async append(epoch, follows, items) {
      const proposed = replica.propose({ kind: 'append', epoch: epochOf(epoch), follows, items }, 'data', APPEND_MS);
      last = proposed;
      const { accepted, code, reason } = await proposed;
      return { accepted, code, reason, appendSeq: accepted ? follows + 1 : replica.state.appendSeq };
    },
  };
}
