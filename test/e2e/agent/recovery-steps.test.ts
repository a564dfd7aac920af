import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBinlogFile, readBinlogIndex } from '../../../agent/host/binlog-files.ts';
import { findTail } from '../../../agent/tail-scan.ts';
import { EVENT_HEADER_BYTES, EVENT_TYPE } from '../../../mysql/binlog-event.ts';
import { FULL } from '../../support/tier.ts';
import { eventually } from '../../support/wait.ts';
import { MortalLife } from './mortal-life.ts';
import { TestNode } from './test-node.ts';

const WELL_MS_MAX = 120_000;
/** Recovery has some thirty; a second life that needs many more goes round. */
const STEPS_MAX = 80;
const KEPT = ['mysql', 'run', 'cut'];

/**
 * The agent dies at each step of the recovery of a master that was killed with commits waiting, and the next one recovers: it
 * has to end as if nobody had died. The tail that has to go lies in two binlog files; a compressed transaction is in it.
 */
describe.runIf(FULL)('an agent that dies at any step of recovery', () => {
  let node: TestNode;
  /** The directory of the dead node, as it was found. */
  let snapshot: string;
  /** The older one of the two files with the tail. */
  let cutFile: string;
  let executed: string;
  let uuid: string;
  /** How it ends if nobody dies. */
  let wanted: Awaited<ReturnType<typeof outcome>>;

  const uuidNow = (): string => readFileSync(node.paths.autoCnf, 'utf8').trim();
  const binlogs = (): string[] =>
    readdirSync(node.paths.datadir)
      .filter((name) => /^binlog\.\d+$/.test(name))
      .sort();

  beforeAll(async () => {
    node = await TestNode.start();
    await node.isMaster();
    const root = await node.root();
    await root.query('CREATE DATABASE d');
    await root.query('CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(2000))');
    await root.query("INSERT INTO d.t VALUES (1, 'acked')");
    executed = node.store.gtidSet;
    uuid = uuidNow();
    let open = (): void => {};
    node.store.log.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const [admin, packed, second] = [await node.admin(), await node.admin(), await node.root()];
    await packed.query('SET SESSION binlog_transaction_compression = ON');
    node.hang(root, 'FLUSH STATUS'); // no XID: rotation does not wait for it
    await node.waiters(1);
    await admin.query('FLUSH BINARY LOGS');
    node.hang(second, "INSERT INTO d.t VALUES (2, 'never acked')");
    await node.waiters(2);
    node.hang(packed, "INSERT INTO d.t VALUES (3, REPEAT('never acked ', 100))");
    await eventually('the compressed transaction is written', 10_000, () =>
      eventTypes(join(node.paths.datadir, binlogs().at(-1) as string)).includes(EVENT_TYPE.TRANSACTION_PAYLOAD),
    );
    cutFile = binlogs().at(-2) as string;
    await node.stopAgent('abandon');
    node.kill9();
    await eventually('mysqld is reaped', 10_000, () => node.host.current() === null);
    // What sync still holds must not be taken: only another epoch of ours is open from here on.
    ownEpochAnew();
    node.store.log.gate = null;
    open();
    snapshot = join(node.dir, 'as-found');
    execFileSync('mkdir', ['-p', snapshot, node.paths.cutDir]);
    for (const folder of KEPT) execFileSync('cp', ['-a', join(node.dir, folder), snapshot]);
    await live(new MortalLife());
    wanted = await outcome();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  /** The log as the dead master left it: an open epoch of its own, and nothing of the tail. */
  const ownEpochAnew = (): void => {
    const { state } = node.store.log;
    if (state.open) node.store.fenceByOther();
    const { epoch, appliedIndex } = node.store.log.state;
    node.store.say({ kind: 'elect', node: node.address.id, basedOnEpoch: epoch, executedUpTo: appliedIndex });
  };

  const restore = async (): Promise<void> => {
    if (node.host.current() !== null) node.kill9();
    await eventually('mysqld is reaped', 10_000, () => node.host.current() === null);
    for (const folder of KEPT) {
      execFileSync('rm', ['-rf', join(node.dir, folder)]);
      execFileSync('cp', ['-a', join(snapshot, folder), node.dir]);
    }
    ownEpochAnew();
  };

  /** True if it died. */
  const live = async (life: MortalLife): Promise<boolean> => {
    await node.startAgent(life);
    return eventually('the end of this life, or a master', WELL_MS_MAX, () => {
      if (life.dead) return 'died';
      const report = node.store.lastReport;
      if (report?.servingWrites && report.epoch === node.store.log.state.epoch) return 'lives';
      throw new Error(`${report?.role}: ${report?.reason}; after ${life.steps.join(', ')}`);
    }).then((end) => end === 'died');
  };

  /** What must not depend on who died when. */
  const outcome = async () => {
    const index = await readBinlogIndex(node.paths.binlogIndex);
    const files = index.lines.map((line) => line.replace('./', ''));
    const tail = await findTail(index, { read: readBinlogFile }, node.store);
    const aside = existsSync(node.paths.cutDir) ? readdirSync(node.paths.cutDir) : [];
    return {
      executed: await node.one('SELECT @@GLOBAL.gtid_executed'),
      inLog: node.store.gtidSet,
      rows: await node.one('SELECT GROUP_CONCAT(id) FROM d.t'),
      // A mysqld that was started by the first life leaves a file of its own.
      indexIsWhole: files.join(' ') === binlogs().join(' '),
      cutTo: statSync(join(node.paths.datadir, cutFile)).size,
      held: tail.held,
      cutAside: aside.filter((name) => name.endsWith('.bin')).length,
      asideBytes: aside.map((name) => readFileSync(join(node.paths.cutDir, name)).length),
      left: [node.paths.cutPlan, node.paths.cutRemoved].filter((path) => existsSync(path)),
      renamed: uuidNow() !== uuid,
    };
  };

  test('nobody dies: everything that was not acknowledged is gone, from both files', () => {
    expect(wanted).toMatchObject({
      executed,
      inLog: executed,
      rows: '1',
      held: true,
      cutAside: 1,
      left: [],
      renamed: true,
    });
    expect(wanted.indexIsWhole).toBe(true);
    expect(wanted.cutTo).toBeLessThan(statSync(join(snapshot, 'mysql', cutFile)).size);
  });

  test('at every step: the second life ends where the first would have', async () => {
    const seen = new Set<string>();
    for (let dieAt = 1; ; dieAt += 1) {
      expect(dieAt).toBeLessThan(STEPS_MAX);
      await node.stopAgent('abandon');
      await restore();
      const first = new MortalLife(dieAt);
      const died = await live(first);
      if (!died) break;
      const where = `${dieAt}: ${first.steps.at(-1)}`;
      seen.add(first.steps.at(-1) as string);
      node.buryAgent();
      const second = new MortalLife();
      expect(await live(second), where).toBe(false);
      expect(second.steps.length, where).toBeLessThan(STEPS_MAX);
      expect(await outcome(), where).toEqual(wanted);
    }
    console.log(`died at ${[...seen].join(', ')}`);
    for (const step of [
      'cut: plan',
      'cut: uuid',
      'cut: note',
      'cut: truncate',
      'cut: delete',
      'cut: done',
      'start mysqld',
      'fence',
    ]) {
      expect(seen).toContain(step);
    }
  });

  test('an encrypted binlog is refused, with the reason, and left as it is', async () => {
    await node.stopAgent('abandon');
    await restore();
    const file = join(node.paths.datadir, binlogs().at(-1) as string);
    const bytes = readFileSync(file);
    bytes[0] = 0xfd;
    writeFileSync(file, bytes);
    const starts = node.host.starts;
    await node.startAgent();
    await eventually('refused', WELL_MS_MAX, () => node.store.lastReport?.role === 'failed');
    expect(node.store.lastReport?.reason).toMatch(/cannot judge the local binlog: .*encrypted/i);
    expect(node.host.starts).toBe(starts);
    expect(readFileSync(file).equals(bytes)).toBe(true);
    expect(existsSync(node.paths.cutPlan)).toBe(false);
    expect(uuidNow()).toBe(uuid);
  });
});

/** Types of the events of a binlog file that is being written. */
function eventTypes(path: string): number[] {
  const bytes = readFileSync(path);
  const found: number[] = [];
  for (let at = 4; at + EVENT_HEADER_BYTES <= bytes.length; ) {
    found.push(bytes.readUInt8(at + 4));
    const size = bytes.readUInt32LE(at + 9);
    if (size < EVENT_HEADER_BYTES) break;
    at += size;
  }
  return found;
}
