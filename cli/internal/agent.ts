import { startAgent } from '../../agent/agent.ts';
import { IpcMysqldHost, parentChannel } from '../../agent/mysqld-host.ts';
import { systemRandom } from '../../base/prng.ts';
import { systemClock } from '../../base/system-clock.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import { readNodeConfig } from '../config.ts';
import { createLogger } from '../logger.ts';
import { readMysqlInstall } from '../node-dir.ts';
import { dieWithSupervisor, onStop } from './component.ts';

/** The owner of the node's mysqld, which the supervisor runs for it. */
export async function runAgent(file: string): Promise<void> {
  dieWithSupervisor();
  const config = readNodeConfig(file);
  const { self, nodes, dataDir, security, lease } = config;
  const log = createLogger('agent', config.node);
  const clock = systemClock;
  const host = await IpcMysqldHost.connect({ channel: parentChannel(), clock, log });
  const agent = await startAgent({
    self,
    nodes,
    dataDir,
    templateDir: config.mysqlTemplateDir,
    mysqlInstall: readMysqlInstall(config),
    client: createBinlogsvrClient(`${self.host}:${self.rpc}`, security),
    host,
    security,
    lease,
    rootPasswordFile: config.rootPasswordFile,
    userMysqldSettings: config.mysqld,
    clock,
    random: systemRandom,
    log,
  });
  onStop(() => agent.shutdown());
}
