import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { instanceId } from '../../../base/brands.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { PowerCutDisk, powerCutUnavailable } from '../../support/power-cut/disk.ts';
import type { Mercy } from '../../support/power-cut/losses.ts';
import { FULL } from '../../support/tier.ts';
import { storeOptions } from './log-store-support.ts';

const WRITER = join(import.meta.dirname, 'log-store-writer.ts');
const OPENER = join(import.meta.dirname, 'log-store-opener.ts');
/** A new store is made with twenty syncs; then there is one for each record. */
const SYNCS_OF_A_NEW_STORE = 20;
const DEATHS = FULL ? [...range(1, 19, 3), ...range(20, 30)] : [21, 25];

if (powerCutUnavailable !== null) console.log(`power cuts are not tested: ${powerCutUnavailable}`);

describe.skipIf(powerCutUnavailable !== null)('the store on a disk that loses its power', () => {
  /**
   * A writer dies in place of its n-th sync, then (unless `next` is 'nobody') another process opens the store and says what it
   * found, then the power goes. How many records anybody was told of, and how many are there.
   */
  const lose = async (
    dieAtSync: number,
    next: 'nobody' | 'another' | 'another without the rule',
    mercy: Mercy,
  ): Promise<{ told: number; kept: number }> => {
    const root = mkdtempSync(join(tmpdir(), 'phx-store-power-'));
    using disk = new PowerCutDisk(root);
    try {
      const dir = join(root, 'node', 'store');
      mkdirSync(dir, { recursive: true });
      let told = 0;
      const env = { ...process.env, ...disk.env };
      const writer = fork(WRITER, [dir], { env: { ...env, PHX_POWER_CUT_DIE_AT_SYNC: String(dieAtSync) } });
      writer.on('message', ({ seq = 0 }: { seq?: number }) => {
        told = Math.max(told, seq);
      });
      expect(await once(writer, 'exit')).toEqual([null, 'SIGKILL']);
      if (next !== 'nobody') {
        const opener = fork(OPENER, next === 'another' ? [dir] : [dir, next], { env });
        const [found] = (await once(opener, 'message')) as [{ durableSeq: number; amnesia: string | null }];
        opener.kill('SIGKILL');
        await once(opener, 'exit');
        expect(found.amnesia).toBeNull();
        expect(found.durableSeq).toBeGreaterThanOrEqual(told);
        told = found.durableSeq;
      }
      disk.cut('node', { mercy, seed: dieAtSync });
      const { store, report } = await LevelDbLogStore.open(storeOptions(dir));
      const kept = report.durableSeq === 0 ? [] : await store.read(instanceId(1), 1 << 20);
      await store.close();
      expect(report.amnesia).toBeNull();
      expect(kept).toHaveLength(report.durableSeq);
      return { told, kept: kept.length };
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  };

  test.each(DEATHS)('the power goes at sync %i: what was confirmed is there', async (n) => {
    for (const mercy of ['none', 'some'] as const) {
      const { told, kept } = await lose(n, 'nobody', mercy);
      expect(kept, mercy).toBeGreaterThanOrEqual(told);
      // What it said last it may not have lived to send.
      if (n > SYNCS_OF_A_NEW_STORE + 4) expect(told, 'records were confirmed').toBeGreaterThan(0);
    }
  });

  test.each(DEATHS)(
    'a process dies at sync %i, the next one says what it found, then the power goes: that is there',
    async (n) => {
      const { told, kept } = await lose(n, 'another', 'none');
      expect(kept).toBeGreaterThanOrEqual(told);
    },
  );

  test('without that rule the next one speaks of what the power cut takes', async () => {
    const { told, kept } = await lose(SYNCS_OF_A_NEW_STORE + 5, 'another without the rule', 'none');
    expect(kept).toBeLessThan(told);
  });
});

function range(from: number, to: number, by = 1): readonly number[] {
  return Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, i) => from + i * by);
}
