import { systemClock } from '../../base/system-clock.ts';
import { existingCluster } from '../cluster-dir.ts';
import { DirLock } from '../dir-lock.ts';
import { createLogger } from '../logger.ts';
import { Manager, managerOf } from '../manager.ts';
import { onStopSignals } from '../signals.ts';

/** The background half of `cluster start --detach`; what it starts was checked by the front half. */
export async function runManager(dir: string): Promise<void> {
  const log = createLogger('manager', 0);
  await using lock = await DirLock.take(dir, () => managerOf(dir)?.pid ?? null);
  const manager = new Manager({ dir, cluster: existingCluster(dir), clock: systemClock, log });
  const stopped = Promise.withResolvers<void>();
  onStopSignals(
    () => void manager.stop((line) => log.info(line)).then(stopped.resolve, stopped.reject),
    () => void manager.killAll().then(stopped.resolve, stopped.reject),
  );
  manager.start();
  await stopped.promise;
  await lock.release();
  process.exit(0);
}
