import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readBinlogFile, readBinlogIndex } from '../../../agent/host/binlog-files.ts';
import { CUT_STEPS, type CutStep, cut, finishCut, readRemoved } from '../../../agent/host/tail-cutter.ts';
import { planCut } from '../../../agent/tail-cut.ts';
import { findTail, type TailComparer } from '../../../agent/tail-scan.ts';
import { silentLogger } from '../../../base/ports.ts';
import { BinlogFileScanner, type ScannedTransaction } from '../../../mysql/binlog-file.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';

const TESTDATA = fileURLToPath(new URL('../../../mysql/testdata', import.meta.url));
const FILES = readdirSync(TESTDATA)
  .filter((name) => /^binlog\.\d+$/.test(name))
  .sort();
const UUID = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee';

function transactionsOf(path: string): ScannedTransaction[] {
  const scanner = new BinlogFileScanner();
  const found = scanner.push(readFileSync(path));
  scanner.end();
  return found;
}

const FILES_HERE = { read: readBinlogFile };

/** A store that holds all but what `lost` names. */
const storeWithout = (lost: ReadonlySet<string>): TailComparer => ({
  async compareTail(transactions) {
    let matching = 0;
    for (const { gtid } of transactions) {
      if (lost.has(gtid)) break;
      matching += 1;
    }
    return { matching, reason: '' };
  },
});

