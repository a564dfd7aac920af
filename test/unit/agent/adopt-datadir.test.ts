import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AdoptOptions, adoptDatadir } from '../../../agent/host/adopt-datadir.ts';
import { systemClock } from '../../../base/system-clock.ts';

const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

let home = '';
let datadir = '';
let options: AdoptOptions;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'phxsql-adopt-'));
  datadir = join(home, 'data');
  mkdirSync(datadir);
  for (const name of ['ibdata1', 'mysql.ibd']) writeFileSync(join(datadir, name), '');
  writeFileSync(join(datadir, 'mysql_upgrade_history'), '{"upgrade_history":[{"version":"9.7.4"}]}');
  writeFileSync(join(datadir, 'binlog.index'), './binlog.000001\n./binlog.000002\n');
  const account = { user: 'u', password: 'p' };
  options = {
    // No server is started before all of these have passed.
    install: {
      ...{ source: 'path', version: '9.7.4', command: [join(home, 'no-mysqld')], baseArgs: [], pluginDir: '' },
      ...{ client: null, mysqlbinlog: null, root: null },
    },
    ...{ datadir, nodeDir: join(home, 'node-1'), binlogIndex: null, settings: {}, clock: systemClock, say: () => {} },
    ...{ agentAccount: account, syncAccount: account },
  };
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const file = (name: string, text: string | Uint8Array): void => writeFileSync(join(datadir, name), text);

describe('adopting a data directory', () => {
  const wrong: readonly (readonly [string, () => void, RegExp, RegExp])[] = [
    ['no data directory', () => rmSync(join(datadir, 'ibdata1')), /no ibdata1/, /SELECT @@datadir/],
    ['MySQL 5.7', () => rmSync(join(datadir, 'mysql.ibd')), /no mysql\.ibd/, /upgrade it to 8\.0/],
    [
      'another series',
      () => file('mysql_upgrade_history', '{"upgrade_history":[{"version":"8.0.36"},{"version":"8.4.3"}]}'),
      /of MySQL 8\.4\.3, the server found here is 9\.7\.4/,
      /PHXSQL_MYSQLD/,
    ],
    [
      'a node that has data',
      () => mkdirSync(join(home, 'node-1', 'mysql'), { recursive: true }),
      /exists already/,
      /--dir/,
    ],
    ['no binlog', () => rmSync(join(datadir, 'binlog.index')), /no binlog index/, /--binlog-index/],
    ['two binlogs', () => file('other.index', ''), /several binlog indexes/, /--binlog-index/],
    [
      'an encrypted binlog',
      () => file('binlog.000002', Uint8Array.of(0xfd, 0x62, 0x69, 0x6e)),
      /binlog\.000002: .*encrypted/,
      /binlog_encryption=OFF/,
    ],
    [
      'a binlog cut off',
      () => file('binlog.000002', Uint8Array.of(0xfe, 0x62, 0x69, 0x6e)),
      /stopped in order/,
      /try again/,
    ],
  ];
  it.each(wrong)('refuses %s, says what to do, and changes nothing', async (_, make, what, todo) => {
    make();
    const before = readdirSync(datadir);
    await expect(adoptDatadir(options)).rejects.toMatchObject({
      message: expect.stringMatching(what),
      hint: expect.stringMatching(todo),
    });
    expect(readdirSync(datadir)).toEqual(before);
  });

  it('goes on where it was broken off after the last thing that could be refused', async () => {
    const adopted = { gtidSet: `${UUID}:1-9`, serverUuid: UUID, version: '9.7.4' };
    const binlogs = { path: join(datadir, 'binlog.index'), lines: ['./binlog.000001', './binlog.000002'] };
    mkdirSync(options.nodeDir);
    writeFileSync(join(options.nodeDir, 'adopted.json'), JSON.stringify({ format: 1, ...adopted, binlogs }));
    // One was set aside already.
    file('binlog.000002', 'x');
    expect(await adoptDatadir(options)).toEqual(adopted);
    expect(existsSync(datadir)).toBe(false);
    expect(readdirSync(join(options.nodeDir, 'mysql')).sort()).toEqual([
      'ibdata1',
      'mysql.ibd',
      'mysql_upgrade_history',
    ]);
    expect(readdirSync(join(options.nodeDir, 'adopted-binlogs')).sort()).toEqual(['binlog.000002', 'binlog.index']);
  });
});
