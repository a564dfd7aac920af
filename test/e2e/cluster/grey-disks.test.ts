import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestCluster } from '../../support/cluster.ts';
import { GreyFaults } from '../../support/grey.ts';
import { SmallDisk } from '../../support/small-disk.ts';
import { StallingDisk } from '../../support/stalling-disk.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { Writers } from '../../support/writers.ts';

/** The bounds of docs/ARCHITECTURE.md, "Grey failures". */
const DISK_FAILS_MS_MAX = 10_000;
const STATUS_SAYS_MS_MAX = 20_000;

/** Which node has which disk. */
const STALLING = 1;
const SMALL_DATA = 2;
const SMALL_STORE = 3;
const DATA_MIB = 768;
const STORE_MIB = 160;

const obstacle = FULL ? SmallDisk.obstacle || StallingDisk.obstacle : 'only in test:full';

describe.skipIf(obstacle !== '')(`the disk of the master fails ${obstacle}`, () => {
  let cluster: TestCluster;
  let writers: Writers;
  let grey: GreyFaults;
  let stalling: StallingDisk | undefined;
  let stallingStore: StallingDisk | undefined;
  let data: SmallDisk | undefined;
  let store: SmallDisk | undefined;

  /** What lies at `path` goes onto a small disk that is mounted there. */
  const toSmallDisk = (path: string, mebibytes: number): SmallDisk => {
    const aside = `${path}.aside`;
    cpSync(path, aside, { recursive: true });
    rmSync(path, { recursive: true });
    mkdirSync(path);
    const disk = SmallDisk.mount(path, mebibytes);
    cpSync(aside, path, { recursive: true });
    rmSync(aside, { recursive: true });
    return disk;
  };

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.converged();
    await cluster.cli(['cluster', 'stop']);
    const stallingAt = (name: string): Promise<StallingDisk> => {
      const path = join(cluster.nodeDir(STALLING), name);
      return StallingDisk.mount(path, `${path}.real`);
    };
    stalling = await stallingAt('mysql');
    stallingStore = await stallingAt('store');
    data = toSmallDisk(join(cluster.nodeDir(SMALL_DATA), 'mysql'), DATA_MIB);
    store = toSmallDisk(join(cluster.nodeDir(SMALL_STORE), 'store'), STORE_MIB);
    await cluster.resume();
    const { nodes } = await cluster.converged();
    const ports = nodes.map((node) => node.rw);
    writers = await Writers.start(cluster, 3, ports, 'grey.acked', 10);
    grey = new GreyFaults(cluster, () => writers);
  });
  afterAll(async () => {
    await writers?.stop();
    for (const disk of [stalling, stallingStore]) disk?.heal();
    await cluster?.cli(['cluster', 'stop']).catch(() => {});
    for (const disk of [stalling, stallingStore]) await disk?.[Symbol.asyncDispose]();
    data?.[Symbol.dispose]();
    store?.[Symbol.dispose]();
    await cluster?.destroy();
  });

  /** Its status comes to say why it does not serve. */
  const says = (id: number, reason: RegExp): Promise<unknown> =>
    eventually(`the status of node ${id} says ${reason}`, STATUS_SAYS_MS_MAX, async () => {
      const node = await cluster.node(id);
      if (node.state !== 'master' && reason.test(node.reason)) return true;
      throw new Error(`${node.state}: ${node.reason}`);
    });

  test('the data directory hangs: mysqld cannot even be killed, and another node is master', async () => {
    await grey.makeMaster(STALLING);
    await grey.failsOver('disk of the datadir hangs', DISK_FAILS_MS_MAX, {
      inflict: () => stalling?.stall(),
      meanwhile: () => says(STALLING, /has not taken a write|hangs on its disk|still runs or holds/),
      heal: () => stalling?.heal(),
    });
  });

  test('the store hangs: its binlogsvr answers, and nothing is chosen for it', async () => {
    await grey.makeMaster(STALLING);
    await grey.failsOver('disk of the store hangs', DISK_FAILS_MS_MAX, {
      inflict: () => stallingStore?.stall(),
      meanwhile: () =>
        says(STALLING, /no renewal accepted|without any progress|its lease is over|has not heard of epoch/),
      heal: () => stallingStore?.heal(),
    });
  });

  test('the data directory is full', async () => {
    await grey.makeMaster(SMALL_DATA);
    await grey.failsOver('disk of the datadir is full', DISK_FAILS_MS_MAX, {
      inflict: () => data?.fill(),
      meanwhile: () => says(SMALL_DATA, /no space left|0 MiB free, 64 MiB needed for mysqld to start/i),
      heal: () => data?.free(),
    });
  });

  test('the store is full: binlogsvr takes no part, and is not started again and again', async () => {
    await grey.makeMaster(SMALL_STORE);
    const log = join(cluster.nodeDir(SMALL_STORE), 'log', 'supervisor.log');
    const starts = (): number => readFileSync(log, 'utf8').split('"process":"binlogsvr"').length;
    const before = starts();
    await grey.failsOver('disk of the store is full', DISK_FAILS_MS_MAX, {
      inflict: () => store?.fill(),
      meanwhile: () => says(SMALL_STORE, /its store is closed: .*free/),
      heal: () => store?.free(),
    });
    // It died once and was started once: two lines.
    expect(starts() - before).toBeLessThanOrEqual(4);
  });

  test('nothing acknowledged is lost and all three are equal', async () => {
    await grey.allEqual('grey');
  });
});
