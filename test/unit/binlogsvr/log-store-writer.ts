// Child of log-store.test.ts: writes until it is killed or the disk refuses, and tells its parent only what is confirmed.
// With a second argument it purges all the while.
import { instanceId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import type { AcceptorRecord } from '../../../binlogsvr/paxos/types.ts';
import { storeOptions } from './log-store-support.ts';
import { B1 } from './log-store-values.ts';

const record = (i: number): AcceptorRecord => {
  const value = Buffer.from(`value ${i}`.padEnd(20).repeat(40));
  return { kind: 'accepted', entry: { instance: instanceId(i), ballot: B1, value } };
};
const code = (error: unknown): string => (error instanceof PhxError ? error.code : String(error));

const purging = process.argv[3] !== undefined;

const { store } = await LevelDbLogStore.open(storeOptions(process.argv[2] as string));
for (let i = 1; ; i += 1) {
  try {
    const seq = await store.write([record(i)]);
    process.send?.({ instance: i, seq });
  } catch (error) {
    const again = await store.write([record(i)]).catch(code);
    process.send?.({ failed: code(error), again }, () => process.exit(0));
    break;
  }
  if (purging && i % 100 === 50 && i > 500) {
    const appliedIndex = instanceId(i - 350);
    void store
      .purge({ appliedIndex, json: '{}', formatDescription: '' })
      .then(() => {
        process.send?.({ purged: appliedIndex });
        return store.reclaim();
      })
      .catch(() => {});
  }
  if (i % 100 === 0) void store.saveState({ appliedIndex: instanceId(i), json: '{}' }, []).catch(() => {});
}
