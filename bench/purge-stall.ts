/**
 * What purging costs whoever writes: `node bench/purge-stall.ts [MiB]`. A store is filled, then written to one synced 4 KiB
 * value at a time, first alone, then while all but the newest 16 MiB is purged and reclaimed slice by slice as a Purger does.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { instanceId, makeBallot, nodeId } from '../base/brands.ts';
import { silentLogger } from '../base/ports.ts';
import { Prng } from '../base/prng.ts';
import { LevelDbLogStore } from '../binlogsvr/log-store.ts';
import type { AcceptorRecord } from '../binlogsvr/paxos/types.ts';

const MIB = Number(process.argv[2] ?? 256);
const VALUE = new Prng(1).bytes(4096);
const SLICE_MS = 200;
const ALONE_MS = 5000;
const ballot = makeBallot(1, nodeId(1));
const dir = await mkdtemp(join(tmpdir(), 'phxsql-purge-'));
const { store } = await LevelDbLogStore.open({
  dir,
  cluster: 'bench',
  node: nodeId(1),
  log: silentLogger,
  clockWall: () => 0,
});
let last = 0;

async function write(count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, i): AcceptorRecord => {
    return { kind: 'accepted', entry: { instance: instanceId(last + i + 1), ballot, value: VALUE } };
  });
  await store.write(records);
  last += count;
  if (last % 256 < count) await store.saveState({ appliedIndex: instanceId(last), json: '{}' }, []);
}

async function measure(what: string, goesOn: () => boolean): Promise<void> {
  const times: number[] = [];
  while (goesOn()) {
    const at = performance.now();
    await write(1);
    times.push(performance.now() - at);
  }
  times.sort((a, b) => a - b);
  const of = (p: number): string => (times[Math.min(times.length - 1, Math.floor(times.length * p))] ?? 0).toFixed(1);
  console.log(
    `${what}: ${times.length} writes, p50 ${of(0.5)} ms, p99 ${of(0.99)} ms, p99.9 ${of(0.999)} ms, max ${of(1)} ms`,
  );
}

try {
  while (last * VALUE.length < MIB * 1024 * 1024) await write(256);
  const begun = performance.now();
  await measure('alone', () => performance.now() - begun < ALONE_MS);
  const base = { appliedIndex: instanceId(last - 4096 - (last % 256)), json: '{}', formatDescription: '' };
  const before = await store.bytesFrom(instanceId(1));
  let purging = true;
  let slices = 0;
  const at = performance.now();
  const purge = async (): Promise<void> => {
    await store.purge(base);
    while (await store.reclaim()) {
      slices += 1;
      await new Promise((resolve) => setTimeout(resolve, SLICE_MS));
    }
    purging = false;
  };
  await Promise.all([purge(), measure('while purging', () => purging)]);
  const mib = (base.appliedIndex * VALUE.length) / 1024 / 1024;
  console.log(
    `${mib.toFixed(0)} MiB in ${slices + 1} slices, ${((performance.now() - at) / 1000).toFixed(1)} s; ` +
      `${(before / 1024 / 1024).toFixed(0)} MiB before`,
  );
} finally {
  await store.close();
  await rm(dir, { recursive: true, force: true });
}
