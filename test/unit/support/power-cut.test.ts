import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Level } from 'level';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../../base/prng.ts';
import { PowerCutDisk, powerCutUnavailable } from '../../support/power-cut/disk.ts';
import type { DataChange, Journal } from '../../support/power-cut/journal.ts';
import { lossesOf } from '../../support/power-cut/losses.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));

describe('what a power cut takes', () => {
  const write = (seq: number, offset: number, length = 4096, sizeBefore = 0): DataChange => ({
    type: 'write',
    seq,
    ino: 1,
    offset,
    length,
    sizeBefore,
    old: { file: '', at: 0, bytes: 0 },
  });
  const journalOf = (more: Partial<Journal>): Journal => ({
    data: [],
    names: [],
    ended: new Map(),
    failed: new Set(),
    synced: new Map(),
    ...more,
  });
  const all = { ino: () => true, path: () => true };

  test('a write under way when the sync began is not synced by it, an earlier one and a later one are', () => {
    const data = [write(1, 0), write(2, 4096), write(4, 8192)];
    const ended = new Map([
      [1, 3],
      [4, 5],
      [2, 7],
    ]);
    const journal = journalOf({ data, ended, synced: new Map([[1, 6]]) });
    const { files, counts } = lossesOf(journal, 'none', new Prng(1), all);
    expect(counts).toEqual({ changes: 3, lost: 1, torn: 0, names: 0 });
    expect(files[0]?.changes.map(({ change, kept }) => [change.seq, kept])).toEqual([
      [2, []],
      [4, 'all'],
    ]);
    expect(files[0]?.sizeBefore).toBe(4096);
  });

  test('of what was not synced pages survive by themselves', () => {
    const journal = journalOf({ data: [write(1, 1000, 100_000)], ended: new Map([[1, 2]]) });
    const sizes = new Set<number>();
    for (let seed = 1; seed <= 20; seed += 1) {
      const { files } = lossesOf(journal, 'some', new Prng(seed), all);
      const kept = files[0]?.changes[0]?.kept ?? [];
      if (kept !== 'all') {
        sizes.add(kept.length);
        for (const { offset, length } of kept) {
          expect(offset === 1000 || offset % 4096 === 0).toBe(true);
          expect(length).toBeLessThanOrEqual(4096);
        }
      }
    }
    expect(sizes.size).toBeGreaterThan(3);
  });

  test('a folder keeps the first of its changed names, never a later one without the earlier', () => {
    const names = [1, 2, 3, 4, 5, 6].map((seq) => ({
      type: 'unlink' as const,
      seq,
      ino: seq,
      path: `/x/${seq}`,
      folders: [9],
    }));
    const ended = new Map(names.map(({ seq }) => [seq, seq + 100]));
    const seen = new Set<string>();
    for (let seed = 1; seed <= 40; seed += 1) {
      const lost = lossesOf(journalOf({ names, ended }), 'some', new Prng(seed), all).names.map(({ seq }) => seq);
      expect(lost).toEqual([6, 5, 4, 3, 2, 1].slice(0, lost.length));
      seen.add(lost.join());
    }
    expect(seen.size).toBeGreaterThan(3);
    expect(
      lossesOf(journalOf({ names, ended, synced: new Map([[9, 103]]) }), 'none', new Prng(1), all).names,
    ).toHaveLength(3);
  });
});

