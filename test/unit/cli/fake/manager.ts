import { appendFileSync } from 'node:fs';
import { systemClock } from '../../../../base/system-clock.ts';
import { planCluster } from '../../../../cli/cluster-dir.ts';
import { DirLock } from '../../../../cli/dir-lock.ts';
import { createLogger } from '../../../../cli/logger.ts';
import { Manager } from '../../../../cli/manager.ts';
import { onStopSignals } from '../../../../cli/signals.ts';

/** A manager whose nodes are fakes. Usage: manager.ts DIR EVENTS */
const [, , dir = '', events = ''] = process.argv;
const component = new URL('./component.ts', import.meta.url).pathname;
await DirLock.take(dir, () => null);
const manager = new Manager({
  dir,
  cluster: planCluster(3, 0),
  clock: systemClock,
  log: createLogger('manager', 0),
  nodeCommand: () => ({ file: process.execPath, args: [component, 'node', events] }),
});
onStopSignals(
  () =>
    void manager
      .stop((line) => appendFileSync(events, `${JSON.stringify({ who: 'manager', event: line })}\n`))
      .then(() => process.exit(0)),
  () => void manager.killAll().then(() => process.exit(0)),
);
manager.start();
