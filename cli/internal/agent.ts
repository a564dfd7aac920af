import { startAgent } from '../../agent/agent.ts';
import { readAdopted } from '../../agent/host/adopted-file.ts';
import { IpcMysqldHost, parentChannel } from '../../agent/host/ipc-host.ts';
import { LocalCloneHost } from '../../agent/host/local-clone.ts';
import { LocalMysqld } from '../../agent/host/local-mysqld.ts';
import { systemClock } from '../../base/system-clock.ts';
import { systemRandom } from '../../base/system-random.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import { readNodeConfig } from '../config.ts';
import { createLogger } from '../logger.ts';
import { readMysqlInstall } from '../node-dir.ts';
import { answerSupervisor, dieWithSupervisor, onStop } from './component.ts';

/** The owner of the node's mysqld, which the supervisor runs for it. */
export async function runAgent(file: string): Promise<void> {
  dieWithSupervisor();
  answerSupervisor();
  const config = readNodeConfig(file);
  const { self, nodes, dataDir, security, lease } = config;
  const log = createLogger('agent', config.node);
  const clock = systemClock;
  const client = createBinlogsvrClient(`${self.host}:${self.rpc}`, security);
  const mysqlInstall = readMysqlInstall(config);
  const host = await IpcMysqldHost.connect({ channel: parentChannel(), clock, log });
  const adopted = await readAdopted(dataDir);
  const agent = await startAgent({
    self,
    nodes,
    foundingSet: adopted?.gtidSet ?? '',
    client,
    server: new LocalMysqld({
      self,
      dataDir,
      templateDir: config.mysqlTemplateDir,
      mysqlInstall,
      host,
      security,
      rootPasswordFile: config.rootPasswordFile,
      userMysqldSettings: config.mysqld,
      clock,
      log,
    }),
    security,
    lease,
    killBlockersAfterMs: config.flow.killBlockersAfterMs,
    clock,
    random: systemRandom,
    log,
    reprovision: {
      policy: config.recovery,
      host: new LocalCloneHost({
        self,
        nodes,
        dataDir,
        mysqlVersion: mysqlInstall.version,
        security,
        store: client,
        clock,
      }),
    },
  });
  onStop(() => agent.shutdown());
}
