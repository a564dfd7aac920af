import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type InstanceId, instanceId, makeBallot, nodeId } from '../../../base/brands.ts';
import { CHOSEN_BALLOT, type Entry } from '../../../binlogsvr/paxos/types.ts';
import type { LogStore, OpenReport } from '../../../binlogsvr/store-port.ts';
import { accepted, B1, B2, fill, plain, promised, readAll } from './log-store-values.ts';

export type Opened = Readonly<{ store: LogStore; report: OpenReport }>;

/** One disk; the suite opens, closes and damages the store on it. */
export type StoreHarness = Readonly<{
  open(as?: Readonly<{ cluster?: string; node?: number }>): Promise<Opened>;
  /** With no store open: the newest record of this instance no longer reads well. */
  damage(instance: InstanceId): Promise<void>;
  forget(reason: string): Promise<void>;
  dispose(): Promise<void>;
}>;

/** What every LogStore must do, whatever it stands on. */
export function logStoreContract(name: string, makeHarness: () => Promise<StoreHarness>): void {
  describe(`${name}: LogStore contract`, () => {
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

    it('a new store is empty and keeps its identity', async () => {
      const { report } = opened;
      expect(report).toMatchObject({ empty: true, promised: 0, durableSeq: 0, tail: [], applied: null, amnesia: null });
      expect(report.identity).toMatchObject({ cluster: 'alpha', node: 1 });
      expect(report.identity.storeId).not.toBe('');
      expect((await reopen()).identity).toEqual(report.identity);
      expect(await opened.store.read(instanceId(1), 1000)).toEqual([]);
    });

    it('numbers records densely and reports them after reopening', async () => {
      const { store } = opened;
      expect(await store.write([promised(B1)])).toBe(1);
      expect(await store.write([accepted(1, B1, 'a'), accepted(2, B1, 'b'), accepted(4, B1, 'd')])).toBe(4);
      expect(store.durableSeq).toBe(4);
      const report = await reopen();
      expect(report).toMatchObject({ empty: false, promised: B1, durableSeq: 4, amnesia: null });
      expect(plain(report.tail)).toEqual([`1@${B1}=a`, `2@${B1}=b`, `4@${B1}=d`]);
      expect(await opened.store.write([accepted(3, B1, 'c')])).toBe(5);
    });

    it('the last record for an instance counts, in one write and over several', async () => {
      await opened.store.write([accepted(1, B1, 'old'), accepted(1, B2, 'mid'), accepted(2, B1, 'two')]);
      await opened.store.write([accepted(1, CHOSEN_BALLOT, 'new')]);
      expect(plain(await readAll(opened.store))).toEqual(['1@chosen=new', `2@${B1}=two`]);
      const report = await reopen();
      expect(plain(report.tail)).toEqual(['1@chosen=new', `2@${B1}=two`]);
      expect(plain(await readAll(opened.store))).toEqual(['1@chosen=new', `2@${B1}=two`]);
      expect(report.durableSeq).toBe(4);
    });

    it('promised is the highest ballot promised or accepted at', async () => {
      await opened.store.write([promised(B1), accepted(1, B2, 'x'), accepted(2, CHOSEN_BALLOT, 'y')]);
      expect((await reopen()).promised).toBe(B2);
    });

    it('the tail begins above the applied index', async () => {
      await fill(opened.store, 1, 5);
      await opened.store.write([accepted(6, B1, 'f'), accepted(8, B1, 'h')]);
      const report = await reopen();
      expect(report.applied).toEqual({ appliedIndex: 5, json: '{"at":5}' });
      expect(plain(report.tail)).toEqual([`6@${B1}=f`, `8@${B1}=h`]);
    });

    it('reads contiguous entries within the byte bound, at least one', async () => {
      await opened.store.write([1, 2, 3, 5].map((i) => accepted(i, B1, 'x'.repeat(100))));
      const instances = async (from: number, maxBytes: number): Promise<number[]> =>
        (await opened.store.read(instanceId(from), maxBytes)).map((e) => e.instance);
      expect(await instances(1, 1 << 20)).toEqual([1, 2, 3]);
      expect(await instances(1, 200)).toEqual([1, 2]);
      expect(await instances(2, 1)).toEqual([2]);
      expect(await instances(4, 1000)).toEqual([]);
      expect(await instances(5, 1000)).toEqual([5]);
      expect(await instances(6, 1000)).toEqual([]);
    });

    it('keeps values of any size and all bytes', async () => {
      const big = Buffer.alloc(3_000_000);
      for (let i = 0; i < big.length; i += 1) big[i] = (i * 31) & 255;
      const entry: Entry = { instance: instanceId(1), ballot: B1, value: big };
      const none: Entry = { instance: instanceId(2), ballot: B1, value: new Uint8Array(0) };
      await opened.store.write([entry, none].map((e) => ({ kind: 'accepted', entry: e })));
      await reopen();
      const [first, second] = await readAll(opened.store);
      expect(Buffer.compare(first?.value as Uint8Array, big)).toBe(0);
      expect(second?.value.length).toBe(0);
    });

    it('a caller may reuse its buffer once the write is done', async () => {
      const value = Buffer.from('first');
      await opened.store.write([{ kind: 'accepted', entry: { instance: instanceId(1), ballot: B1, value } }]);
      value.fill('x');
      expect(plain(await readAll(opened.store))).toEqual([`1@${B1}=first`]);
    });

    it('a long log with overwrites, promises and restarts stays whole', async () => {
      let expected = 0;
      for (let round = 0; round < 4; round += 1) {
        const from = round * 700 + 1;
        await opened.store.write([promised(makeBallot(10 + round, nodeId(1)))]);
        await opened.store.write([accepted(from, B1, 'lost'), accepted(from + 1, B1, 'lost')]);
        await fill(opened.store, from, from + 699);
        expected += 703;
        const report = await reopen();
        expect(report).toMatchObject({
          durableSeq: expected,
          amnesia: null,
          tail: [],
          applied: { appliedIndex: from + 699 },
        });
        expect(report.promised).toBe(makeBallot(10 + round, nodeId(1)));
      }
      const all = await readAll(opened.store);
      expect(all.length).toBe(2800);
      for (const e of all) expect(Buffer.from(e.value).toString()).toBe(`v${e.instance}`);
    });

    it('a late record for a settled instance changes no value but keeps its promise', async () => {
      await fill(opened.store, 1, 2000);
      await reopen();
      await opened.store.write([accepted(3, B2, 'v3'), accepted(4, CHOSEN_BALLOT, 'v4')]);
      expect((await reopen()).promised).toBe(B2);
      const [three, four] = await opened.store.read(instanceId(3), 1000);
      expect([three, four].map((e) => Buffer.from((e as Entry).value).toString())).toEqual(['v3', 'v4']);
    });

    it.each([5, 130])('a damaged value among %i applied ones is refused, then repaired', async (count) => {
      await fill(opened.store, 1, count);
      await reopen(); // so that what can be sealed is sealed
      await opened.store.close();
      await harness.damage(instanceId(3));
      opened = await harness.open();
      // A value an acceptor still answers for may be amnesia instead; a settled one must not be.
      if (count > 100) expect(opened.report.amnesia).toBeNull();
      if (opened.report.amnesia === null) {
        expect((await opened.store.read(instanceId(1), 1000)).map((e) => e.instance)).toEqual([1, 2]);
        await expect(opened.store.read(instanceId(3), 1000)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
        const remains = await opened.store.remains(instanceId(3));
        expect(remains?.ballot).toBe(B1);
        expect(['v3', 'v4', 'v', ''].map((value) => remains?.fits(Buffer.from(value)))).toEqual([
          true,
          false,
          false,
          false,
        ]);
        const seq = opened.store.durableSeq;
        await opened.store.repair({ instance: instanceId(3), ballot: CHOSEN_BALLOT, value: Buffer.from('v3') });
        expect(opened.store.durableSeq).toBe(seq);
        await reopen();
        expect(opened.report.amnesia).toBeNull();
        expect(plain(await readAll(opened.store)).slice(1, 4)).toEqual([`2@${B1}=v2`, '3@chosen=v3', `4@${B1}=v4`]);
      }
    });

    it('damage of what an acceptor still answers for is amnesia', async () => {
      await fill(opened.store, 1, 5);
      await opened.store.write([accepted(6, B2, 'f')]);
      await opened.store.close();
      await harness.damage(instanceId(6));
      opened = await harness.open();
      expect(opened.report.amnesia).toMatch(/instance 6\b.* is damaged/);
    });

    it('an acceptor that forgot answers nothing until it is replaced by a new one', async () => {
      await fill(opened.store, 1, 3);
      const { storeId } = opened.report.identity;
      await opened.store.close();
      await harness.forget('test');
      opened = await harness.open();
      expect(opened.report).toMatchObject({ empty: true, durableSeq: 0, applied: null, amnesia: null });
      expect(opened.report.identity.storeId).not.toBe(storeId);
      expect(await opened.store.getMeta('amnesiac')).toBe('test');
      expect(await opened.store.sampleAtOrBelow(instanceId(100))).toBeNull();
      expect(await opened.store.write([accepted(1, CHOSEN_BALLOT, 'v1')])).toBe(1);
    });

    it('keeps samples by instance', async () => {
      await fill(opened.store, 1, 600);
      const sample = (n: number): { instance: InstanceId; json: string } => ({
        instance: instanceId(n),
        json: `{"s":${n}}`,
      });
      await opened.store.saveState({ appliedIndex: instanceId(600), json: '{}' }, [
        sample(10),
        sample(257),
        sample(520),
      ]);
      await reopen();
      const at = (n: number): Promise<unknown> => opened.store.sampleAtOrBelow(instanceId(n));
      expect(await at(9)).toBeNull();
      expect(await at(10)).toEqual(sample(10));
      expect(await at(256)).toEqual(sample(10));
      expect(await at(519)).toEqual(sample(257));
      expect(await at(1_000_000)).toEqual(sample(520));
    });

    it('keeps small facts over restarts and checkpoints', async () => {
      expect(await opened.store.getMeta('founders')).toBeNull();
      await opened.store.putMeta('founders', '[1,2,3]');
      for (let i = 0; i < 100; i += 1) await opened.store.putMeta('seen', `ä${i}`);
      expect(await opened.store.getMeta('seen')).toBe('ä99');
      const report = await reopen();
      expect(report).toMatchObject({ empty: true, amnesia: null });
      await reopen();
      expect(await opened.store.getMeta('seen')).toBe('ä99');
      expect(await opened.store.getMeta('founders')).toBe('[1,2,3]');
    });

    it('takes facts and repairs while a write is under way', async () => {
      const writing = opened.store.write([accepted(1, B1, 'a')]);
      await Promise.all([writing, opened.store.putMeta('k', 'v'), opened.store.putMeta('k', 'w')]);
      const report = await reopen();
      expect(report.amnesia).toBeNull();
      expect(await opened.store.getMeta('k')).toBe('w');
      expect(plain(report.tail)).toEqual([`1@${B1}=a`]);
    });

    it('two writes at a time and a state beyond the log are bugs', async () => {
      const first = opened.store.write([accepted(1, B1, 'a')]);
      await expect(opened.store.write([accepted(2, B1, 'b')])).rejects.toThrow('two writes');
      await first;
      await expect(opened.store.saveState({ appliedIndex: instanceId(2), json: '{}' }, [])).rejects.toThrow(
        'not in the store',
      );
    });

    it('is opened by one at a time', async () => {
      await expect(harness.open()).rejects.toMatchObject({ code: 'DIR_IN_USE' });
    });

    it.each([{ cluster: 'beta' }, { node: 2 }])('refuses the directory of another: %o', async (as) => {
      await opened.store.close();
      await expect(harness.open(as)).rejects.toMatchObject({ code: 'DIR_FOREIGN' });
      opened = await harness.open();
    });
  });
}
