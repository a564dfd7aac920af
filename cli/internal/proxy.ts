import { fastClock } from '../../proxy/fast-clock.ts';
import { DEFAULT_PROXY_LIMITS } from '../../proxy/limits.ts';
import type { ToProxy } from '../../proxy/view.ts';
import { startProxyWorker } from '../../proxy/worker.ts';
import { readNodeConfig } from '../config.ts';
import { createLogger } from '../logger.ts';
import { answerSupervisor, dieWithSupervisor, onStop } from './component.ts';

/** One proxy worker; the supervisor's feed tells it where the master is. */
export async function runProxy(file: string): Promise<void> {
  dieWithSupervisor();
  answerSupervisor();
  const config = readNodeConfig(file);
  const { host, rw, ro } = config.self;
  const worker = await startProxyWorker({
    self: config.self,
    listen: { host, rw, ro },
    limits: {
      ...DEFAULT_PROXY_LIMITS,
      connectionsMax: config.proxy.maxConnections,
      writeWaitMs: config.proxy.rwWaitMs,
    },
    clock: fastClock,
    log: createLogger('proxy', config.node),
  });
  onStop(() => worker.close());
  // Views that came meanwhile have waited for this listener.
  process.on('message', (message: ToProxy) => {
    if (message.kind === 'view') worker.setView(message.view);
  });
}
