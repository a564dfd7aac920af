import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { instanceId } from '../../../base/brands.ts';
import { CHOSEN_BALLOT } from '../../../binlogsvr/paxos/types.ts';
import type { LogBase, LogStore, OpenReport } from '../../../binlogsvr/store-port.ts';
import type { Opened, StoreHarness } from './log-store-contract.ts';
import { accepted, B1, B2, fill, plain, promised } from './log-store-values.ts';

export const baseAt = (index: number): LogBase => ({
  appliedIndex: instanceId(index),
  json: `{"at":${index}}`,
  formatDescription: 'Zm9ybWF0',
});

/** Instances of the whole retained log, their values checked against what fill() wrote. */
export async function retained(store: LogStore): Promise<readonly [number, number]> {
  const first = (store.base?.appliedIndex ?? 0) + 1;
  let next = first;
  for (;;) {
    const entries = await store.read(instanceId(next), 1 << 20);
    if (entries.length === 0) return [first, next - 1];
    for (const e of entries) expect(Buffer.from(e.value).toString()).toBe(`v${e.instance}`);
    next += entries.length;
  }
}

export async function reclaimAll(store: LogStore): Promise<number> {
  let slices = 0;
  while (await store.reclaim()) slices += 1;
  return slices;
}

/** Purging, and snapshots in the place of what was purged elsewhere: what every LogStore must do. */
export function logStorePurgeContract(name: string, makeHarness: () => Promise<StoreHarness>): void {
  describe(`${name}: purge contract`, () => {
    let harness: StoreHarness;
    let opened: Opened;

    beforeEach(async () => {
      harness = await makeHarness();
      opened = await harness.open();
    });
    afterEach(async () => {
      await opened.store.close();
      await harness.dispose();
    });

    async function reopen(): Promise<OpenReport> {
      await opened.store.close();
      opened = await harness.open();
      return opened.report;
    }

    it('a purge is durable, and reads below it are refused', async () => {
      await fill(opened.store, 1, 1000);
      expect(opened.store.base).toBeNull();
      await opened.store.purge(baseAt(700));
      expect(opened.store.base).toEqual(baseAt(700));
      await expect(opened.store.read(instanceId(700), 100)).rejects.toMatchObject({ code: 'PURGED' });
      expect(await retained(opened.store)).toEqual([701, 1000]);
      const report = await reopen();
      expect(report).toMatchObject({ amnesia: null, empty: false, durableSeq: 1000, promised: B1 });
      expect(report.applied).toEqual({ appliedIndex: 1000, json: '{"at":1000}' });
      expect(opened.store.base).toEqual(baseAt(700));
      await expect(opened.store.read(instanceId(1), 100)).rejects.toMatchObject({ code: 'PURGED' });
      expect(await retained(opened.store)).toEqual([701, 1000]);
    });

    it('gives the space back slice by slice, wherever it is interrupted', async () => {
      await fill(opened.store, 1, 6000);
      await reopen(); // so that all of it is in tables and counts
      const before = await opened.store.bytesFrom(instanceId(1));
      await opened.store.purge(baseAt(5500));
      for (let more = true; more; ) {
        more = await opened.store.reclaim();
        expect((await reopen()).amnesia).toBeNull();
        expect(await retained(opened.store)).toEqual([5501, 6000]);
      }
      expect(await opened.store.reclaim()).toBe(false);
      expect(await opened.store.bytesFrom(instanceId(1))).toBeLessThan(before / 2);
      await opened.store.purge(baseAt(5600));
      expect(await reclaimAll(opened.store)).toBeLessThan(3);
      await fill(opened.store, 6001, 6200);
      expect((await reopen()).durableSeq).toBe(6200);
      expect(await retained(opened.store)).toEqual([5601, 6200]);
    });

    it('purges while it is written, and twice', async () => {
      await fill(opened.store, 1, 1500);
      for (let round = 1; round <= 5; round += 1) {
        const writing = fill(opened.store, 1000 + 500 * round + 1, 1500 + 500 * round);
        await opened.store.purge(baseAt(300 * round + 7));
        await reclaimAll(opened.store);
        await writing;
      }
      expect((await reopen()).amnesia).toBeNull();
      expect(await retained(opened.store)).toEqual([1508, 4000]);
    });

    it('an older base changes nothing; one too near the end is a bug', async () => {
      await fill(opened.store, 1, 300);
      await opened.store.purge(baseAt(200));
      await opened.store.purge(baseAt(100));
      expect(opened.store.base).toEqual(baseAt(200));
      await expect(opened.store.purge(baseAt(250))).rejects.toThrow('saved state');
    });

    it('forgets samples below, keeps those above', async () => {
      await fill(opened.store, 1, 500);
      const sample = (n: number) => ({ instance: instanceId(n), json: `{"s":${n}}`, wallMs: n });
      await opened.store.saveState({ appliedIndex: instanceId(500), json: '{}' }, [10, 201, 300].map(sample));
      await opened.store.purge(baseAt(200));
      await reclaimAll(opened.store);
      expect(await opened.store.sampleAtOrBelow(instanceId(200))).toBeNull();
      expect(await opened.store.sampleAtOrBelow(instanceId(250))).toEqual(sample(201));
      expect(await opened.store.sampleAtOrBelow(instanceId(500))).toEqual(sample(300));
    });

    it.each([
      [0, 1000],
      [90, 64],
      [90, 128],
      [90, 90],
      [90, 150],
      [2000, 5001],
    ])('a snapshot over a log of %i, at %i', async (log, at) => {
      await fill(opened.store, 1, log);
      await opened.store.write([
        promised(B2),
        accepted(at - 1, B1, 'below'),
        accepted(at, B1, 'at'),
        accepted(at + 1, B1, 'old'),
      ]);
      await opened.store.write([accepted(at + 1, B2, `v${at + 1}`), accepted(at + 3, B2, 'far')]);
      const seq = opened.store.durableSeq;
      if (at <= log) {
        await opened.store.install(baseAt(at));
        expect(opened.store.base).toBeNull();
        return;
      }
      await opened.store.install(baseAt(at));
      const check = async (): Promise<void> => {
        expect(opened.store.base).toEqual(baseAt(at));
        await expect(opened.store.read(instanceId(at), 100)).rejects.toMatchObject({ code: 'PURGED' });
        expect(plain(await opened.store.read(instanceId(at + 1), 1))).toEqual([`${at + 1}@${B2}=v${at + 1}`]);
      };
      await check();
      const report = await reopen();
      expect(report).toMatchObject({ amnesia: null, empty: false, promised: B2, durableSeq: seq });
      expect(report.applied).toEqual({ appliedIndex: at, json: `{"at":${at}}` });
      expect(plain(report.tail)).toEqual([`${at + 1}@${B2}=v${at + 1}`, `${at + 3}@${B2}=far`]);
      await check();
      await reclaimAll(opened.store);
      expect((await reopen()).amnesia).toBeNull();
      await check();
      // A late record about what the snapshot settled: only its promise counts.
      await opened.store.write([accepted(at, CHOSEN_BALLOT, 'late')]);
      await opened.store.write([accepted(at + 2, B2, `v${at + 2}`), accepted(at + 3, B2, `v${at + 3}`)]);
      await opened.store.saveState({ appliedIndex: instanceId(at + 3), json: '{}' }, []);
      await fill(opened.store, at + 4, at + 1500);
      expect((await reopen()).amnesia).toBeNull();
      await opened.store.purge(baseAt(at + 300));
      await reclaimAll(opened.store);
      expect((await reopen()).amnesia).toBeNull();
      expect(await retained(opened.store)).toEqual([at + 301, at + 1500]);
    });

    it('a store that was told it forgot opens with amnesia', async () => {
      await fill(opened.store, 1, 3);
      await opened.store.markForgotten('a peer remembers record 9');
      expect(await reopen()).toMatchObject({ amnesia: 'a peer remembers record 9' });
      await expect(opened.store.write([accepted(4, B1, 'd')])).rejects.toMatchObject({ code: 'AMNESIA' });
      await opened.store.close();
      await harness.forget('a peer remembers record 9');
      opened = await harness.open();
      expect(opened.report).toMatchObject({ amnesia: null, empty: true });
    });
  });
}