describe('cutting the tail of a real binlog', () => {
  let dir: string;
  let datadir: string;
  let paths: { plan: string; autoCnf: string; cutDir: string; removed: string };
  let all: { file: string; transaction: ScannedTransaction }[];

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'phx-cut-'));
    datadir = join(dir, 'mysql');
    for (const folder of ['mysql', 'run']) mkdirSync(join(dir, folder));
    for (const name of FILES) cpSync(join(TESTDATA, name), join(datadir, name));
    writeFileSync(join(datadir, 'binlog.index'), FILES.map((name) => `./${name}\n`).join(''));
    writeFileSync(join(datadir, 'auto.cnf'), '[auto]\nserver-uuid=11111111-1111-1111-1111-111111111111\n');
    paths = {
      ...{ plan: join(dir, 'run', 'cut-plan.json'), cutDir: join(dir, 'cut') },
      ...{ autoCnf: join(datadir, 'auto.cnf'), removed: join(datadir, 'removed') },
    };
    all = FILES.flatMap((file) => transactionsOf(join(datadir, file)).map((transaction) => ({ file, transaction })));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const index = () => readBinlogIndex(join(datadir, 'binlog.index'));
  const lostFrom = (at: number): Set<string> => new Set(all.slice(at).map(({ transaction }) => transaction.gtid));
  const tree = (): string =>
    JSON.stringify(
      ['mysql', 'run'].flatMap((folder) =>
        readdirSync(join(dir, folder))
          .sort()
          .map((name) => [name, readFileSync(join(dir, folder, name)).toString('base64')]),
      ),
    );
  const plan = async (at: number) => {
    const tail = await findTail(await index(), FILES_HERE, storeWithout(lostFrom(at)));
    if (tail.held) throw new Error('nothing to cut');
    return planCut(await index(), tail, paths, { serverUuid: UUID, wallMs: 0 });
  };

  test('what the store holds stays, down to the newest file only', async () => {
    const asked: number[] = [];
    const store: TailComparer = {
      async compareTail(transactions) {
        asked.push([...transactions].length);
        return { matching: asked.at(-1) as number, reason: '' };
      },
    };
    expect((await findTail(await index(), FILES_HERE, store)).held).toBe(true);
    const last = all.at(-1)?.file as string;
    expect(asked).toEqual([transactionsOf(join(datadir, last)).length]);
  });

  test('every possible cut removes exactly what is not held', async () => {
    expect(all.length).toBeGreaterThan(5);
    expect(new Set(all.map(({ file }) => file)).size).toBeGreaterThan(1);
    for (let at = 0; at < all.length; at += 1) {
      for (const name of FILES) cpSync(join(TESTDATA, name), join(datadir, name));
      writeFileSync(join(datadir, 'binlog.index'), FILES.map((name) => `./${name}\n`).join(''));
      const first = all[at] as (typeof all)[number];
      const made = await plan(at);
      expect([made.transactions, made.firstGtid]).toEqual([all.length - at, first.transaction.gtid]);
      await cut(made, { paths, log: silentLogger });
      const kept = (await index()).lines.map((line) => line.slice(2));
      expect(kept).toEqual(FILES.slice(0, FILES.indexOf(first.file) + 1));
      expect(FILES.filter((name) => existsSync(join(datadir, name)))).toEqual(kept);
      const left = kept.flatMap((name) => transactionsOf(join(datadir, name)).map(({ gtid }) => gtid));
      expect(left).toEqual(all.slice(0, at).map(({ transaction }) => transaction.gtid));
      const lastFile = readFileSync(join(datadir, first.file));
      expect(lastFile.length).toBe(first.transaction.startOffset);
      expect((lastFile[21] as number) & 1, 'marked as not closed').toBe(1);
      expect(readFileSync(paths.autoCnf, 'utf8')).toContain(UUID);
      const removed = await readRemoved(paths.removed);
      expect(removed.toString()).toBe(GtidSet.of(...lostFrom(at)).toString());
      rmSync(paths.removed);
      expect((await findTail(await index(), FILES_HERE, storeWithout(lostFrom(at)))).held).toBe(true);
      const scanner = new BinlogFileScanner();
      scanner.push(lastFile);
      scanner.end();
      expect([scanner.corrupt, scanner.truncatedAt], 'the checksum does not cover the mark').toEqual([null, null]);
    }
  });

  test.each(CUT_STEPS)('dies after step %s and is run again: the same result', async (step) => {
    const at = all.findIndex(({ file }) => file === FILES[1]); // across files
    await cut(await plan(at), { paths, log: silentLogger });
    const wanted = tree();
    rmSync(dir, { recursive: true });
    for (const folder of ['mysql', 'run']) mkdirSync(join(dir, folder), { recursive: true });
    for (const name of FILES) cpSync(join(TESTDATA, name), join(datadir, name));
    writeFileSync(join(datadir, 'binlog.index'), FILES.map((name) => `./${name}\n`).join(''));
    const made = await plan(at);
    const dieAfter = (deadly: CutStep) => (done: CutStep) => {
      if (done === deadly) throw new Error(`died after ${deadly}`);
    };
    await expect(cut(made, { paths, log: silentLogger, afterStep: dieAfter(step) })).rejects.toThrow('died');
    // And once more in the middle of the repetition.
    if (step !== 'done') {
      await expect(finishCut({ paths, log: silentLogger, afterStep: dieAfter('delete') })).rejects.toThrow('died');
    }
    expect(await finishCut({ paths, log: silentLogger })).toBe(step !== 'done');
    expect(tree()).toBe(wanted);
    expect(await finishCut({ paths, log: silentLogger })).toBe(false);
    const aside = join(paths.cutDir, readdirSync(paths.cutDir)[0] as string);
    const first = all[at]?.transaction as ScannedTransaction;
    const original = Buffer.concat([
      readFileSync(join(TESTDATA, all[at]?.file as string)).subarray(first.startOffset),
      ...FILES.slice(FILES.indexOf(all[at]?.file as string) + 1).map((name) => readFileSync(join(TESTDATA, name))),
    ]);
    expect(readFileSync(aside).equals(original)).toBe(true);
  });

  test('a file mysqld died in while creating it is dropped, the identity stays', async () => {
    writeFileSync(join(datadir, 'binlog.000099'), Buffer.from([0xfe, 0x62, 0x69, 0x6e, 1, 2]));
    writeFileSync(join(datadir, 'binlog.index'), [...FILES, 'binlog.000099'].map((name) => `./${name}\n`).join(''));
    const made = await plan(all.length);
    expect([made.drop, made.serverUuid, made.length, made.transactions]).toEqual([['./binlog.000099'], null, null, 0]);
    await cut(made, { paths, log: silentLogger });
    expect(readFileSync(paths.autoCnf, 'utf8')).toContain('11111111');
    expect((await index()).lines).toHaveLength(FILES.length);
  });

  test('a transaction that ends too early is left to mysqld, a damaged event is cut', async () => {
    const last = join(datadir, all.at(-1)?.file as string);
    const { startOffset, endOffset } = (all.at(-1) as (typeof all)[number]).transaction;
    const whole = readFileSync(last);
    truncateSync(last, endOffset - 1);
    expect((await findTail(await index(), FILES_HERE, storeWithout(new Set()))).held).toBe(true);
    whole.writeUInt8((whole.readUInt8(endOffset - 6) ^ 0xff) & 0xff, endOffset - 6);
    writeFileSync(last, whole);
    const tail = await findTail(await index(), FILES_HERE, storeWithout(new Set()));
    expect(tail).toMatchObject({ held: false, offset: startOffset, transactions: 0 });
  });

  test('refuses an encrypted binlog and an index that leads elsewhere', async () => {
    writeFileSync(join(datadir, FILES.at(-1) as string), Buffer.from([0xfd, 0x62, 0x69, 0x6e, 0, 0, 0, 0]));
    await expect(findTail(await index(), FILES_HERE, storeWithout(new Set()))).rejects.toMatchObject({
      code: 'BINLOG_ENCRYPTED',
    });
    writeFileSync(join(datadir, 'binlog.index'), '../run/secret\n');
    await expect(findTail(await index(), FILES_HERE, storeWithout(new Set()))).rejects.toMatchObject({
      code: 'BINLOG_CORRUPT',
    });
  });

  test('reads the copy of an index that mysqld was editing', async () => {
    writeFileSync(join(datadir, 'binlog.index_crash_safe'), './binlog.000001\n');
    rmSync(join(datadir, 'binlog.index'));
    expect((await index()).lines).toEqual(['./binlog.000001']);
    rmSync(join(datadir, 'binlog.index_crash_safe'));
    expect((await index()).lines).toEqual([]);
  });

  test('a plan made for another data directory is dropped: a backup was put in its place', async () => {
    const at = all.findIndex(({ file }) => file === FILES[1]);
    await expect(
      cut(await plan(at), {
        paths,
        log: silentLogger,
        afterStep: () => {
          throw new Error('died');
        },
      }),
    ).rejects.toThrow('died');
    for (const name of FILES.slice(1)) rmSync(join(datadir, name));
    writeFileSync(join(datadir, 'binlog.index'), './binlog.000001\n');
    expect(await finishCut({ paths, log: silentLogger })).toBe(false);
    expect(existsSync(paths.plan)).toBe(false);
    expect((await index()).lines).toEqual(['./binlog.000001']);
  });

  test('a plan that is not one stops the node instead of cutting', async () => {
    writeFileSync(paths.plan, '{"version":2}');
    await expect(finishCut({ paths, log: silentLogger })).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    writeFileSync(paths.plan, '{"vers');
    await expect(finishCut({ paths, log: silentLogger })).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect(dirname(paths.plan)).toBe(join(dir, 'run'));
  });
});
