import { type ChildProcess, fork } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { instanceId, makeBallot, nodeId } from '../../../base/brands.ts';
import { Prng } from '../../../base/prng.ts';
import { LevelDbLogStore } from '../../../binlogsvr/log-store.ts';
import { type Database, openDatabase } from '../../../binlogsvr/store-database.ts';
import { acceptorPath } from '../../../binlogsvr/store-open.ts';
import type { Damage, Outcome, Task } from './log-store-damage.ts';
import { storeOptions, TempDir } from './log-store-support.ts';
import { accepted, B1, B2, fill, promised } from './log-store-values.ts';

/** 1 = every byte of every file (test:full); each further byte flipped costs some 20 ms. */
const EVERY = Number(process.env.PHXSQL_FLIP_EVERY ?? 61);
const TIMEOUT_MS = EVERY === 1 ? 3_600_000 : 120_000;

/** Promises, values, overwrites in and over writes, a hole, facts; instances above `from` + 1 stay undecided. */
async function live(store: LevelDbLogStore, from: number): Promise<void> {
  await store.putMeta('fact', 'one');
  await store.write([promised(B1), accepted(from, B1, `first ${from}`), accepted(from + 1, B1, 'replaced')]);
  await store.write([accepted(from + 1, B2, `second ${from}`), accepted(from + 2, B1, 'third')]);
  for (let i = 0; i < 12; i += 1) await store.write([accepted(from + 4 + i, B2, `value ${i}`)]);
  await store.putMeta('fact', 'two');
  await store.write([promised(makeBallot(3, nodeId(3))), accepted(from + 2, B2, 'third again')]);
  await store.saveState({ appliedIndex: instanceId(from + 1), json: '{"some":"state"}' }, []);
  await store.write([accepted(from + 20, B2, 'last')]);
}

type Compactable = { compactRange(start: Uint8Array, end: Uint8Array): Promise<void> };
type Variant = Readonly<{ name: string; make(dir: string): Promise<void> }>;

async function session(dir: string, work: (store: LevelDbLogStore) => Promise<void>): Promise<void> {
  const { store } = await LevelDbLogStore.open(storeOptions(dir));
  await work(store);
  await store.close();
}

const VARIANTS: readonly Variant[] = [
  { name: 'young, all in the write-ahead log', make: (dir) => session(dir, (store) => live(store, 1)) },
  {
    name: 'checkpoint and segment in the write-ahead log, older values in a table',
    make: async (dir) => {
      await session(dir, (store) => fill(store, 1, 70));
      await session(dir, (store) => live(store, 71));
    },
  },
  {
    name: 'checkpoint written along the way, all in the write-ahead log',
    make: (dir) =>
      session(dir, async (store) => {
        await fill(store, 1, 66);
        for (let i = 0; i < 66; i += 1) await store.write([promised(makeBallot(5 + i, nodeId(1)))]);
        await live(store, 67);
      }),
  },
  {
    name: 'compacted into tables',
    make: async (dir) => {
      await session(dir, (store) => fill(store, 1, 70));
      await session(dir, (store) => live(store, 71));
      // level's types leave out what only its LevelDB flavour has
      const db = (await openDatabase(acceptorPath(dir), false)) as Database & Compactable;
      await db.compactRange(Buffer.from([0]), Buffer.from([255]));
      await db.close();
    },
  },
];

/** Runs tasks in a child, one after the other; a child that died is replaced. */
class Examiner {
  #child: ChildProcess | null = null;

  async run(task: Task): Promise<Outcome> {
    this.#child ??= fork(join(import.meta.dirname, 'log-store-damage.ts'), { stdio: 'ignore', execArgv: [] });
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const onExit = (code: number | null, signal: string | null): void => {
        child.off('message', onMessage);
        this.#child = null;
        resolve({ loud: `process ended: ${signal ?? code}` });
      };
      const onMessage = (outcome: Outcome): void => {
        child.off('exit', onExit);
        resolve(outcome);
      };
      child.once('exit', onExit);
      child.once('message', onMessage);
      child.send(task, (error) => {
        if (error) reject(error);
      });
    });
  }

  close(): void {
    this.#child?.disconnect();
  }
}

type Tally = { same: number; loud: number; died: number; fatal: string[]; silent: string[] };

describe('damage to the acceptor database is never silent', () => {
  const examiner = new Examiner();
  afterAll(() => examiner.close());

  it.each(VARIANTS)('$name', { timeout: TIMEOUT_MS }, async ({ make }) => {
    await using temp = await TempDir.make(true);
    const source = join(temp.path, 'source');
    await make(source);
    const sound = await examiner.run({ source, damage: null, suspect: false });
    expect(sound).toEqual({ print: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const tally: Tally = { same: 0, loud: 0, died: 0, fatal: [], silent: [] };

    const examine = async (damage: Damage): Promise<void> => {
      const outcome = await examiner.run({ source, damage, suspect: false });
      if ('loud' in outcome) {
        tally.loud += 1;
        if (!outcome.loud.startsWith('process ended')) return;
        tally.died += 1;
        // Its supervisor says so to the next one, which must not die of it again.
        const next = await examiner.run({ source, damage, suspect: true });
        if (!('loud' in next) || !next.loud.startsWith('AMNESIA')) tally.fatal.push(JSON.stringify([damage, next]));
      } else if ('print' in sound && outcome.print === sound.print) tally.same += 1;
      else tally.silent.push(`${JSON.stringify(damage)} ${outcome.print}`);
    };

    const rng = new Prng(20_250_101);
    for (const file of await readdir(acceptorPath(source))) {
      if (!/\.(log|ldb)$|^MANIFEST|^CURRENT$/.test(file)) continue;
      const { size } = await stat(join(acceptorPath(source), file));
      for (let at = rng.below(EVERY); at < size; at += EVERY) {
        await examine({ file, at, xor: 0xff });
        await examine({ file, at: Math.min(size - 1, at + rng.below(EVERY)), xor: 1 << rng.below(8) });
      }
      const step = EVERY === 1 ? 7 : EVERY * 5;
      for (let length = rng.below(step); length < size; length += step) await examine({ file, length });
    }
    console.log(`${tally.same} without effect, ${tally.loud} noticed (${tally.died} ended the process)`);
    expect(tally.silent).toEqual([]);
    expect(tally.fatal).toEqual([]);
    expect(tally.loud).toBeGreaterThan(0);
  });
});
