// Child of log-store-power.test.ts: opens the store, tells its parent what it found, and waits to be killed. With a second argument
// without the rule that this has to be on disk first.
import { switchOff } from '../../../base/rules.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { storeOptions } from './log-store-support.ts';

if (process.argv[3] !== undefined) switchOff('found-is-on-disk');
const { report } = await LevelDbLogStore.open(storeOptions(process.argv[2] as string));
process.send?.({ durableSeq: report.durableSeq, amnesia: report.amnesia });
setInterval(() => {}, 1000);
