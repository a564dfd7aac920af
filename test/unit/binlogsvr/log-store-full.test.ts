import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../base/ports.ts';
import { systemClock } from '../../../base/system-clock.ts';
import { systemRandom } from '../../../base/system-random.ts';
import { startBinlogsvr } from '../../../binlogsvr/binlogsvr.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { createBinlogsvrClient } from '../../../proto/binlogsvr-client.ts';
import { rpcNodes } from '../../support/rpc-nodes.ts';
import { SmallDisk } from '../../support/small-disk.ts';
import { storeOptions, TempDir } from './log-store-support.ts';
import { accepted, B1, readAll } from './log-store-values.ts';

const { obstacle } = SmallDisk;
const SECURITY = { clusterSecret: 'a secret of a full store, long enough', tls: null };

describe.skipIf(obstacle !== '')(`a full disk under the store ${obstacle}`, () => {
  it('fails writes, forgets nothing that was confirmed, and is no amnesia', async () => {
    await using temp = await TempDir.make();
    using disk = SmallDisk.mount(join(temp.path, 'small'), 48);
    const options = storeOptions(disk.path);
    const { store } = await LevelDbLogStore.open(options);
    let confirmed = 0;
    const write = async (): Promise<void> => {
      await store.write([accepted(confirmed + 1, B1, 'x'.repeat(64 * 1024))]);
      confirmed += 1;
    };
    for (let i = 0; i < 40; i += 1) await write();
    await disk.fill();
    await expect(
      (async () => {
        for (let i = 0; i < 1000; i += 1) await write();
      })(),
    ).rejects.toMatchObject({ code: 'STORE_IO' });
    await store.close().catch(() => {});

    // Opened again while it is full: refused as what it is, or opened whole.
    for (let i = 0; i < 2; i += 1) {
      const opened = await LevelDbLogStore.open(options).catch((error: unknown) => error as Error);
      if (opened instanceof Error) expect(opened).toMatchObject({ code: 'STORE_IO' });
      else {
        expect(opened.report.amnesia).toBeNull();
        await opened.store.close();
      }
    }
    disk.free();
    const again = await LevelDbLogStore.open(options);
    expect(again.report.amnesia).toBeNull();
    const held = await readAll(again.store);
    expect(held.slice(0, confirmed).map(({ instance }) => instance)).toEqual(
      Array.from({ length: confirmed }, (_, i) => i + 1),
    );
    await again.store.write([accepted(held.length + 1, B1, 'more')]);
    await again.store.close();
  });

  it('is not opened; the node says why to whoever asks, and opens it when there is space', async () => {
    await using temp = await TempDir.make();
    using disk = SmallDisk.mount(join(temp.path, 'small'), 48);
    const [self] = await rpcNodes(1);
    await disk.fill();
    const starting = startBinlogsvr({
      cluster: 'full',
      self: self!,
      nodes: [self!],
      dataDir: disk.path,
      security: SECURITY,
      lease: { leaseMs: 3000, renewMs: 500, takeoverMs: 3400 },
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      configChecksum: createHash('sha256').update('config').digest(),
      waitForStore: true,
    });
    await using client = createBinlogsvrClient(`127.0.0.1:${self!.rpc}`, SECURITY);
    const reason = /its store is closed: check disk of .*: 0 MiB free, 32 MiB needed for the store/;
    const said = (): Promise<unknown> => client.status(1000).catch((error: Error) => error.message);
    await expect.poll(said, { timeout: 20_000 }).toMatch(reason);
    await expect(client.renew(1, 1000)).rejects.toThrow(reason);
    await expect(
      (async () => {
        for await (const _ of client.subscribe(AbortSignal.timeout(5000))) return;
      })(),
    ).rejects.toThrow(reason);
    await using stranger = createBinlogsvrClient(`127.0.0.1:${self!.rpc}`, {
      ...SECURITY,
      clusterSecret: 'another secret, just as long as that',
    });
    await expect(stranger.status(1000)).rejects.toMatchObject({ code: 'PEER_REFUSED' });

    disk.free();
    const svr = await starting;
    const view = { node: self!.id };
    await expect.poll(() => client.status(1000).catch(() => null), { timeout: 20_000 }).toMatchObject({ view });
    await svr.close();
  });
});
