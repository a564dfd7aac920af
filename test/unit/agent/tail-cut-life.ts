// Child of tail-cut-power.test.ts: does with the binlog in DIR/mysql what recovery does before mysqld is started. The log holds
// the transactions of the given list only.
import { join } from 'node:path';
import { readBinlogFile, readBinlogIndex } from '../../../agent/host/binlog-files.ts';
import { cut, finishCut } from '../../../agent/host/tail-cutter.ts';
import { planCut } from '../../../agent/tail-cut.ts';
import { findTail } from '../../../agent/tail-scan.ts';
import { silentLogger } from '../../../base/ports.ts';

const [dir = '', held = '', serverUuid = ''] = process.argv.slice(2);
const paths = {
  plan: join(dir, 'run', 'cut-plan.json'),
  autoCnf: join(dir, 'mysql', 'auto.cnf'),
  removed: join(dir, 'mysql', 'phxsql_cut_gtids'),
  cutDir: join(dir, 'cut'),
};
const options = { paths, log: silentLogger };

await finishCut(options);
const index = await readBinlogIndex(join(dir, 'mysql', 'binlog.index'));
const tail = await findTail(
  index,
  { read: readBinlogFile },
  {
    async compareTail(transactions) {
      const gtids = [...transactions].map(({ gtid }) => gtid);
      const at = gtids.findIndex((gtid) => !held.split(' ').includes(gtid));
      return { matching: at < 0 ? gtids.length : at, reason: '' };
    },
  },
);
if (!tail.held) await cut(planCut(index, tail, paths, { serverUuid, wallMs: 0 }), options);
