import { expect, it } from 'vitest';
import { instanceId, nodeId } from '../../../base/brands.ts';
import { MemoryDisk, MemoryLogStore } from '../../../binlogsvr/memory-store.ts';
import { logStoreContract, type Opened, type StoreHarness } from './log-store-contract.ts';
import { baseAt, logStorePurgeContract, reclaimAll, retained } from './log-store-purge-contract.ts';
import { accepted, B1, fill, plain } from './log-store-values.ts';

function open(disk: MemoryDisk, sync?: () => Promise<void>): Promise<Opened & { store: MemoryLogStore }> {
  const options = { disk, cluster: 'alpha', node: nodeId(1), storeId: 'one', clockWall: () => 0 };
  return MemoryLogStore.open(sync === undefined ? options : { ...options, sync });
}

async function harness(): Promise<StoreHarness> {
  const disk = new MemoryDisk();
  return {
    open: (as) =>
      MemoryLogStore.open({
        disk,
        cluster: as?.cluster ?? 'alpha',
        node: nodeId(as?.node ?? 1),
        storeId: 'one',
        clockWall: () => 0,
      }),
    damage: async (instance) => {
      disk.damaged.add(instance);
    },
    forget: async (reason) => disk.forget('two', reason),
    dispose: async () => {},
  };
}

logStoreContract('MemoryLogStore', harness);
logStorePurgeContract('MemoryLogStore', harness);

it('a power cut at any point of a purge, or of a snapshot, leaves the log of before or after', async () => {
  for (const what of ['purge', 'install'] as const) {
    for (let syncs = 0; syncs < 2; syncs += 1) {
      const disk = new MemoryDisk();
      let left = Number.POSITIVE_INFINITY;
      const { store } = await open(disk, () => {
        left -= 1;
        if (left < 0) disk.powerCut();
        return Promise.resolve();
      });
      await fill(store, 1, 500);
      left = syncs;
      await store[what](baseAt(what === 'purge' ? 300 : 700)).catch(() => {});
      for (let slices = 0; slices < 2 && disk.holder === store; slices += 1) await store.reclaim();
      disk.powerCut();
      const { store: next, report } = await open(disk);
      const at = what === 'purge' ? 300 : 700;
      expect(next.base).toEqual(syncs === 0 ? null : baseAt(at));
      expect(report.applied?.appliedIndex ?? 0).toBe(syncs === 0 ? 0 : at);
      expect(await retained(next)).toEqual(syncs === 0 ? [1, 500] : [at + 1, Math.max(at, 500)]);
      await reclaimAll(next);
      await next.close();
    }
  }
});

it('a crash loses the write under way and nothing that was confirmed', async () => {
  const disk = new MemoryDisk();
  let finishSync = (): void => {};
  let slow = false;
  const sync = (): Promise<void> =>
    slow
      ? new Promise((resolve) => {
          finishSync = resolve;
        })
      : Promise.resolve();
  const { store } = await open(disk, sync);
  await fill(store, 1, 3);
  slow = true;
  const lost = store.write([accepted(4, B1, 'lost')]);
  store.crash();
  const { store: next, report } = await open(disk);
  finishSync();
  await expect(lost).rejects.toMatchObject({ code: 'STORE_IO' });
  expect(report).toMatchObject({ durableSeq: 3, tail: [], applied: { appliedIndex: 3 } });
  await next.close();
});

it('a power cut also loses what was not synced', async () => {
  const disk = new MemoryDisk();
  const { store } = await open(disk);
  await fill(store, 1, 2);
  disk.powerCut();
  await expect(store.read(instanceId(1), 1)).rejects.toMatchObject({ code: 'STORE_IO' });
  const { report } = await open(disk);
  expect(report.applied).toBeNull();
  expect(plain(report.tail)).toEqual([`1@${B1}=v1`, `2@${B1}=v2`]);
});

it('a disk with amnesia votes no more', async () => {
  const disk = new MemoryDisk();
  const first = await open(disk);
  await fill(first.store, 1, 2);
  await first.store.close();
  disk.amnesia = 'acceptor record 2 is missing';
  const { store, report } = await open(disk);
  expect(report).toMatchObject({ amnesia: 'acceptor record 2 is missing', empty: false });
  await expect(store.write([accepted(3, B1, 'x')])).rejects.toMatchObject({ code: 'AMNESIA' });
});
