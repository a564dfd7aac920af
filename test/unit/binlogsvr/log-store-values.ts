import { type Ballot, instanceId, makeBallot, nodeId } from '../../../base/brands.ts';
import { type AcceptorRecord, CHOSEN_BALLOT, type Entry } from '../../../binlogsvr/paxos/types.ts';
import type { LogStore } from '../../../binlogsvr/store-port.ts';

export const B1: Ballot = makeBallot(1, nodeId(1));
export const B2: Ballot = makeBallot(2, nodeId(2));

export const promised = (ballot: Ballot): AcceptorRecord => ({ kind: 'promised', ballot });

export function accepted(instance: number, ballot: Ballot, text: string): AcceptorRecord {
  return { kind: 'accepted', entry: { instance: instanceId(instance), ballot, value: Buffer.from(text) } };
}

export function plain(entries: readonly Entry[]): string[] {
  return entries.map(
    (e) => `${e.instance}@${e.ballot === CHOSEN_BALLOT ? 'chosen' : e.ballot}=${Buffer.from(e.value)}`,
  );
}

/** Writes instances `first..last` and declares them applied, as a replica does. */
export async function fill(store: LogStore, first: number, last: number): Promise<void> {
  for (let i = first; i <= last; ) {
    const end = Math.min(last, i + 99);
    const records: AcceptorRecord[] = [];
    for (let n = i; n <= end; n += 1) records.push(accepted(n, B1, `v${n}`));
    await store.write(records);
    await store.saveState({ appliedIndex: instanceId(end), json: `{"at":${end}}` }, []);
    i = end + 1;
  }
}

export async function readAll(store: LogStore, first = 1): Promise<Entry[]> {
  const all: Entry[] = [];
  for (;;) {
    const next = await store.read(instanceId(first + all.length), 1 << 20);
    if (next.length === 0) return all;
    all.push(...next);
  }
}
