import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DataFolder } from '../../../agent/host/data-folder.ts';

const FIRST = 'set-aside-20261121T180000Z';
const SECOND = 'set-aside-20261122T060000Z';

function place(): { dir: string; data: string; folder: DataFolder; fill: (text: string) => void } {
  const dir = mkdtempSync(join(tmpdir(), 'phx-folder-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const data = join(dir, 'mysql');
  const fill = (text: string): void => {
    mkdirSync(join(data, 'db'), { recursive: true });
    writeFileSync(join(data, 'db', 't.ibd'), text);
  };
  return { dir, data, folder: new DataFolder(data), fill };
}

test('sets a data directory aside with the reason, and keeps one', async () => {
  const { dir, data, folder, fill } = place();
  fill('first');
  expect(await folder.asideBytes()).toBeNull();
  expect(await folder.bytes()).toBeGreaterThan(0);
  await folder.setAside(FIRST, 'diverged: x:7');
  expect(existsSync(data)).toBe(false);
  expect(readFileSync(join(`${data}.${FIRST}`, 'db', 't.ibd'), 'utf8')).toBe('first');
  expect(readFileSync(join(`${data}.${FIRST}`, 'REASON'), 'utf8')).toBe('diverged: x:7\n');
  expect(await folder.bytes()).toBe(0);
  expect(await folder.asideBytes()).toBeGreaterThan(0);
  fill('second');
  await folder.setAside(SECOND, 'again');
  expect(readdirSync(dir)).toEqual([`mysql.${SECOND}`]);
});

test('done again after a crash at any step, it does what is left', async () => {
  const { dir, data, folder, fill } = place();
  fill('first');
  await folder.setAside(FIRST, 'why');
  // Died behind the rename: there may be the folder set aside before, but no data directory.
  mkdirSync(join(dir, `mysql.${SECOND}`));
  await folder.setAside(FIRST, 'why');
  expect(readdirSync(dir)).toEqual([`mysql.${FIRST}`]);
  // A fresh one made since is not taken for the old one.
  fill('fresh');
  await folder.setAside(FIRST, 'why');
  expect(readFileSync(join(data, 'db', 't.ibd'), 'utf8')).toBe('fresh');
  await folder.erase();
  await folder.erase();
  expect(readdirSync(dir)).toEqual([`mysql.${FIRST}`]);
});
