import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT_PRIVILEGES } from '../../../agent/accounts.ts';
import { curbs, type ServerFacts, serverFaults, versionFault } from '../../../agent/adoption.ts';
import { readAdopted } from '../../../agent/host/adopted-file.ts';
import { LoneFounder } from '../../../cli/lone-founder.ts';

const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const FINE: ServerFacts = {
  gtidExecuted: `${UUID}:1-9`,
  inBinlog: 'all',
  foreignTables: [],
  preparedXa: 0,
  channels: [],
};

describe('an existing server', () => {
  it('may be adopted if nothing speaks against it', () => {
    expect(serverFaults(FINE)).toEqual([]);
  });

  it.each([
    ['no GTIDs', { gtidExecuted: '' }, /gtid_mode was OFF/, /ON_PERMISSIVE/],
    ['a binlog it lost', { inBinlog: 'missing' }, /gtid_executed lacks/, /stop it in order/],
    ['MyISAM', { foreignTables: [{ name: 'a.t', engine: 'MyISAM' }] }, /not InnoDB: a\.t \(MyISAM\)$/, /ENGINE=InnoDB/],
    ['prepared XA', { preparedXa: 2 }, /2 prepared XA/, /XA COMMIT or XA ROLLBACK/],
    ['a replica', { channels: ['', 'b'] }, /channel the default one, b/, /RESET REPLICA ALL/],
  ] as const)('is refused for %s, with what to do', (_, change, what, todo) => {
    const [fault, ...others] = serverFaults({ ...FINE, ...change });
    expect(others).toEqual([]);
    expect(fault?.what).toMatch(what);
    expect(fault?.todo).toMatch(todo);
  });

  it('names all faults, and not a thousand tables', () => {
    const foreignTables = Array.from({ length: 30 }, (_, i) => ({ name: `a.t${i}`, engine: 'MEMORY' }));
    const faults = serverFaults({ ...FINE, foreignTables, preparedXa: 1 });
    expect(faults).toHaveLength(2);
    expect(faults[0]?.what).toMatch(/a\.t9 \(MEMORY\) and 20 more$/);
  });

  it.each([
    ['9.7.4', '9.7.4', null],
    ['9.7.1', '9.7.4', null],
    ['9.7.5', '9.7.4', /9\.7\.5/],
    ['8.4.3', '9.7.4', /8\.4\.3/],
    ['8.0.36', '8.4.3', /PHXSQL_MYSQLD|8\.0\.36/],
  ] as const)('of %s is opened by %s only within its series', (data, running, what) => {
    const fault = versionFault(data, running);
    if (what === null) expect(fault).toBeNull();
    else expect(fault?.what).toMatch(what);
  });
});

describe('its accounts', () => {
  const of = (grantee: string, ...privileges: readonly string[]) =>
    privileges.map((privilege) => ({ grantee, privilege }));

  it('lose what would go around the log, and writes on schema mysql', () => {
    const root = "'root'@'localhost'";
    expect(curbs(of(root, 'SELECT', 'INSERT', 'SUPER', 'SHUTDOWN', 'BINLOG_ADMIN', 'XA_RECOVER_ADMIN'))).toEqual([
      {
        grantee: root,
        taken: ['SUPER', 'SHUTDOWN', 'BINLOG_ADMIN'],
        statements: [
          `REVOKE SUPER, SHUTDOWN, BINLOG_ADMIN ON *.* FROM ${root}`,
          `REVOKE INSERT ON mysql.* FROM ${root}`,
        ],
      },
    ]);
  });

  it('keep what the root of a cluster has, and nobody touches the internal ones', () => {
    const grants = [
      ...of("'reader'@'%'", 'USAGE'),
      ...of("'watcher'@'%'", 'PROCESS', 'REPLICATION CLIENT', 'SELECT'),
      ...of("'phxsql_agent'@'localhost'", 'SUPER'),
      ...of("'mysql.sys'@'localhost'", 'SYSTEM_USER'),
    ];
    expect(curbs(grants)).toEqual([]);
    const [all] = curbs(of("'a'@'%'", ...ROOT_PRIVILEGES));
    expect(all?.taken).toEqual([]);
    expect(all?.statements).toHaveLength(1);
  });
});

describe('what a node remembers of its beginning', () => {
  const inDir = async (work: (dir: string) => Promise<void> | void): Promise<void> => {
    const dir = mkdtempSync(join(tmpdir(), 'phxsql-begin-'));
    try {
      await work(dir);
    } finally {
      rmSync(dir, { recursive: true });
    }
  };

  it('is the adoption, read back as it was written', () =>
    inDir(async (dir) => {
      expect(await readAdopted(dir)).toBeNull();
      const adopted = { gtidSet: `${UUID}:1-9`, serverUuid: UUID, version: '9.7.4' };
      const file = join(dir, 'adopted.json');
      writeFileSync(file, JSON.stringify({ format: 1, ...adopted, binlogs: { path: 'p', lines: [] } }));
      expect(await readAdopted(dir)).toEqual(adopted);
      for (const bad of ['{', '{"format":2}', JSON.stringify({ format: 1, ...adopted, gtidSet: 'x' })]) {
        writeFileSync(file, bad);
        await expect(readAdopted(dir)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
      }
    }));

  it('is that it founded a cluster alone: without its store it founds no second one', () =>
    inDir((dir) => {
      const first = new LoneFounder(dir, true);
      first.look(false);
      expect(first.founded).toBe(false);
      first.look(true);
      expect(new LoneFounder(dir, true).founded).toBe(true);
      // With others in its configuration those are asked, as ever.
      expect(new LoneFounder(dir, false).founded).toBe(false);
    }));
});
