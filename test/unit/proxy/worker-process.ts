import { silentLogger } from '../../../base/ports.ts';
import { fastClock } from '../../../proxy/fast-clock.ts';
import { DEFAULT_PROXY_LIMITS } from '../../../proxy/limits.ts';
import type { ToProxy } from '../../../proxy/view.ts';
import { startProxyWorker } from '../../../proxy/worker.ts';
import { nodes } from './fakes.ts';

/** A proxy worker alone in its process, fed over IPC as by a supervisor; tells its ports and ends with its parent. */
const worker = await startProxyWorker({
  self: nodes(1)[0]!,
  listen: { host: '127.0.0.1', rw: 0, ro: 0 },
  limits: DEFAULT_PROXY_LIMITS,
  clock: fastClock,
  log: silentLogger,
});
process.on('message', (message: ToProxy) => worker.setView(message.view));
process.on('disconnect', () => process.exit(0));
process.send?.(worker.ports);
