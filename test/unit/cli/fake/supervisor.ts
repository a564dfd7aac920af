import { systemClock } from '../../../../base/system-clock.ts';
import { DirLock } from '../../../../cli/dir-lock.ts';
import { createLogger } from '../../../../cli/logger.ts';
import { onStopSignals } from '../../../../cli/signals.ts';
import { Supervisor } from '../../../../cli/supervisor.ts';

/** A supervisor over fake components. Usage: supervisor.ts NODE_DIR EVENTS KEEP_FILE BINLOGSVR_KIND [ASK_EVERY_MS] */
const [, , nodeDir = '', events = '', keepFile = '', binlogsvrKind = 'plain', askEveryMs] = process.argv;
if (askEveryMs !== undefined) process.env['FAKE_ASK_EVERY_MS'] = askEveryMs;
const component = new URL('./component.ts', import.meta.url).pathname;
const fake = (...args: string[]) => ({ file: process.execPath, args: [component, ...args] });

await DirLock.take(nodeDir, () => null);
const supervisor = new Supervisor({
  nodeDir,
  binlogsvr: fake(binlogsvrKind, events),
  agent: fake('agent', events, keepFile),
  proxies: [fake('proxy', events), fake('proxy', events)],
  startFeed: (deliver) => {
    deliver({ seq: 42 });
    return { [Symbol.asyncDispose]: async () => {} };
  },
  clock: systemClock,
  ...(askEveryMs === undefined ? {} : { askEveryMs: Number(askEveryMs) }),
  log: createLogger('supervisor', 1),
});
process.on('message', () => void supervisor.killAll());
onStopSignals(
  () => void supervisor.stop().then(() => process.exit(0)),
  () => void supervisor.killAll().then(() => process.exit(0)),
);
supervisor.start();
