import { kill, type TestCluster } from '../cluster.ts';
import { eventually } from '../wait.ts';
import type { CutReport, PowerCutDisk } from './disk.ts';
import type { Mercy } from './losses.ts';

const GONE_MS_MAX = 20_000;

export type PowerCut = Readonly<{ mercy: Mercy; seed: number }>;

/**
 * The machine of one node loses its power and gets it back: all its processes end at once, its disk keeps what it was told to
 * keep, and the cluster's manager, which stands for the init systems of all machines and is held meanwhile, starts it again.
 */
export async function cutPowerOfNode(
  cluster: TestCluster,
  disk: PowerCutDisk,
  node: number,
  cut: PowerCut,
): Promise<CutReport> {
  const manager = cluster.managerPid;
  kill(manager, 'SIGSTOP');
  try {
    await killUntilGone(cluster, cluster.nodeDir(node));
    return disk.cut(`node-${node}`, cut);
  } finally {
    kill(manager, 'SIGCONT');
  }
}

/** All machines at once, as a data centre does. The caller switches them on again: `cluster.resume()`. */
export async function cutAllPower(cluster: TestCluster, disk: PowerCutDisk, cut: PowerCut): Promise<CutReport[]> {
  await killUntilGone(cluster, cluster.dir);
  return disk.folders.map((folder, i) => disk.cut(folder, { ...cut, seed: cut.seed * 100 + i }));
}

async function killUntilGone(cluster: TestCluster, dir: string): Promise<void> {
  await eventually(`all processes of ${dir} gone`, GONE_MS_MAX, async () => {
    // The path's end, so that node-1 is not node-10; of the cluster itself whatever is in it.
    const pids = await cluster.processes(dir === cluster.dir ? dir : `${dir}/`);
    for (const pid of pids) kill(pid);
    return pids.length === 0;
  });
}
