import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { BinlogFileScanner } from '../../../mysql/binlog-file.ts';
import { PowerCutDisk, powerCutUnavailable } from '../../support/power-cut/disk.ts';
import { FULL } from '../../support/tier.ts';

const TESTDATA = fileURLToPath(new URL('../../../mysql/testdata', import.meta.url));
const LIFE = join(import.meta.dirname, 'tail-cut-life.ts');
const FILES = readdirSync(TESTDATA)
  .filter((name) => /^binlog\.\d+$/.test(name))
  .sort();
const [FIRST_UUID, SECOND_UUID] = ['aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee1', 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeee2'];
/** More than a cut makes. */
const SYNCS_MAX = 40;
const STEP = FULL ? 1 : 4;

function gtidsOf(folder: string, files: readonly string[]): string[] {
  return files.flatMap((name) => {
    const scanner = new BinlogFileScanner();
    const found = scanner.push(readFileSync(join(folder, name)));
    scanner.end();
    return found.map(({ gtid }) => gtid);
  });
}

/** The process dies in place of each sync of a cut, and then the power goes. */
describe.skipIf(powerCutUnavailable !== null)('a cut of the binlog on a disk that loses its power', () => {
  const all = gtidsOf(TESTDATA, FILES);
  /** In the first of several files that go. */
  const at = Math.floor(gtidsOf(TESTDATA, FILES.slice(0, 1)).length / 2);

  /** True if the first life came to its end before. */
  const loseAt = async (dieAtSync: number, mercy: 'none' | 'some'): Promise<boolean> => {
    const root = mkdtempSync(join(tmpdir(), 'phx-cut-power-'));
    using disk = new PowerCutDisk(root);
    try {
      const dir = join(root, 'node');
      for (const folder of ['mysql', 'run', 'cut']) mkdirSync(join(dir, folder), { recursive: true });
      const datadir = join(dir, 'mysql');
      for (const name of FILES) cpSync(join(TESTDATA, name), join(datadir, name));
      writeFileSync(join(datadir, 'binlog.index'), FILES.map((name) => `./${name}\n`).join(''));
      writeFileSync(join(datadir, 'auto.cnf'), '[auto]\nserver-uuid=11111111-1111-1111-1111-111111111111\n');
      const live = async (uuid: string, more: NodeJS.ProcessEnv): Promise<unknown[]> =>
        once(
          fork(LIFE, [dir, all.slice(0, at).join(' '), uuid], { env: { ...process.env, ...disk.env, ...more } }),
          'exit',
        );
      const end = await live(FIRST_UUID as string, { PHX_POWER_CUT_DIE_AT_SYNC: String(dieAtSync) });
      const died = end[1] === 'SIGKILL';
      if (!died) expect(end).toEqual([0, null]);
      disk.cut('node', { mercy, seed: dieAtSync });
      expect(await live(SECOND_UUID as string, {})).toEqual([0, null]);

      const where = `sync ${dieAtSync}, ${mercy}`;
      const index = readFileSync(join(datadir, 'binlog.index'), 'utf8').trim().split('\n');
      const files = index.map((line) => line.replace('./', ''));
      expect(files, where).toEqual(FILES.slice(0, 1));
      expect(gtidsOf(datadir, files), where).toEqual(all.slice(0, at));
      expect(
        readdirSync(datadir).filter((name) => /^binlog\.\d+$/.test(name)),
        where,
      ).toEqual(files);
      expect(readFileSync(join(datadir, 'auto.cnf'), 'utf8'), where).toMatch(/server-uuid=aaaaaaaa/);
      expect(existsSync(join(dir, 'run', 'cut-plan.json')), where).toBe(false);
      for (const gtid of all.slice(at)) {
        const [uuid] = gtid.split(':');
        expect(readFileSync(join(datadir, 'phxsql_cut_gtids'), 'utf8'), where).toContain(uuid);
      }
      return !died;
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  };

  test('at every sync: the next life ends where the first would have', async () => {
    expect([FILES.length > 1, at > 0]).toEqual([true, true]);
    let n = 1;
    for (; n < SYNCS_MAX; n += STEP) {
      const ended = await loseAt(n, 'none');
      expect(await loseAt(n, 'some')).toBe(ended);
      if (ended) break;
    }
    expect(n).toBeGreaterThan(10);
    expect(n).toBeLessThan(SYNCS_MAX);
  });
});