describe.skipIf(powerCutUnavailable !== null)('a disk that loses its power', () => {
  let dir: string;
  let disk: PowerCutDisk;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'phx-power-'));
    mkdirSync(join(dir, 'node', 'log'), { recursive: true });
    disk = new PowerCutDisk(dir);
  });
  afterEach(() => {
    disk[Symbol.dispose]();
    rmSync(dir, { recursive: true, force: true });
  });
  const at = (name: string): string => join(dir, 'node', name);
  const text = (name: string): string => readFileSync(at(name), 'utf8');

  /** Runs a program on that disk until it says that it is done, and kills it. */
  const run = async (body: string): Promise<void> => {
    const script = `import * as fs from 'node:fs';
      const at = (name) => ${JSON.stringify(`${at('')}/`)} + name;
      const put = (name, text, flags = 'a') => { const fd = fs.openSync(at(name), flags); fs.writeSync(fd, text); return fd; };
      const sync = (name) => fs.fsyncSync(fs.openSync(at(name), 'r'));
      ${body}
      console.log('done'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      cwd: HERE,
      env: { ...process.env, ...disk.env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const said = await Promise.race([once(child.stdout, 'data'), exited]);
    expect(String(said[0])).toBe('done\n');
    child.kill('SIGKILL');
    await exited;
  };
  const cut = () => disk.cut('node', { mercy: 'none', seed: 1 });

  test('bytes: what was written before a sync stays, what was overwritten, appended or cut off after it comes back', async () => {
    writeFileSync(at('old'), 'from before');
    await run(`
      fs.fsyncSync(put('a', 'synced ')); put('a', 'appended');
      const fd = put('b', 'AAAAAAAA', 'w+'); fs.fdatasyncSync(fd); fs.writeSync(fd, 'bb', 2); fs.ftruncateSync(fd, 5);
      put('old', 'short', 'w');
      put('never', 'synced');
      put('log/kept', 'for people');
    `);
    const report = cut();
    expect(text('a')).toBe('synced ');
    expect(text('b')).toBe('AAAAAAAA');
    expect(text('old')).toBe('from before');
    expect(existsSync(at('never'))).toBe(false);
    expect(text('log/kept')).toBe('for people');
    expect([report.lost, report.names]).toEqual([6, 1]);
  });

  test('names: a rename counts once its folder or the file was synced, a removal once its folder was', async () => {
    for (const name of ['v', 'w', 'x', 'y', 'z']) writeFileSync(at(name), name);
    await run(`
      const fd = put('x.new', 'newer'); fs.fsyncSync(fd); fs.renameSync(at('x.new'), at('x')); fs.rmSync(at('y'));
      sync('');
      fs.renameSync(at('x'), at('z')); fs.unlinkSync(at('w'));
      fs.renameSync(at('v'), at('u')); sync('u');
    `);
    cut();
    expect(text('u')).toBe('v');
    expect(['x', 'z', 'w'].map(text)).toEqual(['newer', 'z', 'w']);
    expect([existsSync(at('y')), existsSync(at('x.new'))]).toEqual([false, false]);
  });

  test('a store on LevelDB keeps the synced batch and loses the other, and the next process builds on that', async () => {
    const store = (key: string): string => `
      const { Level } = await import('level');
      const db = new Level(at('store')); await db.open();
      await db.put('${key} synced', 'yes', { sync: true }); await db.put('${key} not', 'no', { sync: false });`;
    const keys = async (): Promise<string[]> => {
      const db = new Level(at('store'));
      const found = await db.keys().all();
      await db.close();
      return found;
    };
    await run(store('first'));
    await run(store('second')); // opens what the page cache still has
    const report = cut();
    expect(report.lost).toBeGreaterThan(0);
    // The second process saw "first not". That does not make it durable: LevelDB names its new manifest without syncing the folder.
    expect(await keys()).toEqual(['first synced', 'second synced']);
  });

  test('what the project writes or removes durably stays so', async () => {
    writeFileSync(at('gone'), 'old');
    const module = (path: string): string =>
      JSON.stringify(fileURLToPath(new URL(`../../../${path}`, import.meta.url)));
    await run(`
      const { writeAtomically } = await import(${module('cli/files.ts')});
      const { writeDurably, removeDurably } = await import(${module('agent/host/durable-file.ts')});
      writeAtomically(at('atomic'), 'whole', 'durable');
      await writeDurably(at('agent'), 'whole'); await removeDurably(at('gone'));
    `);
    cut();
    expect([text('atomic'), text('agent')]).toEqual(['whole', 'whole']);
    expect(existsSync(at('gone'))).toBe(false);
  });

  test('another folder is not touched, and chance leaves some of it', async () => {
    mkdirSync(join(dir, 'other'));
    await run(`for (let i = 0; i < 50; i += 1) put('f', 'x'.repeat(4096)); put('../other/f', 'x');`);
    const report = disk.cut('node', { mercy: 'some', seed: 7 });
    expect(readFileSync(join(dir, 'other', 'f'), 'utf8')).toBe('x');
    expect(disk.folders).toEqual(['other']);
    expect(report.lost).toBeGreaterThan(5);
    expect(report.lost).toBeLessThan(45);
  });
});
